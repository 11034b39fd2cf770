"""A STAC item says enough to find, verify and run a model without geotiler."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pystac
import pytest
from stac_model.schema import MLModelExtension, MLModelProperties

from geotiler.cli.main import main
from geotiler.core.radiometry import normalise
from geotiler.errors import ModelError, OutputError, SpecError
from geotiler.models.bundle import Bundle, open_bundle, replace_card
from geotiler.models.card import ClassInfo
from geotiler.models.stac_item import stac_item
from geotiler.specs import ExportSpec, ExportTarget, Scale
from geotiler.tasks.export import export


@pytest.fixture(params=["segmentation", "classification"])
def bundle(request: pytest.FixtureRequest, tiny_bundle: Bundle, tiny_landuse: Bundle) -> Bundle:
    return {"segmentation": tiny_bundle, "classification": tiny_landuse}[request.param]


def _written(bundle: Bundle, path: Path) -> dict[str, Any]:
    export(ExportSpec(model=str(bundle.folder), output=path, target=ExportTarget.STAC))
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def test_stac_model_and_pystac_take_it(bundle: Bundle, tmp_path: Path) -> None:
    """Read back by the libraries that define it: no key is unknown, none is lost."""
    values = _written(bundle, tmp_path / "item.json")
    item = pystac.Item.from_file(str(tmp_path / "item.json"))
    assert item.to_dict(include_self_link=False)["properties"] == values["properties"]
    assert MLModelExtension.has_extension(item)
    found = MLModelProperties.model_validate(item.properties)
    card = bundle.card
    assert found.name == card.name
    assert (
        found.input[0].bands
        == list(card.bands)
        == [one["name"] for one in values["properties"]["bands"]]
    )
    (output,) = found.output
    assert output.result.shape[1] == len(output.classes or []) == len(card.classes)
    assert [one.value for one in output.classes or []] == [info.id for info in card.classes]
    assert values["properties"]["gsd"] == card.gsd_m
    broken = {**item.properties, "mlm:tasks": ["astrology"]}
    with pytest.raises(ValueError, match="tasks"):  # it does look
        MLModelProperties.model_validate(broken)


def test_files_are_found_from_the_item_with_size_and_digest(bundle: Bundle, tmp_path: Path) -> None:
    """Also after folder and item were moved together."""
    folder = Path(shutil.copytree(bundle.folder, tmp_path / "here" / "model"))
    _written(open_bundle(folder), folder.parent / "item.json")
    folder.parent.rename(tmp_path / "there")
    item = pystac.Item.from_file(str(tmp_path / "there" / "item.json"))
    assert {name for name, one in item.assets.items() if "mlm:model" in (one.roles or [])} == {
        "model"
    }
    for name in ("model", "weights"):
        asset = item.assets[name]
        content = Path(asset.get_absolute_href() or "").read_bytes()
        assert asset.extra_fields["file:size"] == len(content)
        multihash = bytes.fromhex(asset.extra_fields["file:checksum"])
        assert multihash[:2] == bytes([0x12, 32])  # sha2-256, 32 bytes
        assert multihash[2:] == hashlib.sha256(content).digest()


def test_whoever_follows_the_item_gets_the_answer_of_geotiler(
    bundle: Bundle, tmp_path: Path
) -> None:
    """Names, shape and scaling are read from the item alone."""
    values = _written(bundle, tmp_path / "item.json")["properties"]
    (one,) = values["mlm:input"]
    _, bands, *sides = (64 if size == -1 else size for size in one["input"]["shape"])
    raw = np.random.default_rng(3).integers(0, 256, (bands, *sides)).astype(np.uint8)
    scaled = np.stack(
        [
            (plane - scaling["mean"]) / scaling["stddev"]
            for plane, scaling in zip(raw, one["value_scaling"], strict=True)
        ]
    ).astype(np.float32)
    session = onnxruntime.InferenceSession(bundle.read("model.onnx"))
    asked = [output["name"] for output in values["mlm:output"]]
    (answer,) = session.run(asked, {one["name"]: scaled[None]})
    card = bundle.card
    valid = np.ones(raw.shape[1:], bool)
    own = normalise(raw, valid, scale=card.scale, mean=card.mean, std=card.std)
    (expected,) = session.run(None, {"input": own[None]})
    np.testing.assert_allclose(answer, expected, atol=1e-5)
    shape = values["mlm:output"][0]["result"]["shape"]
    assert len(shape) == answer.ndim
    assert all(size in (-1, got) for size, got in zip(shape, answer.shape, strict=True))


def test_scaling_holds_for_sensor_numbers(tiny_bundle: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bundle.folder, tmp_path / "deep"))
    scale = Scale(minimum=200.0, maximum=3200.0)
    card = replace_card(folder, dataclasses.replace(tiny_bundle.card, scale=scale))
    (one,) = _written(open_bundle(folder), tmp_path / "item.json")["properties"]["mlm:input"]
    raw = np.linspace(200, 3200, 3 * 16, dtype=np.float32).reshape(3, 4, 4)
    expected = normalise(raw, np.ones((4, 4), bool), scale=scale, mean=card.mean, std=card.std)
    for plane, wanted, scaling in zip(raw, expected, one["value_scaling"], strict=True):
        np.testing.assert_allclose((plane - scaling["mean"]) / scaling["stddev"], wanted, atol=1e-5)
    assert "200..3200" in one["description"]


def test_names_that_the_extension_does_not_allow_are_kept_as_descriptions(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_bundle.folder, tmp_path / "model"))
    classes = (ClassInfo(id=1, name="Gebäude, klein", color="#a1b2c3"),)
    changed = dataclasses.replace(tiny_bundle.card, classes=classes, licence="Ask me first")
    replace_card(folder, changed)
    values = _written(open_bundle(folder), tmp_path / "item.json")["properties"]
    (found,) = values["mlm:output"][0]["classification:classes"]
    assert found["description"] == "Gebäude, klein"
    assert found["name"] == "Geb_ude_klein"
    assert found["color_hint"] == "A1B2C3"
    assert values["license"] == "other"


def test_the_same_model_gives_the_same_bytes(tiny_bundle: Bundle, tmp_path: Path) -> None:
    first, again = tmp_path / "a.json", tmp_path / "b.json"
    assert _written(tiny_bundle, first) == _written(tiny_bundle, again)
    assert first.read_bytes() == again.read_bytes()


def test_what_has_no_item(tiny_bundle: Bundle, tmp_path: Path) -> None:
    without = dataclasses.replace(
        tiny_bundle,
        card=dataclasses.replace(
            tiny_bundle.card,
            files={"model.safetensors": tiny_bundle.card.files["model.safetensors"]},
        ),
    )
    with pytest.raises(ModelError, match=r"has no model\.onnx"):
        stac_item(without, tmp_path / "item.json")
    target = tmp_path / "item.json"
    for changes in ({"output": tmp_path / "item.onnx"}, {"check": ("a.tif",)}):
        with pytest.raises(SpecError):
            ExportSpec(
                **{"model": "x", "output": target, "target": ExportTarget.STAC, **changes}  # type: ignore[arg-type]
            )
    target.write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        _written(tiny_bundle, target)
    assert target.read_text() == "mine"


def test_a_missing_package_is_one_line_with_the_command(
    tiny_bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "stac_model"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "stac_model", None)  # import stac_model fails now
    target = tmp_path / "item.json"
    arguments = ["export", str(tiny_bundle.folder), "--to", "stac", "-o", str(target)]
    assert main(arguments) == 7
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert 'pip install "geotiler[stac]"' in said
    assert not target.exists()
