"""Three backends, one answer; and none of them bent by how many tiles come at once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geotiler.errors import DeviceError, MissingExtraError, ModelError, SpecError
from geotiler.models import predictor as predictor_module
from geotiler.models.bundle import Bundle, load_network, open_bundle, write_bundle
from geotiler.models.card import ClassInfo, ModelCard
from geotiler.models.check import check_model
from geotiler.models.predictor import FixedShapePredictor, largest_tile_px, open_predictor
from geotiler.specs import Backend, Precision

BACKENDS = (Backend.TORCH, Backend.ONNX, Backend.OPENVINO)
SHAPE = (64, 96)


def _tiles(count: int, channels: int = 3, shape: tuple[int, int] = SHAPE) -> Any:
    random = np.random.default_rng(count)
    return random.standard_normal((count, channels, *shape), dtype=np.float32)


def _open(bundle: Bundle, backend: Backend, batch: int = 1) -> Any:
    return open_predictor(bundle, backend=backend, device="cpu", batch=batch, tile_shape=SHAPE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_answer_is_the_networks(tiny_bundle: Bundle, backend: Backend) -> None:
    import torch

    tiles = _tiles(3)
    with torch.inference_mode():
        expected = load_network(tiny_bundle)(torch.from_numpy(tiles)).sigmoid().numpy()
    assert expected.min() < 0.3 < 0.7 < expected.max()  # else there is nothing to compare
    predictor = _open(tiny_bundle, backend, batch=3)
    found = predictor(tiles)
    assert found.dtype == np.float32
    assert found.shape == (3, 1, *SHAPE)
    assert np.abs(found - expected).max() <= 1e-4
    assert (predictor.classes, predictor.batch, predictor.tile_shape) == (1, 3, SHAPE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_short_batch_answers_like_a_full_one(tiny_bundle: Bundle, backend: Backend) -> None:
    predictor = _open(tiny_bundle, backend, batch=4)
    tiles = _tiles(4)
    full = predictor(tiles)
    for count in (1, 2, 3):
        assert np.array_equal(predictor(tiles[:count]), full[:count])
    assert np.array_equal(predictor(tiles), full)  # and earlier answers were not overwritten


@pytest.fixture(scope="module", params=BACKENDS)
def predictor(tiny_bundle: Bundle, request: pytest.FixtureRequest) -> Any:
    """Each backend with a batch of one."""
    return _open(tiny_bundle, request.param)


def test_answers_are_kept_by_the_caller(predictor: Any) -> None:
    first = predictor(_tiles(1))
    kept = first.copy()
    predictor(_tiles(1) * 2)
    assert np.array_equal(first, kept)


@pytest.mark.parametrize(
    "batch",
    [
        _tiles(1, channels=4),
        _tiles(1, shape=(64, 64)),
        _tiles(2),
        _tiles(1)[:0],
        _tiles(1)[0],
        _tiles(1).astype(np.float64),
        _tiles(1).astype(np.uint8),
        [[1.0]],
    ],
    ids=["bands", "shape", "too many", "none", "3-D", "float64", "uint8", "list"],
)
def test_other_batches_are_refused(predictor: Any, batch: Any) -> None:
    with pytest.raises(SpecError, match="batch"):
        predictor(batch)


def test_read_only_and_strided_batches_are_taken(predictor: Any) -> None:
    tiles = _tiles(1)
    expected = predictor(tiles)
    strided = np.ascontiguousarray(tiles.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    strided.flags.writeable = False
    assert np.array_equal(predictor(strided), expected)


def test_softmax_answers_sum_to_one(
    tmp_path: Path, make_card: Callable[..., ModelCard], make_network: Callable[[ModelCard], Any]
) -> None:
    names = ("none", "water", "forest")
    classes = tuple(
        ClassInfo(id=10 * index, name=name, color="#123456") for index, name in enumerate(names)
    )
    arguments = {**make_card().arguments, "in_channels": 4, "classes": 3}
    card = make_card(
        classes=classes,
        activation="softmax",
        arguments=arguments,
        bands=("red", "green", "blue", "nir"),
        mean=(0.5,) * 4,
        std=(0.5,) * 4,
    )
    write_bundle(tmp_path / "three", card, make_network(card))
    bundle = open_bundle(tmp_path / "three")
    answers = [_open(bundle, backend)(_tiles(1, channels=4)) for backend in BACKENDS]
    for answer in answers:
        assert answer.shape == (1, 3, *SHAPE)
        assert np.abs(answer.sum(axis=1) - 1).max() < 1e-5
        assert np.abs(answer - answers[0]).max() <= 1e-4


def test_a_classifier_answers_one_row_per_tile(
    tmp_path: Path, make_card: Callable[..., ModelCard]
) -> None:
    from geotiler.models.build import build_network

    classes = tuple(ClassInfo(id=i, name=f"class {i}", color="#123456") for i in range(4))
    card = make_card(
        task="classification",
        library="torchvision",
        architecture="squeezenet1_1",
        arguments={"num_classes": 4},
        classes=classes,
        activation="softmax",
    )
    network = build_network(card.library, card.architecture, card.arguments)
    write_bundle(tmp_path / "classifier", card, network)
    bundle = open_bundle(tmp_path / "classifier")
    answers = [_open(bundle, backend, batch=2)(_tiles(2)) for backend in BACKENDS]
    for answer in answers:
        assert answer.shape == (2, 4)
        assert np.abs(answer - answers[0]).max() <= 1e-4


def test_the_check_sees_all_backends(tiny_bundle: Bundle) -> None:
    check = check_model(tiny_bundle)
    assert len(check.backends) == 3
    assert check.largest_difference <= 1e-4


@pytest.mark.parametrize("backend", [Backend.ONNX, Backend.OPENVINO])
def test_a_graph_that_does_not_fit_its_card(tiny_bundle: Bundle, backend: Backend) -> None:
    card = dataclasses.replace(
        tiny_bundle.card, bands=("red", "green"), mean=(0.5, 0.5), std=(0.5, 0.5)
    )
    with pytest.raises(ModelError, match="does not fit"):
        _open(dataclasses.replace(tiny_bundle, card=card), backend)


def _graph_only(folder: Path, card: ModelCard, content: bytes) -> Bundle:
    """A model folder with these bytes as its graph, and digests to match."""
    (folder / "model.onnx").write_bytes(content)
    files = {"model.onnx": hashlib.sha256(content).hexdigest()}
    (folder / "card.json").write_text(dataclasses.replace(card, files=files).to_json())
    return open_bundle(folder)


@pytest.mark.parametrize("backend", [Backend.ONNX, Backend.OPENVINO])
def test_weights_outside_the_graph_are_not_read(
    tmp_path: Path, tiny_bundle: Bundle, backend: Backend
) -> None:
    import onnx

    graph = onnx.load_from_string(tiny_bundle.read("model.onnx"))
    onnx.save(graph, tmp_path / "outside.onnx", save_as_external_data=True, location="w.bin")
    content = (tmp_path / "outside.onnx").read_bytes()
    with pytest.raises(ModelError, match="other files"):
        _open(_graph_only(tmp_path, tiny_bundle.card, content), backend)


@pytest.mark.parametrize("backend", [Backend.ONNX, Backend.OPENVINO])
def test_a_file_that_is_no_graph(tmp_path: Path, tiny_bundle: Bundle, backend: Backend) -> None:
    bundle = _graph_only(tmp_path, tiny_bundle.card, b"not a graph")
    with pytest.raises(ModelError, match="not a graph"):
        _open(bundle, backend)
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        _open(bundle, Backend.TORCH)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"device": "cuda:99"}, DeviceError),
        ({"device": "cuda", "backend": Backend.ONNX}, DeviceError),
        ({"device": "tpu"}, SpecError),
        ({"device": "cpu", "tile_shape": (100, 128)}, SpecError),
        ({"device": "cpu", "tile_shape": (0, 128)}, SpecError),
        ({"device": "cpu", "batch": 0}, SpecError),
    ],
)
def test_what_cannot_be_opened(
    tiny_bundle: Bundle, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        open_predictor(tiny_bundle, **options)
    assert caught.value.hint  # type: ignore[attr-defined]


def _computes_in(backend: Backend, precision: Precision) -> bool:
    """Whether a backend has a half precision on this CPU."""
    if backend is Backend.OPENVINO:
        import openvino

        names = {Precision.FLOAT16: "FP16", Precision.BFLOAT16: "BF16"}
        return names[precision] in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return backend is Backend.TORCH


@pytest.mark.parametrize("precision", [Precision.FLOAT16, Precision.BFLOAT16])
@pytest.mark.parametrize("backend", BACKENDS)
def test_half_precision_is_nearly_the_answer_or_refused_by_name(
    tiny_bundle: Bundle, backend: Backend, precision: Precision
) -> None:
    tiles = _tiles(1)
    expected = _open(tiny_bundle, backend)(tiles)
    options: Any = {"backend": backend, "device": "cpu", "tile_shape": SHAPE}
    if not _computes_in(backend, precision):
        with pytest.raises(DeviceError, match=f" in {precision.value},") as caught:
            open_predictor(tiny_bundle, precision=precision, **options)
        assert caught.value.hint == "--precision float32"
        return
    half = open_predictor(tiny_bundle, precision=precision, **options)
    assert f" {precision.value}" in half.name  # so that no run goes on in another precision
    found = half(tiles)
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).mean() < 0.02
    same = open_predictor(tiny_bundle, precision=Precision.FLOAT32, **options)
    assert np.array_equal(same(tiles), expected)  # what a CPU computes in unless asked


def test_an_absent_gpu_is_an_error_not_a_fallback(tiny_bundle: Bundle) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceError) as caught:
        open_predictor(tiny_bundle, device="cuda")
    assert "--device cpu" in str(caught.value)


def test_auto_takes_the_fastest_that_is_installed(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent: set[Backend] = set()
    monkeypatch.setattr(predictor_module, "_installed", lambda backend: backend not in absent)
    for expected, backend in (
        ("openvino", Backend.OPENVINO),
        ("onnxruntime", Backend.ONNX),
        ("torch", Backend.TORCH),
    ):
        assert _open(tiny_bundle, Backend.AUTO).name.startswith(expected)
        absent.add(backend)
        with pytest.raises(MissingExtraError, match=expected):
            _open(tiny_bundle, backend)


@pytest.mark.parametrize("backend", ["auto", "onnx", "openvino"])
def test_inference_imports_no_torch(tiny_bundle: Bundle, backend: str) -> None:
    code = f"""
