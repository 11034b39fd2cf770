"""What an ONNX graph says about itself besides the numbers: the card, as other programs read it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from geotiler.errors import ModelError
from geotiler.models.card import ModelCard

if TYPE_CHECKING:
    from onnx import ModelProto

PRODUCER = "geotiler"


def deepness_metadata(card: ModelCard) -> dict[str, str]:
    """Metadata of an ONNX file as the QGIS plugin Deepness reads it: key → JSON.

    Source: Deepness, "Adding metadata to ONNX model". Its documentation says `tiles_size`, its
    code reads `tile_size`; both are given. The overlap is in percent, the resolution in cm.
    """
    names = [info.name for info in card.classes]
    if card.activation == "sigmoid":
        names = ["background", *names]
    values: dict[str, Any] = {
        "model_type": "Segmentor" if card.task == "segmentation" else "Recognition",
        "class_names": {str(index): name for index, name in enumerate(names)},
        "tile_size": card.tile_px,
        "tiles_size": card.tile_px,
        "tiles_overlap": round(100 * card.overlap_px / card.tile_px),
        "standardization_mean": list(card.mean),
        "standardization_std": list(card.std),
        "seg_thresh": card.threshold,
    }
    if card.gsd_m is not None:
        values["resolution"] = round(100 * card.gsd_m, 6)
    return {key: json.dumps(value) for key, value in sorted(values.items())}


def describe(graph: ModelProto, card: ModelCard) -> None:
    """Put what the card says in place of the graph's name, description and metadata.

    Keys that are none of Deepness's stay: somebody else may read them.
    """
    if graph.producer_name == PRODUCER:
        graph.producer_version = card.geotiler_version
    graph.graph.name = card.name
    graph.doc_string = card.description
    wanted = deepness_metadata(card)
    stale = {*wanted, "resolution"}
    others = {item.key: item.value for item in graph.metadata_props if item.key not in stale}
    del graph.metadata_props[:]
    for key, value in sorted({**others, **wanted}.items()):
        graph.metadata_props.add(key=key, value=value)


def redescribed(content: bytes, card: ModelCard) -> bytes:
    """A graph's file with another description; the same bytes if it says the same already.

    Raises:
        ModelError: the content is no ONNX file.
    """
    import onnx

    try:
        graph = onnx.load_from_string(content)
    except Exception as error:  # protobuf has its own kinds
        raise ModelError(f"the graph of {card.name} is no ONNX file") from error
    before = graph.SerializeToString(deterministic=True)
    describe(graph, card)
    after: bytes = graph.SerializeToString(deterministic=True)
    return content if after == before else after
