"""The shipped graphs carry the metadata that the QGIS plugin Deepness reads, read as it reads them.

Deepness opens a model with ONNX Runtime, takes `custom_metadata_map`, and parses each value as
JSON; class ids are keys of an object, the resolution is in centimetres, the overlap in percent.
Source: the plugin's documentation, "Model metadata".
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnxruntime
import pytest

from geotiler.models.bundle import Bundle
from geotiler.models.registry import list_models

MODELS = [bundle for bundle in list_models() if bundle.card.task == "segmentation"]


@pytest.fixture(params=MODELS, ids=lambda bundle: bundle.card.name)
def opened(request: pytest.FixtureRequest) -> tuple[Bundle, Any, dict[str, Any]]:
    bundle: Bundle = request.param
    session = onnxruntime.InferenceSession(
        bundle.read(bundle.onnx_file), providers=["CPUExecutionProvider"]
    )
    raw = session.get_modelmeta().custom_metadata_map
    return bundle, session, {key: json.loads(value) for key, value in raw.items()}


def test_every_key_is_there_and_says_what_the_card_says(
    opened: tuple[Bundle, Any, dict[str, Any]],
) -> None:
    bundle, _, found = opened
    card = bundle.card
    assert found["model_type"] == "Segmentor"
    assert float(found["resolution"]) == pytest.approx(100 * (card.gsd_m or 0))
    assert int(found["tile_size"]) == int(found["tiles_size"]) == card.tile_px
    assert int(found["tiles_overlap"]) == pytest.approx(100 * card.overlap_px / card.tile_px, abs=1)
    assert found["standardization_mean"] == list(card.mean)
    assert found["standardization_std"] == list(card.std)
    assert float(found["seg_thresh"]) == card.threshold
    names = {int(key): value for key, value in found["class_names"].items()}
    assert sorted(names) == list(range(len(names)))
    assert [info.name for info in card.classes] == list(names.values())[-len(card.classes) :]


def test_it_answers_a_tile_of_the_size_that_the_metadata_names(
    opened: tuple[Bundle, Any, dict[str, Any]],
) -> None:
    """As the plugin feeds it: 8-bit colours over 255, then mean and deviation of the metadata."""
    bundle, session, found = opened
    side = int(found["tile_size"])
    image = np.random.default_rng(4).integers(0, 256, (side, side, len(bundle.card.bands)))
    values = (image / 255 - found["standardization_mean"]) / found["standardization_std"]
    batch = values.transpose(2, 0, 1)[None].astype(np.float32)
    (answer,) = session.run(None, {session.get_inputs()[0].name: batch})
    assert answer.shape == (1, len(bundle.card.classes), side, side)
    assert float(answer.min()) >= 0.0
    assert float(answer.max()) <= 1.0
