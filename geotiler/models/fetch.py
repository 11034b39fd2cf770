"""Models that lie on the web: fetched once, into the user's cache, and believed as any other.

An address is that of a model folder, as any static host serves it. What comes is checked against
the digests of its card before it gets a place; the card itself is believed, as is whoever wrote it.
"""

from __future__ import annotations

import hashlib
import tempfile
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import platformdirs

from geotiler import __version__
from geotiler.errors import ModelError
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
    parts = urlsplit(address)
    is_plain = not (parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname or not is_plain:
        raise ModelError(
            f"{_shown(address)} must be an http or https address of a model folder, without "
            "password or query",
            hint="as https://example.org/models/roofs; or fetch the folder by hand and name it",
        )
    root = address.removesuffix(CARD_FILE).rstrip("/")
    place = cache_folder() / hashlib.sha256(root.encode()).hexdigest()[:16]
    if place.exists() and not anew:
        return open_bundle(place)
    with tempfile.TemporaryDirectory(prefix="geotiler-model-") as name:
        folder = Path(name)
        _save(f"{root}/{CARD_FILE}", folder / CARD_FILE, LARGEST_CARD_BYTES)
        for file in ModelCard.from_json((folder / CARD_FILE).read_bytes()).files:
            _save(f"{root}/{file}", folder / file, _LARGEST_BYTES)
        return copy_bundle(open_bundle(folder), place, overwrite=True)


def _save(address: str, path: Path, most_bytes: int) -> None:
    """Raises: ModelError: it is not there, not to be reached, or larger than that."""
    request = Request(address, headers={"User-Agent": f"geotiler/{__version__}"})
    left = most_bytes
    try:
        with urlopen(request, timeout=_PATIENCE_S) as answer, path.open("wb") as file:
            while block := answer.read(min(_BLOCK_BYTES, left + 1)):
                left -= len(block)
                if left < 0:
                    raise ModelError(f"{address} is larger than {most_bytes:,} bytes: no model")
                file.write(block)
    except (HTTPException, ValueError, OSError) as error:
        if isinstance(error, ModelError):
            raise
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise ModelError(
            f"{address} cannot be fetched: {' '.join(str(reason).split())[:160]}",
            hint="--model takes a name, a model folder, or the address of one",
        ) from error


def _shown(address: str) -> str:
    """An address without what may be secret."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.hostname}{parts.path}" if parts.hostname else address
