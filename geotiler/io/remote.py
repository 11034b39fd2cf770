"""Scenes on other machines: how GDAL is asked for them, and how they are named without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import rasterio
from rasterio.env import get_gdal_config
from rasterio.session import DummySession

from geotiler.errors import InputError

_FILE_SYSTEMS = {
    "s3": "/vsis3/",
    "gs": "/vsigs/",
    "az": "/vsiaz/",
    "http": "/vsicurl/http://",
    "https": "/vsicurl/https://",
}
"""Scheme → what GDAL calls it. Credentials are GDAL's own affair: environment, files, roles."""

_REMOTE = re.compile(
    r"/vsi(curl|s3|gs|az|adls|oss|swift|hdfs|webhdfs)(_streaming)?[/?]|^(https?|ftp|s3|gs|az)://",
    re.IGNORECASE,
)
_WORDS = {"SRS", "MDI", "Description", "Category", "UnitType", "WKT", "GCPProjection"}
"""Elements of a virtual raster that only say something, and open nothing."""
_ADDRESS = re.compile(r"(?:https?|ftp|s3|gs|az)://[^\s'\"<>]+", re.IGNORECASE)
_SCHEME = re.compile(r"(?:https?|ftp|s3|gs|az)://", re.IGNORECASE)
_CURL_OPTIONS = re.compile(r"/vsicurl(?:_streaming)?\?\S*", re.IGNORECASE)
_SERVICES = re.compile(r"<\s*(GDAL_WMS|GDAL_WMTS|WCS_GDAL)|^\s*(WMS|WMTS|WCS|WFS|PLMosaic):", re.I)

_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # a listing for sidecars costs more than the scene
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GDAL_HTTP_LOW_SPEED_TIME": "60",  # a connection that has died is given up, and tried again
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "CPL_VSIL_CURL_CACHE_SIZE": str(64 * 2**20),
}
_DEEPEST_VRT = 8
_LARGEST_VRT_BYTES = 256 * 2**20


def is_remote(path: str) -> bool:
    """Whether a name leads to another machine."""
    return bool(_REMOTE.search(path))


def gdal_name(path: str) -> str:
    """The name by which GDAL opens a scene."""
    scheme, separator, rest = path.partition("://")
    prefix = _FILE_SYSTEMS.get(scheme.lower())
    return f"{prefix}{rest}" if separator and prefix else path


def shown(path: str) -> str:
    """A name for messages and journals: addresses lose user, password and query."""
    start = _CURL_OPTIONS.search(path)
    if start:  # options with an address among them
        return path[: start.start()] + "/vsicurl"
    if path.lstrip().startswith("<"):
        return "the mosaic"
    if _SCHEME.match(path):  # all of it is an address, whatever marks its password has
        return _bare(path)
    return redacted(path)


def redacted(text: str, path: str = "") -> str:
    """A text whose addresses have lost user, password and query.

    Args:
        text: a message, perhaps of GDAL, which also names files by the last part of an address.
        path: the address that it may be about.
    """
    if path and path in text:
        text = text.replace(path, shown(path))
    text = _CURL_OPTIONS.sub("/vsicurl", text)
    for address in _ADDRESS.findall(path):
        query = address.partition("?")[2].partition("#")[0]
        if query:
            text = text.replace(f"?{query}", "").replace(query, "...")
    return _ADDRESS.sub(lambda match: _bare(match[0]), text)


def _bare(address: str) -> str:
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:  # a port that is no number
        return address.split("://", 1)[0] + "://..."
    return f"{parts.scheme}://{host}{port}{parts.path}"


@contextmanager
def patient(remote: bool) -> Iterator[None]:
    """GDAL's settings for reading a scene, from another machine with patience.

    What the user has set for GDAL stays as it is. Within, GDAL's warnings go to Python's log, and
    not past it to standard error.
    """
    options = {}
    if remote:
        options = {key: value for key, value in _OPTIONS.items() if get_gdal_config(key) is None}
    with rasterio.Env(session=DummySession(), **options):
        yield


def check_sources(path: str) -> None:
    """Raises: InputError: a local virtual raster that would be read from other machines."""
    if not is_remote(path):
        _check_text(path, path, depth=0)


def _check_text(path: str, name: str, depth: int) -> None:
    text = path if path.lstrip().startswith("<") else _vrt_text(Path(path))
    if text is None:
        return
    if depth > _DEEPEST_VRT:
        raise InputError(f"{name} is a virtual raster of virtual rasters without end")
    if _SERVICES.search(text):
        raise _refused(name, "a web service")
    try:
        elements = list(ElementTree.fromstring(text).iter())
    except ElementTree.ParseError:
        return  # GDAL does not read it either, and says why
    for element in elements:
        if element.tag in _WORDS:
            continue
        for value in (element.text or "", *element.attrib.values()):
            if is_remote(value.strip()) or _SERVICES.search(value):
                raise _refused(name, shown(value.strip())[:120])
        if element.tag in ("SourceFilename", "SourceDataset") and element.text:
            source = element.text
            if element.get("relativeToVRT", element.get("relativetoVRT")) == "1":
                source = str(Path(path).parent / source)
            _check_text(source, name, depth + 1)


def _refused(name: str, source: str) -> InputError:
    return InputError(
        f"{name} points to another machine: {source}",
        hint="geotiler segment --allow-remote reads it all the same",
    )


def _vrt_text(path: Path) -> str | None:
    """The text of a file if it is a virtual raster or a description of a web service."""
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_VRT_BYTES:
            return None
        with path.open("rb") as file:
            if not file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
                return None
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
