"""What the bands of a scene hold: which ones a model wants, and how their values are spread."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geotiler.core.radiometry import chosen_bands, percentile_scale
from geotiler.errors import InputError, SpecError
from geotiler.io.raster import Scene
from geotiler.specs import Scale, Window

_SAMPLE_SIDE, _SAMPLE_PX = 6, 256
_COARSE_PX = 1024

_SAME_GSD = 0.02
"""A map's pixel is up to so much longer or shorter on the ground than it says."""

_MOST_NAMES = 12
"""Bands, or values, that a message names."""

_MOST_CLASSES = 32
"""A band of no more values in a sample of it holds classes rather than brightness."""

_CLASS_TYPES = ("uint8", "int8", "uint16", "int16")

_WORLD_FILES = (
    ".wld", ".tfw", ".tifw", ".jgw", ".jpgw", ".jpegw", ".pgw", ".pngw", ".j2w", ".jp2w",
)  # fmt: skip
"""Suffixes of files that say where an image lies, and not in which CRS."""

_OF_CLASSES = "a mask or a map of classes is for geotiler vectorize, preview or evaluate"


def gsd_notice(scene: Scene, gsd_m: tuple[float, float] | None, flag: str) -> str | None:
    """A line about a resolution that was given against the scene's own; None: it was not.

    Args:
        scene: open.
        gsd_m: (x, y) that was given; None: it was not.
        flag: that it was given with.
    """
    own = scene.gsd_m
    if gsd_m is None or own is None:
        return None
    if all(abs(given / said - 1) < _SAME_GSD for given, said in zip(gsd_m, own, strict=True)):
        return None
    given, said = (
        f"{x:.4g}" if math.isclose(x, y, rel_tol=_SAME_GSD) else f"{x:.4g},{y:.4g}"
        for x, y in (gsd_m, own)
    )
    return (
        f"{flag} {given} goes before the {said} m per pixel that the georeference of "
        f"{scene.path} says"
    )


def no_crs_notice(scene: Scene, wanted_m: float, flag: str) -> str:
    """A line about a scene without CRS, whose pixels are taken to be as long as the model's.

    Args:
        scene: open.
        wanted_m: the model's metres per pixel.
        flag: that says otherwise.
    """
    a, b, _, d, e = tuple(scene.transform)[:5]
    sizes = math.hypot(a, d), math.hypot(b, e)
    taken = f"{scene.path} has no CRS: taken at the model's {wanted_m:g} m per pixel"
    is_told = not np.allclose((a, b, d, e), (1, 0, 0, 1), rtol=0, atol=1e-9)
    if not is_told or all(math.isclose(size, wanted_m, rel_tol=_SAME_GSD) for size in sizes):
        return f"{taken}; {flag} says otherwise"
    # A transform has no unit: it may be in feet, or in degrees.
    said = ",".join(dict.fromkeys(f"{size:.4g}" for size in sizes))
    is_beside = any(PurePath(name).suffix.lower() in _WORLD_FILES for name in scene.files)
    where = "world file" if is_beside else "transform"
    return f"{taken}; its {where} says {said} per pixel: {flag} {said} if those are metres"


def check_colours(scene: Scene, bands: Iterable[int]) -> None:
    """Raises: InputError: one of the bands, from 1, holds indices into a colour table."""
    for band in bands:
        if band <= scene.count and scene.has_palette(band):
            raise InputError(
                f"band {band} of {scene.path} holds indices into a colour table, not colours",
                hint=f"{_OF_CLASSES}; a picture is expanded first, as gdal_translate -expand rgb "
                "does",
            )


