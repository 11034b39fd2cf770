"""A model folder: `model.safetensors`, `model.onnx` and `card.json`, each byte accounted for.

Opening one needs neither torch nor numpy. Files are read only by the names that the card gives,
only inside the folder, and only if their sha256 is the card's; nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from geotiler.errors import GeotilerError, ModelError, OutputError
from geotiler.models.atomic import exchanged
from geotiler.models.card import CARD_FILE, LARGEST_CARD_BYTES, ONNX_FILE, WEIGHTS_FILE, ModelCard

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A model folder whose files were found to be the ones its card names."""

    folder: Path
    card: ModelCard
    digest: str
    """sha256 of the files' digests and of all settings that change the answer."""
    onnx_file: str = ONNX_FILE
    """Which of the card's files holds the graph."""

    def read(self, name: str) -> bytes:
        """The bytes of one file of the card, checked against its digest.

        Raises:
            ModelError: the card does not name the file, it is missing, or it was changed.
        """
        if name not in self.card.files:
            raise ModelError(
                f"model {self.card.name} has no {name}", hint=f"{CARD_FILE} does not list it"
            )
        path = self.folder / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror}") from error
        found = hashlib.sha256(content).hexdigest()
        if found != self.card.files[name]:
            raise ModelError(
                f"{path} is damaged or was changed: sha256 {found[:12]}…, "
                f"the card says {self.card.files[name][:12]}…",
                hint="restore the model folder",
            )
        return content


def open_bundle(folder: Path) -> Bundle:
    """The model in a folder, all files verified.

    Raises:
        ModelError: no such folder, no card, a bad card, or a file missing or changed.
    """
    folder = Path(folder)
    card = ModelCard.from_json(_card_bytes(folder))
    if WEIGHTS_FILE not in card.files and not any(name.endswith(".onnx") for name in card.files):
        raise ModelError(f"{folder / CARD_FILE}: files names neither {WEIGHTS_FILE} nor a graph")
    bundle = Bundle(folder=folder, card=card, digest=_digest(card))
    for name in card.files:
        bundle.read(name)
    return bundle


def load_network(bundle: Bundle) -> nn.Module:
    """The network of a bundle: float32, in evaluation mode, on the CPU, answering logits.

    Raises:
        ModelError: weights, architecture and card do not fit one another.
    """
    from geotiler.models import build

    network = _network_of(bundle.card)
    build.fill(network, build.tensors_of(bundle.read(WEIGHTS_FILE), WEIGHTS_FILE), WEIGHTS_FILE)
    return network


def write_bundle(
    folder: Path, card: ModelCard, network: nn.Module, *, overwrite: bool = False
) -> ModelCard:
    """The card as written, its `files` filled in, of a new model folder.

    Weights with two or more dimensions are stored as float16, vectors (biases, statistics of
    normalisations) as float32. Both files hold exactly the same numbers. The folder appears
    whole or not at all. The network itself is left as it was.

    Raises:
        OutputError: the folder exists and is not to be overwritten, or cannot be written.
        ModelError: the card does not describe this network, or its graph answers differently.
    """
    from geotiler.models import build, export

    folder = Path(folder)
    with _new_folder(folder, overwrite) as temporary:
        weights = build.stored_bytes(network)
        rounded = _network_of(card)
        build.fill(rounded, build.tensors_of(weights, WEIGHTS_FILE), "the given network")
        (temporary / WEIGHTS_FILE).write_bytes(weights)
        export.export_onnx(rounded, card, temporary / ONNX_FILE)
        files = {
            name: hashlib.sha256((temporary / name).read_bytes()).hexdigest()
            for name in (WEIGHTS_FILE, ONNX_FILE)
        }
        card = dataclasses.replace(card, files=files)
        (temporary / CARD_FILE).write_text(card.to_json(), encoding="utf-8")
        open_bundle(temporary)
    return card


