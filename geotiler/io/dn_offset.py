"""What has to be added to stored values before they mean what they meant when a model was trained.

Sentinel-2 products since processing baseline 04.00 (January 2022) store values 1000 higher than
before. The amount is written down in several places, and none of them is always there.

Source: Copernicus SentiWiki, S2 Products: reflectance = (DN + RADIO_ADD_OFFSET) / QUANTIFICATION.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from geotiler.errors import SpecError
from geotiler.io.raster import Scene
from geotiler.io.scene_source import SceneSource, band_name

_TAGS = ("RADIO_ADD_OFFSET", "BOA_ADD_OFFSET")
_BAND_IDS = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12",
)  # fmt: skip
"""`band_id` in a product's metadata counts the bands in this order."""

_PRODUCT_DEPTH = 5
"""Folders from a band file up to its product: R10m, IMG_DATA, the granule, GRANULE, *.SAFE."""

_LARGEST_BYTES = 20_000_000
_MOST_ITEMS = 64
_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")


@dataclass(frozen=True, kw_only=True)
class DnOffset:
    """An offset and where it is written."""

    value: float
    """Added to stored values."""
    origin: str


def dn_offset(scene: Scene, source: SceneSource, bands: Sequence[int]) -> DnOffset | None:
    """The offset of a scene's bands; None where nothing says so, or the bands have 8 bits.

    Looked for in the bands' tags (GDAL reads RADIO_ADD_OFFSET and BOA_ADD_OFFSET of products), in
    the metadata of the product around a band file, in a STAC item beside the file, and in offset
    and scale of the bands: physical = offset + scale · DN, hence offset / scale in stored values.

    Raises:
        SpecError: the bands have different offsets.
    """
    if all(scene.dtypes[band - 1] == "uint8" for band in bands):
        return None
    for found, origin in (
        ([_tagged(scene, band) for band in bands], "band tags"),
        ([_in_product(_file_of(source, band)) for band in bands], "product metadata"),
        ([_in_stac(source, band) for band in bands], "STAC item"),
        ([_of_band(scene, band) for band in bands], "band offset"),
    ):
        values = {value for value in found if value is not None}
        if len(values) > 1 or (values and None in found):
            listed = ", ".join("none" if value is None else f"{value:g}" for value in found)
            raise SpecError(
                f"bands {', '.join(map(str, bands))} of {scene.path} have different offsets "
                f"({origin}): {listed}",
                hint="say one for all, as --dn-offset -1000",
            )
        if values:
            return DnOffset(value=values.pop(), origin=origin)
    return None


def _tagged(scene: Scene, band: int) -> float | None:
    for tags in (scene.band_tags(band), scene.tags):
        for key in _TAGS:
            if key in tags:
                return _number(tags[key])
    return None


def _file_of(source: SceneSource, band: int) -> str | None:
    return source.band_files[band - 1] if band <= len(source.band_files) else None


def _in_product(path: str | None) -> float | None:
    """What the metadata above a band's file say; 0 where they are silent, as before 2022."""
    name = band_name(path) if path else None
    if path is None or name is None or not Path(path).exists():
        return None
    for folder in list(Path(path).resolve().parents)[:_PRODUCT_DEPTH]:
        for metadata in sorted(folder.glob("MTD_MSIL*.xml")):
            return _listed(metadata, _BAND_IDS.index(name))
    return None


def _listed(metadata: Path, band_id: int) -> float | None:
    if metadata.stat().st_size > _LARGEST_BYTES:
        return None
    try:
        for _, element in ElementTree.iterparse(metadata):
            tag = element.tag.rsplit("}", 1)[-1]
            if tag in _TAGS and element.get("band_id") == str(band_id):
                return _number(element.text)
    except ElementTree.ParseError:
        return None
    return 0.0


def _in_stac(source: SceneSource, band: int) -> float | None:
    own = _file_of(source, band)
    path = Path(own or source.inputs[0])
    index = 0 if own else band - 1
    if not path.is_file():
        return None
    for number, item in enumerate(sorted(path.parent.glob("*.json"))):
        if number == _MOST_ITEMS:
            break
        found = _in_item(item, path.name, index)
        if found is not None:
            return found
    return None


def _in_item(item: Path, name: str, index: int) -> float | None:
    """What a STAC item says about band `index` of the file of that name; None if it is none."""
    try:
        if item.stat().st_size > _LARGEST_BYTES:
            return None
        content: Any = json.loads(item.read_text(encoding="utf-8"))
        if "stac_version" not in content or content.get("type") != "Feature":
            return None
        for asset in content["assets"].values():
            if str(asset["href"]).split("?")[0].rsplit("/", 1)[-1] != name:
                continue
            properties = content.get("properties", {})
            # Values that were shifted back keep the offset of the product in their item.
            if any(properties.get(key) is True for key in _APPLIED):
                return 0.0
            return _of_asset(asset, index)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # not an item, whatever else it may be
    return None


def _of_asset(asset: dict[str, Any], index: int) -> float | None:
    """Offset and scale of the raster extension: version 1 has a list, version 2 has prefixes."""
    listed = asset.get("raster:bands") or asset.get("bands") or []
    band = listed[index] if index < len(listed) else {}
    merged = {**asset, **band}
    prefix = "" if "raster:bands" in asset else "raster:"
    offset, scale = merged.get(f"{prefix}offset"), merged.get(f"{prefix}scale", 1.0)
    return None if offset is None else _stored(float(offset), float(scale))


def _of_band(scene: Scene, band: int) -> float | None:
    offset, scale = scene.offsets[band - 1], scene.scales[band - 1]
    return None if offset == 0.0 else _stored(offset, scale)


def _stored(offset: float, scale: float) -> float | None:
    """An offset of physical values in stored ones; rounded, since 0.1 / 0.0001 is not 1000."""
    return None if scale == 0.0 else round(offset / scale, 6)


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
