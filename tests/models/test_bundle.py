"""A model folder is believed byte for byte, or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from geotiler.errors import GeotilerError, ModelError, OutputError
from geotiler.models import registry
from geotiler.models.bundle import (
    Bundle,
    load_network,
    open_bundle,
    replace_card,
    write_bundle,
)
from geotiler.models.card import ClassInfo, Metric, ModelCard

FILES = ("model.safetensors", "model.onnx", "card.json")


@pytest.fixture
def folder(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle.folder, tmp_path / "copy"))


def test_a_folder_holds_three_files(tiny_bundle: Bundle) -> None:
    assert sorted(path.name for path in tiny_bundle.folder.iterdir()) == sorted(FILES)
    assert set(tiny_bundle.card.files) == set(FILES[:2])


@pytest.mark.parametrize("name", FILES[:2])
@pytest.mark.parametrize("where", [0, 0.5, -1])
def test_one_changed_byte_is_seen(folder: Path, name: str, where: float) -> None:
    content = bytearray((folder / name).read_bytes())
    content[int(where * len(content)) if where > 0 else int(where)] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=name):
        open_bundle(folder)


def test_a_changed_card_is_refused_or_has_another_digest(folder: Path, tiny_bundle: Bundle) -> None:
    original = (folder / "card.json").read_text()
    (folder / "card.json").write_text(original[:-20])
    with pytest.raises(ModelError, match=r"card\.json"):
        open_bundle(folder)
    (folder / "card.json").write_text(original.replace('"threshold": 0.5', '"threshold": 0.25'))
    assert open_bundle(folder).digest != tiny_bundle.digest


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        open_bundle(folder)


def test_a_file_changed_after_opening_is_not_loaded(folder: Path) -> None:
    bundle = open_bundle(folder)
    (folder / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ModelError, match="changed"):
        load_network(bundle)


def test_files_that_the_card_does_not_name_are_not_read(folder: Path) -> None:
    bundle = open_bundle(folder)
    (folder / "secret.txt").write_text("x")
    for name in ("secret.txt", "../copy/model.onnx", "card.json"):
        with pytest.raises(ModelError):
            bundle.read(name)


def test_the_network_comes_back_with_the_stored_weights(tiny_bundle: Bundle) -> None:
    import torch
    from safetensors.torch import load

    network = load_network(tiny_bundle)
    assert not network.training
    stored = load(tiny_bundle.read("model.safetensors"))
    for name, tensor in network.state_dict().items():
        assert stored[name].dtype == (torch.float16 if tensor.ndim >= 2 else tensor.dtype)
        assert torch.equal(stored[name].to(tensor.dtype), tensor)


@pytest.mark.parametrize(
    "arguments",
    [
        {"decoder_channels": [16, 8, 4]},
        {"encoder_name": "resnet18"},
        {"encoder_name": "mobilenet_v3"},
        {"in_channels": 4},
        {"classes": 2},
        {"no_such_argument": 1},
        {"activation": "sigmoid"},
    ],
)
def test_a_card_that_does_not_fit_the_network(folder: Path, arguments: dict[str, Any]) -> None:
    card = json.loads((folder / "card.json").read_text())
    card["arguments"].update(arguments)
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(ModelError) as caught:
        load_network(open_bundle(folder))
    assert str(caught.value).isprintable()


def test_a_card_of_other_classes_does_not_fit(folder: Path) -> None:
    names = {"a": "#000000", "b": "#ffffff"}
    classes = tuple(
        ClassInfo(id=index, name=name, color=color)
        for index, (name, color) in enumerate(names.items())
    )
    card = open_bundle(folder).card
    replace_card(folder, dataclasses.replace(card, classes=classes, activation="softmax"))
    with pytest.raises(ModelError, match="classes"):
        load_network(open_bundle(folder))


def test_writing_refuses_a_card_of_another_network_and_leaves_nothing(
    tmp_path: Path, make_card: Callable[..., ModelCard], make_network: Callable[[ModelCard], Any]
) -> None:
    card = make_card()
    other = make_card(arguments={**card.arguments, "decoder_channels": [16, 8, 4]})
    with pytest.raises(ModelError, match="does not fit"):
        write_bundle(tmp_path / "new", other, make_network(card))
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_are_not_written(
    tmp_path: Path, make_card: Callable[..., ModelCard], make_network: Callable[[ModelCard], Any]
) -> None:
    network = make_network(make_card())
    network.segmentation_head[0].weight.data[0, 0] = 1e6  # beyond float16
    with pytest.raises(ModelError, match="not finite"):
        write_bundle(tmp_path / "new", make_card(), network)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_overwritten_unasked(
    folder: Path, make_network: Callable[[ModelCard], Any]
) -> None:
    card = open_bundle(folder).card
    with pytest.raises(OutputError, match="exists"):
        write_bundle(folder, card, make_network(card))
    written = write_bundle(
        folder, dataclasses.replace(card, files={}), make_network(card), overwrite=True
    )
    assert written == card  # the same network gives the same bytes
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert [path.name for path in folder.parent.iterdir()] == ["copy"]


def test_measured_numbers_change_the_card_but_not_the_digest(folder: Path) -> None:
    before = open_bundle(folder)
    metrics = (Metric(name="IoU", value=0.7, data="test"),)
    replace_card(folder, dataclasses.replace(before.card, metrics=metrics))
    after = open_bundle(folder)
    assert after.card.metrics == metrics
    assert after.digest == before.digest
    with pytest.raises(ModelError, match="other files"):
        replace_card(folder, dataclasses.replace(before.card, files={"model.onnx": "0" * 64}))


def test_another_card_is_told_to_whoever_reads_the_graph_alone(folder: Path) -> None:
    """Deepness, Netron and the like never see the card."""
    before = open_bundle(folder)
    numbers = _tensors(before.read("model.onnx"))
    classes = (dataclasses.replace(before.card.classes[0], name="roof"),)
    changed = dataclasses.replace(
        before.card, name="roofs", threshold=0.25, gsd_m=0.2, classes=classes
    )
    written = replace_card(folder, changed)
    after = open_bundle(folder)
    assert after.card == written
    assert after.digest != before.digest
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    graph = onnx.load_from_string(after.read("model.onnx"))
    said = {item.key: json.loads(item.value) for item in graph.metadata_props}
    assert (graph.graph.name, said["seg_thresh"], said["resolution"]) == ("roofs", 0.25, 20)
    assert said["class_names"] == {"0": "background", "1": "roof"}
    assert _tensors(after.read("model.onnx")) == numbers
    replace_card(folder, before.card)  # and back: nothing else was lost
    assert open_bundle(folder).card == before.card


def test_a_card_for_a_graph_that_is_none_changes_nothing(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"no graph")
    digest = hashlib.sha256(b"no graph").hexdigest()
    text = (folder / "card.json").read_text()
    text = text.replace(json.loads(text)["files"]["model.onnx"], digest)
    (folder / "card.json").write_text(text)
    card = open_bundle(folder).card
    with pytest.raises(ModelError, match="is no ONNX file"):
        replace_card(folder, dataclasses.replace(card, threshold=0.3))
    assert (folder / "card.json").read_text() == text


def _tensors(content: bytes) -> list[bytes]:
    graph = onnx.load_from_string(content).graph
    return [tensor.SerializeToString(deterministic=True) for tensor in graph.initializer]


def test_models_are_found_by_name_folder_and_graph(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(registry, "weights_dir", lambda: tiny_bundle.folder.parent)
    assert [bundle.card.name for bundle in registry.list_models()] == ["tiny"]
    graph = tiny_bundle.folder / "model.onnx"
    for name in ("tiny", str(tiny_bundle.folder), str(graph)):
        assert registry.find_model(name).digest == tiny_bundle.digest
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()  # a folder of the same name does not hide the shipped model
    assert registry.find_model("tiny").folder == tiny_bundle.folder
    assert registry.find_model("weights/tiny").folder == tiny_bundle.folder
    (tmp_path / "weights" / "tiny").mkdir(parents=True)  # but here it is a folder of one's own
    with pytest.raises(GeotilerError):
        registry.find_model("weights/tiny")


def test_shipped_models_are_whole() -> None:
    for bundle in registry.list_models():
        assert bundle.card.name == bundle.folder.name
        assert bundle.card.licence
        assert set(bundle.card.files) == set(FILES[:2])


@pytest.mark.parametrize(
    "name", ["nothing", "./tiny", "lone.onnx", "none.onnx", "", "a\0b", "x" * 5000]
)
def test_unknown_models_exit_with_5(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_bundle: Bundle
) -> None:
    monkeypatch.setattr(registry, "weights_dir", lambda: tiny_bundle.folder.parent)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lone.onnx").write_bytes(b"")
    with pytest.raises(GeotilerError) as caught:
        registry.find_model(name)
    assert caught.value.exit_code == 5
    if name == "nothing":
        assert "tiny" in str(caught.value)


def test_a_folder_that_is_no_model_is_never_replaced(
    tmp_path: Path, tiny_bundle: Bundle, make_network: Callable[[ModelCard], Any]
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="something else"):
        write_bundle(folder, tiny_bundle.card, make_network(tiny_bundle.card), overwrite=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


def test_a_model_that_cannot_be_replaced_is_kept(
    tmp_path: Path,
    tiny_bundle: Bundle,
    make_network: Callable[[ModelCard], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_bundle.folder, folder)
    rename, calls = os.replace, []

    def failing(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError("no")
        rename(source, target)

    # Where the system cannot exchange two folders at once.
    monkeypatch.setattr("geotiler.models.bundle.exchanged", lambda one, other: False)
    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OutputError):
        write_bundle(folder, tiny_bundle.card, make_network(tiny_bundle.card), overwrite=True)
    assert open_bundle(folder).digest == tiny_bundle.digest
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
