"""Checkpoints of a run: written whole, read with an error that says which file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from geotiler.errors import InputError
from geotiler.training.framework import pl
from geotiler.training.whole_files import replaced


class WholeCheckpoints(pl.plugins.TorchCheckpointIO):
    """Lightning's checkpoints, but whole or not there.

    Lightning writes them to the system's temporary folder and moves them, which is a copy over the
    one before where that folder lies on another disk.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write one file. Raises: OSError: it cannot be written; the one before stays."""
        content = io.BytesIO()  # of a file, torch does not say why it cannot be written
        torch.save(checkpoint, content)
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replaced(target) as temporary:
            temporary.write_bytes(content.getbuffer())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a run of ours saved. Raises: InputError: it cannot be read."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0][:160]
        raise InputError(
            f"{path} cannot be read: {reason}", hint="name=ANOTHER begins a run of its own"
        ) from error
    return state