def bands_for(
    scene: Scene, wanted: Sequence[str], asked: tuple[int, ...] | None, model: str
) -> tuple[int, ...]:
    """Bands of a scene, counted from 1, that a model wants, in its order.

    Args:
        scene: open.
        wanted: names of the model's bands.
        asked: what the user chose; None: by name, else in the order of the file.
        model: its name, for messages.

    Raises:
        InputError: a band holds indices into a colour table.
        SpecError: as many bands as the model wants cannot be told, or were not chosen.
    """
    bands = asked or chosen_bands(scene.band_names, wanted)
    check_colours(scene, bands or range(1, scene.count + 1))
    if bands is None:
        if values := _class_values(scene):
            raise SpecError(
                f"{scene.path} has {_counted(scene.band_names)} that holds only the values "
                f"{values}, as a map of classes does; model {model!r} wants {', '.join(wanted)}",
                hint=f"{_OF_CLASSES}; name a scene to find something in",
            )
        raise SpecError(
            f"{scene.path} has {_counted(scene.band_names)}, model {model!r} wants "
            f"{', '.join(wanted)}",
            hint=_bands_hint(scene.count, len(wanted)),
        )
    if len(bands) != len(wanted):
        raise SpecError(
            f"{len(bands)} bands chosen, model {model!r} wants {len(wanted)}: {', '.join(wanted)}",
            hint="--bands takes one number for each",
        )
    scene.check_bands(bands)
    return bands


def _bands_hint(count: int, wanted: int) -> str:
    """What to do about bands that nobody can tell apart."""
    if count >= wanted:
        numbers = ",".join(map(str, range(1, wanted + 1)))
        return f"say which are which in that order, as --bands {numbers}"
    grey = ",".join(["1"] * wanted)
    return (
        f"it was trained on {wanted} bands and this scene lacks some: --bands {grey} shows it band "
        "1 in the place of each, which is a gamble"
    )


def _class_values(scene: Scene) -> str | None:
    """The few values of a raster that looks like a mask or a map of classes; None: it does not.

    Judged by a sample: a picture of 8 bits has more values in every corner.
    """
    if scene.count != 1 or scene.dtypes[0] not in _CLASS_TYPES:
        return None
    found = np.unique(_lattice(scene, [1])).tolist()
    if not 0 < len(found) <= _MOST_CLASSES:
        return None
    return ", ".join(map(str, found[:_MOST_NAMES])) + ("..." if len(found) > _MOST_NAMES else "")


def _counted(names: Sequence[str | None]) -> str:
    """How many bands, and their names as far as they have some."""
    count = f"{len(names)} band" + ("s" if len(names) > 1 else "")
    if not any(names):
        return f"{count} without {'names' if len(names) > 1 else 'a name'}"
    shown = [name or "unnamed" for name in names[:_MOST_NAMES]]
    more = ["..."] if len(names) > _MOST_NAMES else []
    return f"{count} ({', '.join([*shown, *more])})"


def measured_scale(scene: Scene, bands: Sequence[int]) -> Scale:
    """2-98 % range of valid pixels in a fixed lattice of windows.

    Raises:
        InputError: none of them is valid.
    """
    sample = _lattice(scene, bands)
    if not sample.size:
        raise InputError(
            f"{scene.path} shows no valid pixel in a sample of it, so no range can be measured",
            hint="give the range with --scale MIN,MAX",
        )
    if sample.min() == sample.max():  # a flat scene has no contrast to stretch
        value = float(sample.min())
        return Scale(minimum=value, maximum=value + 1)
    return percentile_scale(sample)


def darkest_percent(scene: Scene, bands: Sequence[int]) -> float | None:
    """Value that one percent of the valid pixels of all bands lie below; None without any.

    Of a coarse view where the scene has overviews, else of a lattice of windows.
    """
    if scene.overviews:
        values = scene.coarse(bands, _COARSE_PX)
        sample = values[:, scene.coarse_valid(bands, _COARSE_PX)].ravel()
    else:
        sample = _lattice(scene, bands)
    return float(np.percentile(sample, 1)) if sample.size else None


def _lattice(scene: Scene, bands: Sequence[int]) -> NDArray[Any]:
    """Valid values of all bands in a fixed lattice of windows, flat."""
    found = []
    side = _SAMPLE_PX
    for row in np.linspace(0, max(0, scene.height - side), _SAMPLE_SIDE).astype(int):
        for col in np.linspace(0, max(0, scene.width - side), _SAMPLE_SIDE).astype(int):
            height, width = min(side, scene.height), min(side, scene.width)
            window = Window(row=int(row), col=int(col), height=height, width=width)
            values, valid = scene.read_with_valid(window, bands)
            found.append(values[:, valid].ravel())
    return np.concatenate(found)
