"""A STAC item as a scene: one of its assets, by name."""

from __future__ import annotations

import http.client
import json
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from geotiler.errors import InputError, SpecError
from geotiler.io.remote import redacted, shown

_LARGEST_ITEM_BYTES = 16 * 2**20
_PATIENCE_S = 30
_RASTERS = ("image/tiff", "image/jp2", "image/vnd.stac.geotiff", "application/x-geotiff")


def scene_of_item(path: str, asset: str | None) -> str:
    """The path or address of the raster that is meant; what is no STAC item is the raster itself.

    Args:
        path: of a raster, or of an item: a file or address that ends with .json.
        asset: which of the item's assets; None takes the only raster.

    Raises:
        SpecError: there is no asset of that name, or which one has to be said.
        InputError: the item cannot be read.
    """
    if asset is None and not path.split("?")[0].lower().endswith((".json", ".geojson")):
        return path
    item = _item(path)
    assets = item.get("assets")
    if not isinstance(assets, dict) or "stac_version" not in item:
        if asset is None:
            return path
        raise InputError(f"{shown(path)} is no STAC item, so it has no asset {asset!r}")
    rasters = [name for name, values in assets.items() if _is_raster(values)]
    if asset is None and len(rasters) != 1:
        raise SpecError(
            f"{shown(path)} has {len(rasters)} rasters: {', '.join(rasters[:20]) or 'none'}",
            hint="--asset takes the name of one",
        )
    name = rasters[0] if asset is None else asset
    href = assets[name].get("href") if isinstance(assets.get(name), dict) else None
    if not isinstance(href, str) or not href:
        raise SpecError(
            f"{shown(path)} has no asset {name!r} with an address",
            hint=f"--asset takes one of {', '.join(list(assets)[:20])}",
        )
    return _joined(path, href)


def _joined(item: str, href: str) -> str:
    if "://" in href or href.startswith("/"):
        return href if "://" in href or "://" not in item else urljoin(item, href)
    return urljoin(item, href) if "://" in item else str(Path(item).parent / href)


def _is_raster(asset: Any) -> bool:
    if not isinstance(asset, dict) or not isinstance(asset.get("href"), str):
        return False
    kind = str(asset.get("type", "")).lower()
    name = asset["href"].split("?")[0].lower()
    roles = asset.get("roles")
    is_picture = isinstance(roles, list) and ("thumbnail" in roles or "overview" in roles)
    return not is_picture and (
        kind.startswith(_RASTERS) or name.endswith((".tif", ".tiff", ".jp2", ".vrt"))
    )


def _item(path: str) -> dict[str, Any]:
    try:
        if path.lower().startswith(("http://", "https://")):
            with urllib.request.urlopen(path, timeout=_PATIENCE_S) as answer:
                content = answer.read(_LARGEST_ITEM_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                content = file.read(_LARGEST_ITEM_BYTES + 1)
        if len(content) > _LARGEST_ITEM_BYTES:
            raise ValueError("it is larger than any item")
        values = json.loads(content)
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        if isinstance(error, http.client.HTTPException):  # its text repeats the address
            error = ValueError("the address or its answer is not valid HTTP")
        reason = redacted(" ".join(str(getattr(error, "strerror", None) or error).split()))[:120]
        raise InputError(
            f"{shown(path)} cannot be read as a STAC item: {reason}",
            hint="an item is a .json; --asset is for these alone",
        ) from error
    if not isinstance(values, dict):
        raise InputError(f"{shown(path)} is no STAC item: expected a JSON object")
    return values
