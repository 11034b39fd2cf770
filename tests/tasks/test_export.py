"""`geotiler export`: a graph that answers as the network does, or none."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from geotiler.core.radiometry import normalise
from geotiler.errors import InputError, ModelError, OutputError, SpecError
from geotiler.models.bundle import Bundle, load_network
from geotiler.specs import ExportSpec
from geotiler.tasks.export import export


def _tile(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1].transpose(2, 0, 1)


def test_a_classifier_answers_tiles_in_another_program(
    tiny_landuse: Bundle, landuse_tiles: Path, tmp_path: Path
) -> None:
    """Batches of any size, by ONNX Runtime alone, equal to softmax of torch's logits."""
    images = sorted(landuse_tiles.glob("*/*_1.jpg"))
    target = tmp_path / "model.onnx"
    done = export(
        ExportSpec(model=str(tiny_landuse.folder), output=target, check=tuple(map(str, images)))
    )
    assert done.checked_tiles == 10
    card = tiny_landuse.card
    valid = np.ones((64, 64), bool)
    tiles = np.stack(
        [
            normalise(_tile(path), valid, scale=card.scale, mean=card.mean, std=card.std)
            for path in images
        ]
    )
    session = onnxruntime.InferenceSession(str(target))
    found = session.run(None, {"input": tiles})[0]
    with torch.inference_mode():
        expected = load_network(tiny_landuse)(torch.from_numpy(tiles)).softmax(1).numpy()
    np.testing.assert_allclose(found, expected, atol=done.largest_difference + 1e-6)
    names = json.loads(
        {item.key: item.value for item in onnx.load(target).metadata_props}["class_names"]
    )
    assert list(names.values()) == [info.name for info in card.classes]


def test_a_segmentation_model_is_checked_on_rendered_tiles(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    done = export(ExportSpec(model=str(tiny_bundle.folder), output=tmp_path / "model.onnx"))
    assert done.checked_tiles == 4
    assert 0 <= done.largest_difference <= done.tolerance
    assert done.size_bytes == (tmp_path / "model.onnx").stat().st_size


def test_a_graph_that_differs_too_much_is_not_written(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """No two implementations of float32 agree to the last digit."""
    spec = ExportSpec(
        model=str(tiny_bundle.folder), output=tmp_path / "model.onnx", tolerance=1e-12
    )
    with pytest.raises(ModelError, match="expected at most 1e-12"):
        export(spec)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_or_checked_on(
    tiny_landuse: Bundle, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    target = tmp_path / "model.onnx"
    with pytest.raises(SpecError, match=r"\.onnx"):
        ExportSpec(model="buildings", output=tmp_path / "model.pt")
    with pytest.raises(SpecError, match="tolerance"):
        ExportSpec(model="buildings", output=target, tolerance=0)
    small = tmp_path / "small.png"
    for side, bundle in ((31, tiny_bundle), (63, tiny_landuse)):
        cv2.imwrite(str(small), np.zeros((side, 200, 3), np.uint8))
        with pytest.raises(InputError, match=f"{side}×200 px, .* needs {side + 1}×{side + 1}"):
            export(ExportSpec(model=str(bundle.folder), output=target, check=(str(small),)))
    deep = tmp_path / "deep.png"
    cv2.imwrite(str(deep), np.zeros((64, 64, 3), np.uint16))
    with pytest.raises(InputError, match="8-bit"):
        export(ExportSpec(model=str(tiny_landuse.folder), output=target, check=(str(deep),)))
    target.write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        export(ExportSpec(model=str(tiny_landuse.folder), output=target))
    assert target.read_text() == "mine"


@pytest.mark.data
@pytest.mark.parametrize("model", ["buildings"])
def test_shipped_models_keep_the_tolerance_on_real_tiles(
    real_data: Path, tmp_path: Path, model: str
) -> None:
    if model == "buildings":
        images = [real_data / "scenes" / "banepa_rgb.tif"]
    else:
        from geotiler.training.class_tiles import open_tiles

        tiles = open_tiles(real_data / "eurosat" / "EuroSAT_RGB.zip", ["River", "Forest"])
        images = []
        for name, content in tiles.contents(tiles.names[::500], 64):
            images.append(tmp_path / name)
            images[-1].write_bytes(content)
    done = export(
        ExportSpec(model=model, output=tmp_path / "m.onnx", check=tuple(map(str, images)))
    )
    assert done.checked_tiles >= 8
