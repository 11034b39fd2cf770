"""The models that ship with geotiler, and the ones a user points at."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from geotiler.errors import ModelError
from geotiler.models.bundle import Bundle, open_bundle
from geotiler.models.card import CARD_FILE
from geotiler.resources import weights_dir
from geotiler.spelling import did_you_mean

__all__ = ["find_model", "list_models", "weights_dir"]

_ADDRESS = re.compile(r"https?://", re.IGNORECASE)


def list_models() -> list[Bundle]:
    """The shipped models by name, all verified. Raises: ModelError: one of them is damaged."""
    return [open_bundle(weights_dir() / name) for name in _shipped_names()]


def find_model(name_or_path: str | Path) -> Bundle:
    """The model of that name, in that folder, at that address, or of an ONNX file beside its card.

    The folder may be that of a training run, which has its model in `model/`. What lies at an
    address is fetched once.

    A shipped name wins over a folder of the same name; write `./name` for the folder. Where there
    is no such folder, `weights/name` is the shipped model as well: so its place in a checkout is
    called.

    Raises:
        ModelError: there is none, it cannot be fetched, or it cannot be trusted.
        OutputError: a fetched model finds no place.
    """
    if _ADDRESS.match(str(name_or_path)):
        from geotiler.models.fetch import fetched_model  # what speaks HTTP loads slowly

        return fetched_model(str(name_or_path))
    shipped = _shipped_names()
    if str(name_or_path) in shipped:
        return open_bundle(weights_dir() / str(name_or_path))
    path = Path(name_or_path)
    try:
        if path.suffix.lower() == ".onnx":
            return _beside_its_card(path)
        if path.is_dir():
            of_run = path / "model"
            is_run = not (path / CARD_FILE).exists() and (of_run / CARD_FILE).is_file()
            return open_bundle(of_run if is_run else path)
    except OSError as error:  # a name too long for a path, a folder that may not be entered
        raise ModelError(f"model {str(path)[:80]!r} cannot be opened: {error.strerror}") from error
    if path.parent == Path("weights") and path.name in shipped:
        return open_bundle(weights_dir() / path.name)
    name = str(name_or_path)[:80]
    raise ModelError(
        f"no model {name!r}{did_you_mean(name, shipped) or ': not shipped, and no model folder'}",
        hint=f"`model` is one of: {', '.join(shipped) or 'none shipped'}; a folder; an .onnx; "
        "an https address",
    )


def _beside_its_card(path: Path) -> Bundle:
    if not path.is_file():
        raise ModelError(f"no model file {path}")
    if not (path.parent / CARD_FILE).is_file():
        raise ModelError(
            f"{path} has no {CARD_FILE} beside it",
            hint="geotiler reads bands, scaling and classes from the card",
        )
    bundle = open_bundle(path.parent)
    if path.name not in bundle.card.files:
        raise ModelError(f"{path.parent / CARD_FILE} does not name the file {path.name}")
    return dataclasses.replace(bundle, onnx_file=path.name)


def _shipped_names() -> list[str]:
    try:
        return sorted(entry.parent.name for entry in weights_dir().glob(f"*/{CARD_FILE}"))
    except OSError:
        return []