def copy_bundle(bundle: Bundle, folder: Path, *, overwrite: bool = False) -> Bundle:
    """The bundle, verified, in another folder, which appears whole or not at all.

    On Linux a folder that is there is exchanged in one step: whoever opens it meanwhile finds the
    old model or the new one. Elsewhere there is a moment in which there is none.

    Raises:
        ModelError: a file was changed since the bundle was opened.
        OutputError: the folder exists and is not to be overwritten, or cannot be written.
    """
    folder = Path(folder)
    with _new_folder(folder, overwrite) as temporary:
        for name in bundle.card.files:
            (temporary / name).write_bytes(bundle.read(name))
        (temporary / CARD_FILE).write_text(bundle.card.to_json(), encoding="utf-8")
        open_bundle(temporary)
    return open_bundle(folder)


def replace_card(folder: Path, card: ModelCard) -> ModelCard:
    """The card as written, of a folder that gets another card for the same weights.

    What graphs say of themselves follows the card, whose digests of them are made anew; where
    only scores were measured they stay. The folder is exchanged whole, as in `copy_bundle`.

    Raises:
        ModelError: the card names other files or weights than are there, or a graph is none.
        OutputError: the folder cannot be written.
    """
    from geotiler.models.graph_metadata import redescribed

    folder = Path(folder)
    bundle = open_bundle(folder)
    if _without_graphs(bundle.card) != _without_graphs(card):
        raise ModelError(f"the new card of {folder} names other files than the folder holds")
    contents = {name: bundle.read(name) for name in card.files}
    for name, content in contents.items():
        if name.endswith(".onnx"):
            contents[name] = redescribed(content, card)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    card = dataclasses.replace(card, files=digests)
    with _new_folder(folder, overwrite=True) as temporary:
        for name, content in contents.items():
            (temporary / name).write_bytes(content)
        (temporary / CARD_FILE).write_text(card.to_json(), encoding="utf-8")
        open_bundle(temporary)
    return card


def _without_graphs(card: ModelCard) -> dict[str, str]:
    """Names of all files, with the digests of those that are no graphs."""
    return {name: "" if name.endswith(".onnx") else card.files[name] for name in card.files}


def _network_of(card: ModelCard) -> nn.Module:
    """The card's network with random weights, proven to take its bands and give its classes."""
    import torch

    from geotiler.models import build

    network = build.build_network(
        card.library, card.architecture, card.arguments, card.input_px
    ).eval()
    side = card.stride_of_network * 4  # some decoders pool three times more
    probe = torch.zeros(1, len(card.bands), side, side)
    expected = (1, card.channels, side, side)[: 4 if card.task == "segmentation" else 2]
    try:
        with torch.inference_mode():
            answer = network(probe)
        shape = tuple(answer.shape)
    except Exception as error:  # a network that does not take what its card promises
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"{CARD_FILE} does not fit {card.architecture}, which refuses "
            f"{len(card.bands)} bands of {side}×{side} px: {reason}"
        ) from error
    if shape != expected:
        raise ModelError(
            f"{CARD_FILE} does not fit {card.architecture}: it answers {shape}, "
            f"the classes and the task ask for {expected}"
        )
    return network


def _card_bytes(folder: Path) -> bytes:
    path = folder / CARD_FILE
    try:
        if path.stat().st_size > LARGEST_CARD_BYTES:
            raise ModelError(f"{path} is larger than {LARGEST_CARD_BYTES} bytes: not a card")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{folder} is not a model folder: {CARD_FILE} cannot be read ({error.strerror})",
            hint="--model takes a name, a model folder, or an ONNX file beside its card.json",
        ) from error


def _digest(card: ModelCard) -> str:
    settings = json.dumps(card.settings, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(settings.encode()).hexdigest()


@contextlib.contextmanager
def _new_folder(folder: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary folder beside the target that takes its place at the end, or vanishes."""
    if folder.exists():
        if not overwrite:
            raise OutputError(f"{folder} exists already", hint="--overwrite replaces it")
        if not (folder / CARD_FILE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"{folder} holds something else than a model", hint="move it away")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp's folders are private
        replaced = temporary.with_name(f"{temporary.name}.replaced")
        if folder.exists() and exchanged(temporary, folder):
            return  # the old folder has the temporary name now, and is removed below
        if folder.exists():
            os.replace(folder, replaced)
        try:
            os.replace(temporary, folder)
        except OSError:
            if replaced.exists():
                os.replace(replaced, folder)
            raise
        shutil.rmtree(replaced, ignore_errors=True)
    except GeotilerError:
        raise
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
