"""What geotiler writes down in the tags of its rasters, and what can be read there.

Anybody may have written a tag: one that cannot be understood says nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

CLASSES_TAG = "GEOTILER_CLASSES"
VERSION_TAG = "GEOTILER_VERSION"
MODEL_TAG = "GEOTILER_MODEL"
DIGEST_TAG = "GEOTILER_MODEL_DIGEST"
SETTINGS_TAG = "GEOTILER_SETTINGS"
CONTENT_TAG = "GEOTILER_CONTENT"
CONFIDENCE_CONTENT = "confidence"
"""What that tag says of rasters that go with a map of classes."""


def told_classes(tags: Mapping[str, str]) -> dict[int, str]:
    """Names of class ids; empty if there are none."""
    try:
        names = json.loads(tags.get(CLASSES_TAG, "{}"))
        return {int(key): str(value) for key, value in names.items()}
    except (ValueError, AttributeError):
        return {}


def told_settings(tags: Mapping[str, str]) -> dict[str, Any]:
    """Settings that geotiler made a raster with; empty if it did not."""
    try:
        settings = json.loads(tags.get(SETTINGS_TAG, "{}"))
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}


def stated_gsd_m(settings: Mapping[str, Any]) -> tuple[float, float] | None:
    """Ground sample distance (x, y) that was stated; None where it was not.

    A single number is the model's own, taken for want of a better one.
    """
    value = settings.get("gsd_m")
    if not isinstance(value, list) or len(value) != 2:
        return None
    x, y = value
    good = all(isinstance(each, int | float) and 0 < each < math.inf for each in value)
    return (float(x), float(y)) if good else None


def grain_px(settings: Mapping[str, Any], shape: tuple[int, int]) -> float:
    """Side of a pixel of the network in pixels of a raster of that shape, at least 1."""
    # Of a part of a scene both are told of the whole.
    scene = _side_lengths(settings.get("scene_px", list(shape)))
    network = _side_lengths(settings.get("network_px"))
    if scene is None or network is None:
        return 1.0
    return max(1.0, math.sqrt(math.prod(scene) / math.prod(network)))


def _side_lengths(value: Any) -> tuple[int, int] | None:
    """(height, width) of a tag that anybody may have written; None: it is none."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    good = all(isinstance(each, int) and each > 0 for each in value)
    return (value[0], value[1]) if good else None
