"""What `export` is asked to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from geotiler.errors import SpecError


class ExportTarget(enum.StrEnum):
    """What a model is exported to."""

    ONNX = "onnx"
    MLFLOW = "mlflow"
    STAC = "stac"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSpec:
    """A model for other programs."""

    model: str
    """Name of a shipped model, a model folder, or the address of one."""
    output: Path
    """What to write: an .onnx file, the folder of an MLflow model, or the .json of a STAC item."""
    target: ExportTarget = ExportTarget.ONNX
    check: tuple[str, ...] = ()
    """Images whose tiles graph and network must answer alike; none: a rendered scene."""
    tolerance: float = 1e-3
    """Largest allowed difference of a probability; a quarter of a step of an 8-bit one."""
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises: SpecError: a target of another format, or a tolerance that is none."""
        suffix = self.output.suffix.lower()
        # The output is not named: it may be an address, and hold a password.
        if self.target is ExportTarget.ONNX and suffix != ".onnx":
            raise SpecError(
                "the output is no .onnx file",
                hint="try -o model.onnx; --to mlflow writes a folder, --to stac a .json",
            )
        if self.target is ExportTarget.STAC and suffix != ".json":
            raise SpecError("the output is no .json file, as a STAC item is", "try -o item.json")
        if self.target is ExportTarget.STAC and self.check:
            raise SpecError(
                "a STAC item describes files that are there already, nothing is checked on images",
                hint="leave out --check",
            )
        if self.target is ExportTarget.MLFLOW and suffix in (".onnx", ".json"):
            raise SpecError(f"an MLflow model is a folder, got a {suffix}", "try -o mlflow/")
        if not 0 < self.tolerance < 1:
            raise SpecError(
                f"`tolerance` must lie between 0 and 1, got {self.tolerance:g}",
                hint="try --tolerance 1e-3",
            )
