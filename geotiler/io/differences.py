"""What two runs were made from, compared in words: why unfinished work cannot be gone on with.

JSON values as a journal keeps them. Settings are named in backticks, as a specification calls
them; a command line shows the flags (see `geotiler.spelling.settings_renamed`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

_GROUP = "settings"
"""Key below which settings may be kept together."""

_FOLLOW = ("network_px", "resampling", "cells", "libraries")
"""What is another one only because something else is: told where nothing else differs."""

_MAY_FOLLOW = ("tile_px", "batch", "backend")
"""Settings that may follow from another one, told behind it: a tile is fitted to overlap and
scene, a batch to the tile; a backend's name tells its precision."""

_MOST = 3
"""Differences that are told with their values; of others, what differs."""

_OF_AREA = ("area_px", "area_outline", "scene_px")

_PART_OF_NAME = {"probability_raster": "probability", "area_outline": "aoi"}
"""Key → what it is called by whoever sets it."""


def difference(before: Any, now: Any) -> str | None:
    """What differs between two JSON values, causes before their consequences; None: nothing.

    Args:
        before: what unfinished work was made from.
        now: what is asked for.
    """
    found = dict(_differences(before, now, ()))
    if area := _area_difference(before, now):
        found = {key: text for key, text in found.items() if key not in _OF_AREA}
        found["area"] = area
    if not found:
        return None
    if _tells_precision_only(before, now):
        del found["backend"]
    beside = (*_FOLLOW, *_MAY_FOLLOW)
    causes = {key: text for key, text in found.items() if key not in beside}
    follow = {key: text for key, text in found.items() if key in _MAY_FOLLOW}
    if not causes:
        return _listed(found)
    return _listed(causes) + (f"; {_listed(follow)} (may follow from it)" if follow else "")


def _listed(found: Mapping[str, str]) -> str:
    """Differences by key, the first ones in words."""
    words = {text: _name((key,)) for key, text in found.items()}  # the same words once
    rest = ", ".join(list(words.values())[_MOST:])
    return "; ".join(list(words)[:_MOST]) + (f"; and {rest}" if rest else "")


def _tells_precision_only(before: Any, now: Any) -> bool:
    """Whether the names of backends differ in the precision alone, which is told by itself."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return False
    one, other = (str(each.get("precision")) for each in (before, now))
    names = before.get("backend"), now.get("backend")
    if one == other or names[0] == names[1] or not all(isinstance(name, str) for name in names):
        return False
    return str(names[0]).replace(one, other) == names[1]


def _area_difference(before: Any, now: Any) -> str | None:
    """Words about the parts of a scene that were asked for, in its coordinates.

    None: they do not differ, or have no place.
    """
    try:
        one, other = _area(before), _area(now)
    except (TypeError, ValueError, KeyError, AttributeError):  # not what a segment run keeps
        return None
    if one == other:
        outlines = (each.get("area_outline") for each in (before, now))
        return None if len(set(outlines)) == 1 else "`aoi` has another outline"
    return f"the area was {one}, now {other}"


def _area(values: Mapping[str, Any]) -> str:
    """What part of a scene was asked for, as `bounds` take it."""
    if values.get("area_px") is None:
        return "all of the scene"
    row, col, height, width = map(int, values["area_px"])
    a, b, c, d, e, f = map(float, values["scene"]["transform"])
    corners = [(x, y) for x in (col, col + width) for y in (row, row + height)]
    xs, ys = zip(*((a * x + b * y + c, d * x + e * y + f) for x, y in corners), strict=True)
    bounds = ",".join(f"{value:.10g}" for value in (min(xs), min(ys), max(xs), max(ys)))
    if b or d:  # of a turned scene bounds have an outline too
        return f"a part within {bounds}"
    return f"`aoi` within {bounds}" if values.get("area_outline") else f"`bounds` {bounds}"


def _differences(before: Any, now: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(key, words) of every difference; the key is that of the setting or thing."""
    if before == now and type(before) is type(now):
        return
    if path[-1:] == ("gsd_m",) or path == ("model",):
        yield from _leaf(path, before, now)
    elif isinstance(before, dict) and isinstance(now, dict):
        if {"path", "bytes"} <= before.keys() & now.keys():
            yield _key(path), _file(path, before, now)
            return
        if before.get("sha256") != now.get("sha256") and None not in (
            before.get("sha256"),
            now.get("sha256"),
        ):
            yield _key(path), f"{_thing(path)} has other content (sha256)"
            return
        for key in [*before, *(key for key in now if key not in before)]:
            inner = path if key == _GROUP and not path else (*path, str(key))
            yield from _differences(before.get(key), now.get(key), inner)
    elif _have_items(before) and _have_items(now) and len(before) == len(now):
        for number, (one, other) in enumerate(zip(before, now, strict=True), start=1):
            yield from _differences(one, other, (*path, str(number)) if len(now) > 1 else path)
    elif before != now:
        yield from _leaf(path, before, now)


def _leaf(path: tuple[str, ...], before: Any, now: Any) -> Iterator[tuple[str, str]]:
    if before != now:
        yield _key(path), f"{_name(path)} was {_pair(path, before, now)}"


def _key(path: tuple[str, ...]) -> str:
    return path[0] if path else ""


def _name(path: tuple[str, ...]) -> str:
    """A setting in backticks, or a thing and what of it, in words."""
    if len(path) == 1:
        name = _PART_OF_NAME.get(path[0], path[0])
        return f"`{name}`" if name.isidentifier() else name
    return " ".join(path).replace("_", " ")


def _thing(path: tuple[str, ...]) -> str:
    return " ".join(part for part in path if part != "file").replace("_", " ")


def _file(path: tuple[str, ...], before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    what = _thing(path)
    if before["path"] != now["path"]:
        return f"{what} was {before['path']}, now {now['path']}".strip()
    return f"{what} {now['path']} has changed since".strip()


def _have_items(value: Any) -> bool:
    """Whether it is a list of things with names of their own, not of numbers."""
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _pair(path: tuple[str, ...], before: Any, now: Any) -> str:
    key = path[-1] if path else ""
    one, other = _shown(key, before), _shown(key, now)
    if one == other:  # what differs is not what a person would write
        one, other = json.dumps(before), json.dumps(now)
    return f"{_short(one)}, now {_short(other)}"


def _shown(key: str, value: Any) -> str:
    """A value as it is written on a command line."""
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return "on" if value else "off"
    if key == "gsd_m" and not isinstance(value, list):
        return f"the model's own {value:g}"
    if key == "model" and isinstance(value, list):
        *names, digest = map(str, value)
        return " ".join([*names, f"({digest[:8]})"])
    if _is_number(value):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, list) and value and all(map(_is_number, value)):
        if key.endswith(("_px", "_m")) and len(value) == 2 and value[0] == value[1]:
            return _shown(key, value[0]) if key != "gsd_m" else f"{value[0]:g}"
        return ",".join(_shown("", item) for item in value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value) or "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
