"""A model as a STAC item with the Machine Learning Model extension, so that catalogues find it."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geotiler.errors import MissingExtraError, ModelError
from geotiler.models.bundle import Bundle
from geotiler.models.card import CARD_FILE, WEIGHTS_FILE, ModelCard
from geotiler.models.predictor import one_line

_EVERYWHERE = (-180.0, -90.0, 180.0, 90.0)
_ALWAYS = datetime(1900, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
"""What a model's item says of place and time, which a model does not have.

Source: MLM extension, best practices, "Using STAC Common Metadata Fields".
"""

_TASKS = {"segmentation": "semantic-segmentation", "classification": "scene-classification"}
_SHA256_MULTIHASH = "1220"
_LICENCE = re.compile(r"[\w.+-]+")
_NOT_IN_CLASS_NAMES = re.compile(r"[^0-9A-Za-z_-]+")


def stac_item(bundle: Bundle, beside: Path) -> dict[str, Any]:
    """The item of a model, checked by stac-model, as JSON values.

    The files are named relative to the item, with size and digest. The same model and place give
    the same item. `value_scaling` is exact for values inside the card's scale, which raw values
    are clipped to first.

    Args:
        bundle: a model that has a graph.
        beside: the file that the item is going to be.

    Raises:
        MissingExtraError: stac-model is not installed.
        ModelError: the model has no graph, or the extension cannot say what its card says.
    """
    try:
        import pystac
        from pystac.extensions.version import VersionExtension
        from stac_model.schema import MLModelExtension, MLModelProperties
    except ImportError as error:
        raise MissingExtraError("stac-model", "--to stac", extra="stac") from error
    card = bundle.card
    west, south, east, north = _EVERYWHERE
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    try:
        item = pystac.Item(
            id=f"{card.name}-{card.version}",
            geometry={"type": "Polygon", "coordinates": [ring]},
            bbox=list(_EVERYWHERE),
            datetime=None,
            start_datetime=_ALWAYS[0],
            end_datetime=_ALWAYS[1],
            properties=_common(card),
        )
        VersionExtension.ext(item, add_if_missing=True).apply(version=card.version)
        _add_assets(item, bundle, beside)
        properties = MLModelProperties.model_validate(_model(bundle))
        MLModelExtension.ext(item, add_if_missing=True).apply(properties)
    except ModelError:
        raise
    except Exception as error:  # whatever the two libraries think of the card
        raise ModelError(f"{card.name} has no STAC item: {one_line(error)}") from error
    values: dict[str, Any] = item.to_dict(include_self_link=False)
    values["properties"] = _sorted(values["properties"])
    return values


def _common(card: ModelCard) -> dict[str, Any]:
    """Properties that any item may have."""
    values: dict[str, Any] = {
        "title": f"{card.name} {card.version}",
        "description": card.description,
        "license": card.licence if _LICENCE.fullmatch(card.licence) else "other",
        "bands": [{"name": name} for name in card.bands],
    }
    return values if card.gsd_m is None else {**values, "gsd": card.gsd_m}


def _model(bundle: Bundle) -> dict[str, Any]:
    """What the extension says of the network, its input and its output."""
    card = bundle.card
    task = _TASKS[card.task]
    input_name, output_name = _names(bundle)
    has_pixels = card.task == "segmentation"
    side = -1 if has_pixels else card.tile_px
    sizes = ["height", "width"]
    return {
        "name": card.name,
        "architecture": card.architecture,
        "tasks": {task},
        "framework": "ONNX",
        "pretrained": True,
        "pretrained_source": "; ".join(card.training_data) or None,
        "hyperparameters": {
            "tile_px": card.tile_px,
            "overlap_px": card.overlap_px,
            "activation": card.activation,
            "threshold": card.threshold,
            "library": card.library,
            "arguments": card.arguments,
        },
        "input": [
            {
                "name": input_name,
                "description": _of_input(card),
                "bands": list(card.bands),
                "input": {
                    "shape": [-1, len(card.bands), side, side],
                    "dim_order": ["batch", "bands", *sizes],
                    "data_type": "float32",
                },
                "value_scaling": list(_scaling(card)),
                "resize_type": None,
            }
        ],
        "output": [
            {
                "name": output_name,
                "description": "Probability of each class.",
                "tasks": {task},
                "result": {
                    "shape": [-1, card.channels, *([-1, -1] if has_pixels else [])],
                    "dim_order": ["batch", "class", *(sizes if has_pixels else [])],
                    "data_type": "float32",
                },
                "classification:classes": [
                    {
                        "value": info.id,
                        "name": _NOT_IN_CLASS_NAMES.sub("_", info.name),
                        "description": info.name,
                        "color_hint": info.color.removeprefix("#").upper(),
                    }
                    for info in card.classes
                ],
            }
        ],
    }


def _scaling(card: ModelCard) -> list[dict[str, Any]]:
    """One z-score per band in raw values: the card's scaling and normalisation in one step."""
    span = card.scale.maximum - card.scale.minimum
    return [
        {"type": "z-score", "mean": card.scale.minimum + span * mean, "stddev": span * std}
        for mean, std in zip(card.mean, card.std, strict=True)
    ]


