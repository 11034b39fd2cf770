"""Models that lie on the web: fetched once, into the user's cache, and believed as any other.

An address is that of a model folder, as any static host serves it. What comes is checked against
the digests of its card before it gets a place; the card itself is believed, as is whoever wrote it.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import platformdirs

from geotiler import __version__
from geotiler.errors import GeotilerError, ModelError, OutputError
from geotiler.models.bundle import Bundle, copy_bundle, open_bundle
from geotiler.models.card import CARD_FILE, LARGEST_CARD_BYTES, ModelCard

_PATIENCE_S = 30
_BLOCK_BYTES = 2**20
_LARGEST_BYTES = 8_000_000_000
"""Of one file: more than any network here has, less than would fill a disk by mistake."""


def cache_folder() -> Path:
    """Where fetched models are kept: the user's cache, as the system has it."""
    return platformdirs.user_cache_path("geotiler") / "models"


def fetched_model(address: str, *, anew: bool = False) -> Bundle:
    """The model at an address, from the cache if it was fetched before.

    Args:
        address: of a model folder, or of its card.
        anew: fetch it although it is there, and put it in its place.

    Raises:
        ModelError: it is no address, nothing is to be had there, or it is not what its card says.
        OutputError: the cache cannot be written.
    """
    root = _checked(address).removesuffix(f"/{CARD_FILE}").rstrip("/")
    place = cache_folder() / hashlib.sha256(root.encode()).hexdigest()[:16]
    if (place / CARD_FILE).is_file() and not anew:
        try:
            return open_bundle(place)
        except ModelError as error:
            raise ModelError(
                f"the copy of {root} cannot be used: {error.message}",
                hint=f"geotiler models fetch {root}",
            ) from error
    with _folder_beside(place) as folder:
        bundle = _fetched(root, folder)
        if place.is_dir() and not (place / CARD_FILE).is_file():
            shutil.rmtree(place, ignore_errors=True)  # what is left of another one
        return copy_bundle(bundle, place, overwrite=True)


def _checked(address: str) -> str:
    """The address as a server takes it. Raises: ModelError: it is none of a folder."""
    shown = address
    try:
        scheme, host, path, query, fragment = urlsplit(address)
        if "@" in host or query or fragment:  # what may be secret is not shown
            shown = urlunsplit((scheme, host.rpartition("@")[2], path, "", ""))
        elif scheme.lower() in ("http", "https") and host:
            return urlunsplit((scheme, host, quote(path, safe="/%:+,;=@!$&'()*~"), "", ""))
    except ValueError:
        pass
    raise ModelError(
        f"{shown} must be an http or https address of a model folder, without password or query",
        hint="as https://example.org/models/roofs; or fetch the folder by hand and name it",
    )


@contextmanager
def _folder_beside(place: Path) -> Iterator[Path]:
    """A temporary folder on the disk that the model will lie on.

    Raises:
        OutputError: there is none to be had, or the disk fills up.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetched-", dir=place.parent) as name:
            yield Path(name)
    except OSError as error:
        if isinstance(error, GeotilerError):
            raise
        raise OutputError(f"{place.parent} cannot be written: {error.strerror}") from error


def _fetched(root: str, folder: Path) -> Bundle:
    """The model at an address, put into a folder. Raises: ModelError."""
    _save(f"{root}/{CARD_FILE}", folder / CARD_FILE, LARGEST_CARD_BYTES)
    try:
        names = list(ModelCard.from_json((folder / CARD_FILE).read_bytes()).files)
    except ModelError as error:
        raise _no_model(root, folder, error) from error
    for name in names:
        _save(f"{root}/{quote(name)}", folder / name, _LARGEST_BYTES)
    try:
        return open_bundle(folder)
    except ModelError as error:
        raise _no_model(root, folder, error) from error


def _no_model(root: str, folder: Path, error: ModelError) -> ModelError:
    reason = error.message.replace(f"{folder}/", "").replace(str(folder), root)
    return ModelError(
        f"what came from {root} is no model: {reason}",
        hint="try again; an address must give the files themselves, not pages about them",
    )


class _NoDowngrade(HTTPRedirectHandler):
    """Goes where a server sends it on the web, from https to https alone."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        scheme = urlsplit(newurl).scheme.lower()
        if scheme not in ("https", req.type) or scheme not in ("http", "https"):
            raise ModelError(
                f"{req.full_url} leads to an address of {scheme}, not followed",
                hint="if you trust where it leads, name that address",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _save(address: str, path: Path, most_bytes: int) -> None:
    """Raises: ModelError: it is not there, not to be had whole, or too large.

    OSError: the disk refuses.
    """
    with path.open("wb") as file:
        for block in _blocks(address, most_bytes):
            file.write(block)


def _blocks(address: str, most_bytes: int) -> Iterator[bytes]:
    """What lies at an address, in pieces. Raises: ModelError."""
    request = Request(address, headers={"User-Agent": f"geotiler/{__version__}"})
    left = most_bytes
    try:
        with build_opener(_NoDowngrade).open(request, timeout=_PATIENCE_S) as answer:
            while block := answer.read(min(_BLOCK_BYTES, left + 1)):
                left -= len(block)
                if left < 0:
                    raise ModelError(f"{address} is larger than {most_bytes:,} bytes: no model")
                yield block
    except (HTTPException, ValueError, OSError) as error:
        if isinstance(error, GeotilerError):
            raise
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise ModelError(
            f"{address} cannot be fetched: {' '.join(str(reason).split())[:160]}",
            hint="--model takes a name, a model folder, or the address of one",
        ) from error