import json, sys
import numpy as np
from geotiler.models.registry import find_model
from geotiler.models.predictor import open_predictor
from geotiler.specs import Backend, Precision
predictor = open_predictor(find_model({str(tiny_bundle.folder)!r}), backend=Backend({backend!r}),
                           device="cpu", tile_shape=(64, 64))
answer = predictor(np.zeros((1, 3, 64, 64), np.float32))
heavy = {{"torch", "torchvision", "onnx", "pandas", "scipy"}} & set(sys.modules)
print(json.dumps([list(answer.shape), sorted(heavy)]))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == [[1, 1, 64, 64], []]


def test_opening_a_folder_needs_the_standard_library_only(tiny_bundle: Bundle) -> None:
    code = f"""
import sys
from geotiler.models.registry import find_model, list_models
find_model({str(tiny_bundle.folder)!r})
print(sorted({{"numpy", "torch", "rasterio"}} & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_an_error(make_card: Callable[..., ModelCard], value: float) -> None:
    class Astray(FixedShapePredictor):
        def answers(self, full: Any, count: int) -> Any:
            answer = np.full((count, 1, 64, 64), 0.5, np.float32)
            answer[-1, 0, 3, 4] = value
            return answer

    predictor = Astray(make_card(), "astray", 2, (64, 64))
    with pytest.raises(ModelError, match="no number"):
        predictor(np.zeros((1, 3, 64, 64), np.float32))


@pytest.mark.parametrize("backend", [Backend.OPENVINO, Backend.ONNX])
def test_tiles_that_fit_into_no_memory_are_refused_before_the_network_is_compiled(
    tiny_bundle: Bundle, backend: Backend
) -> None:
    with pytest.raises(DeviceError, match=r"GB of memory.*--tile"):
        open_predictor(tiny_bundle, backend=backend, device="cpu", tile_shape=(100_000, 100_000))


@pytest.mark.parametrize(
    ("kind", "backend", "batch", "most"),
    [
        (("Unet", "mobilenet_v2"), Backend.AUTO, None, 3_800_000),
        (("Unet", "mobilenet_v2"), Backend.OPENVINO, 1, 3_800_000),
        (("Unet", "mobilenet_v2"), Backend.AUTO, 2, 2_600_000),
        (("FPN", "mobilenet_v2"), Backend.AUTO, None, 2_600_000),
        (("Unet", "resnet18"), Backend.AUTO, None, 2_600_000),
        (("Unet", "mobilenet_v2"), Backend.ONNX, None, 1_500_000),
        (("Unet", "mobilenet_v2"), Backend.TORCH, None, 1_500_000),
    ],
)
def test_tiles_are_as_large_as_the_memory_of_their_network_allows(
    tiny_bundle: Bundle, kind: tuple[str, str], backend: Backend, batch: int | None, most: int
) -> None:
    architecture, encoder = kind
    card = dataclasses.replace(
        tiny_bundle.card, architecture=architecture, arguments={"encoder_name": encoder}
    )
    bundle = dataclasses.replace(tiny_bundle, card=card)
    assert largest_tile_px(bundle, backend, "cpu", batch) == most