def _of_input(card: ModelCard) -> str:
    low, high = card.scale.minimum, card.scale.maximum
    text = f"Values are clipped to {low:g}..{high:g} first; pixels without data are 0 after scaling"
    if card.stretch is not None:
        one = card.stretch
        text += (
            f". Trained on {one.source} bands {', '.join(map(str, one.source_bands))} as "
            f"{one.low:g} + (number - {one.minimum:g}) / {one.maximum - one.minimum:g} * "
            f"{one.high - one.low:g}, clipped to {one.low:g}..{one.high:g}"
        )
    return text + "."


def _names(bundle: Bundle) -> tuple[str, str]:
    """Names of the graph's input and output. Raises: ModelError: there is no graph."""
    import onnx

    graph = onnx.load_from_string(bundle.read(bundle.onnx_file)).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in weights]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ModelError(
            f"{bundle.onnx_file} has {len(inputs)} inputs and {len(graph.output)} outputs, "
            "expected one of each"
        )
    return inputs[0], graph.output[0].name


def _add_assets(item: Any, bundle: Bundle, beside: Path) -> None:
    import pystac
    from pystac.extensions.file import FileExtension

    binary = "application/octet-stream"
    kinds: list[tuple[str, str, str, list[str], dict[str, Any]]] = [
        (
            "model", bundle.onnx_file, f"{binary}; application=onnx",
            ["mlm:model", "mlm:weights", "data"],
            {"mlm:artifact_type": "onnx"},
        ),
        (
            "weights", WEIGHTS_FILE, f"{binary}; application=safetensors",
            ["mlm:weights", "data"], {"mlm:framework": "PyTorch"},
        ),
    ]  # fmt: skip
    FileExtension.add_to(item)
    for key, name, media_type, roles, extra in kinds:
        if name not in bundle.card.files:
            continue
        asset = pystac.Asset(
            href=_relative(bundle.folder / name, beside),
            title=name,
            media_type=media_type,
            roles=roles,
            extra_fields=extra,
        )
        item.add_asset(key, asset)
        FileExtension.ext(asset).apply(
            size=(bundle.folder / name).stat().st_size,
            checksum=_SHA256_MULTIHASH + bundle.card.files[name],
        )
    card = pystac.Asset(
        href=_relative(bundle.folder / CARD_FILE, beside),
        title="Model card of geotiler: scores, training data, credits",
        media_type=pystac.MediaType.JSON,
        roles=["metadata"],
    )
    item.add_asset("card", card)


def _relative(path: Path, beside: Path) -> str:
    """An address of a file as seen from another one."""
    try:
        text = os.path.relpath(path.resolve(), beside.resolve().parent)
    except ValueError:  # another drive
        return path.resolve().as_uri()
    posix = Path(text).as_posix()
    return posix if posix.startswith("../") else f"./{posix}"


def _sorted(properties: dict[str, Any]) -> dict[str, Any]:
    """Plain properties first, then those of extensions, each by name."""
    return {key: properties[key] for key in sorted(properties, key=lambda key: (":" in key, key))}
