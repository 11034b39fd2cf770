"""What a scene is: what can be told before anything is computed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geotiler.core.palette import hex_colour
from geotiler.io.raster import Scene, open_scene
from geotiler.io.scene_extent import crs_name, extent, extent_lonlat
from geotiler.io.scene_tags import (
    CONFIDENCE_CONTENT,
    CONTENT_TAG,
    DIGEST_TAG,
    MODEL_TAG,
    VERSION_TAG,
)
from geotiler.reports import Report

READ_WHOLE_PX = 100_000_000
"""Scenes without overviews are read whole, for the share of nodata, up to this size."""


@dataclass(frozen=True, kw_only=True)
class DescribedClass:
    """A class of a raster that geotiler made."""

    id: int
    name: str
    color: str | None
    """"#rrggbb"; None: the raster has no colour table."""


@dataclass(frozen=True, kw_only=True)
class MadeByGeotiler:
    """What a raster that geotiler made says of itself."""

    kind: str
    """mask, probability or confidence."""
    version: str | None
    """Of geotiler."""
    model: str | None
    """Name and version."""
    model_digest: str | None
    classes: tuple[DescribedClass, ...]
    settings: Mapping[str, Any]
    """That it was made with."""


@dataclass(frozen=True, kw_only=True)
class SceneDescription(Report):
    """A raster, in the words that the rest of geotiler uses."""

    path: str
    format: str
    """GDAL's name of the driver."""
    file_bytes: int | None
    """None where it is no local file."""
    shape: tuple[int, int]
    """(height, width) in pixels."""
    bands: tuple[str, ...]
    """Name of each band, "unnamed" where it has none."""
    dtypes: tuple[str, ...]
    """Type of the stored values, each once."""
    compression: str | None
    block_px: tuple[int, int]
    """(height, width) of what is read at once."""
    overviews: tuple[int, ...]
    """Factors of the smaller copies in the file."""
    crs: str | None
    """Authority and code, else its name; None: none."""
    bounds: tuple[float, float, float, float]
    """(left, bottom, right, top) in the CRS, as `segment --bounds` takes them; pixels without."""
    bounds_lonlat: tuple[float, float, float, float] | None
    """(west, south, east, north) in degrees; None without a CRS."""
    gsd_m: tuple[float, float] | None
    """(x, y) metres per pixel on the ground at the scene's centre; None without a CRS."""
    ground_m: tuple[float, float] | None
    """(height, width) on the ground, from the GSD at the centre."""
    nodata: float | None
    """The nodata value; masks and alpha are in the share below."""
    nodata_share: float
    """Share of the pixels that are not valid in every band."""
    nodata_from: str
    """What the share was read from: overviews, all pixels or samples."""
    made: MadeByGeotiler | None
    """Of a raster that geotiler made; None: somebody else did, as a scene."""


def describe(scene: str) -> SceneDescription:
    """What a scene is, read from its header and its overviews.

    Raises:
        InputError: it cannot be read as a raster.
    """
    with open_scene(scene) as opened:
        return _described(opened)


def _described(scene: Scene) -> SceneDescription:
    gsd_m = scene.gsd_m
    colours = [
        band for band, name in enumerate(scene.band_names, start=1) if name != "alpha"
    ] or list(range(1, scene.count + 1))
    share, read_from = _nodata_share(scene, colours)
    path = Path(scene.path)
    return SceneDescription(
        path=scene.path,
        format=scene.driver,
        file_bytes=path.stat().st_size if path.is_file() else None,
        shape=scene.shape,
        bands=tuple(name or "unnamed" for name in scene.band_names),
        dtypes=tuple(sorted(set(scene.dtypes))),
        compression=scene.compression,
        block_px=scene.block_shape,
        overviews=scene.overviews,
        crs=crs_name(scene.crs),
        bounds=extent(scene),
        bounds_lonlat=extent_lonlat(scene),
        gsd_m=None if gsd_m is None else (round(gsd_m[0], 4), round(gsd_m[1], 4)),
        ground_m=None
        if gsd_m is None
        else (round(scene.height * gsd_m[1], 1), round(scene.width * gsd_m[0], 1)),
        nodata=scene.nodata if scene.nodata == scene.nodata else None,
        nodata_share=round(share, 4),
        nodata_from=read_from,
        made=_made(scene),
    )


def _made(scene: Scene) -> MadeByGeotiler | None:
    tags = scene.tags
    if MODEL_TAG not in tags and not scene.class_names:
        return None
    colours = scene.class_colours
    content = tags.get(CONTENT_TAG)
    return MadeByGeotiler(
        kind=content if content in ("probability", CONFIDENCE_CONTENT) else "mask",
        version=tags.get(VERSION_TAG),
        model=tags.get(MODEL_TAG),
        model_digest=tags.get(DIGEST_TAG),
        classes=tuple(
            DescribedClass(
                id=key, name=name, color=hex_colour(colours[key]) if key in colours else None
            )
            for key, name in sorted(scene.class_names.items())
        ),
        settings={key: value for key, value in scene.settings.items() if _is_plain(value)},
    )


def _is_plain(value: Any) -> bool:
    """Whether JSON has it: anybody can write into a tag."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _nodata_share(scene: Scene, bands: list[int]) -> tuple[float, str]:
    if not scene.overviews and scene.height * scene.width > READ_WHOLE_PX:
        return 1.0 - scene.sampled_valid(bands), "samples"
    valid = scene.coarse_valid(bands)
    return 1.0 - float(valid.mean()), "overviews" if scene.overviews else "all pixels"
