"""What a run does beside learning: it tells, keeps a curve, counts its steps, and stops in time."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from geotiler.errors import ModelError
from geotiler.progress import Notice, Reporter, StageAdvanced, StageFinished, StageStarted
from geotiler.training.framework import pl
from geotiler.training.precision import slow_precision
from geotiler.training.whole_files import replaced

STAGE = "training"


@dataclass(frozen=True, kw_only=True)
class Monitor:
    """The validation score that chooses among the checkpoints; larger is better."""

    name: str
    """As the module logs it, "val_iou"."""
    label: str
    """In words, "validation IoU"."""


class Progress(pl.Callback):
    """Turns Lightning's hooks into progress events."""

    def __init__(self, report: Reporter, steps: int, monitor: Monitor) -> None:
        """Args: report: hears the events. steps: of the whole run. monitor: score to tell."""
        self._report = report
        self._steps = steps
        self._monitor = monitor

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Say what begins, since the first step may be long in coming."""
        self._report(StageStarted(stage=STAGE, total=self._steps, unit="step"))
        done = trainer.global_step
        if done:
            self._report(StageAdvanced(stage=STAGE, amount=done))
        begun = f"resumed at step {done} of {self._steps}" if done else f"{self._steps} steps"
        where = trainer.strategy.root_device.type
        message = f"training on {where} in {trainer.precision}: {begun}"
        self._report(Notice(message=message))
        if told := slow_precision(str(trainer.precision), where):
            self._report(Notice(message=told, warning=True))

    def on_sanity_check_end(self, trainer: Any, module: Any) -> None:
        """The score of the weights that a run begins from: what it has to better."""
        found = trainer.callback_metrics.get(self._monitor.name)
        if found is not None:
            message = f"before the first step: {self._monitor.label} {float(found):.4f}"
            self._report(Notice(message=message))

    def on_train_batch_end(self, trainer: Any, module: Any, *unused: Any) -> None:
        """One step further."""
        self._report(StageAdvanced(stage=STAGE, amount=1))

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """The epoch's loss and score."""
        found = trainer.callback_metrics
        name = self._monitor.name
        if name in found:  # a resumed run first ends the epoch it was saved in
            loss = float(found.get("train_loss", math.nan))
            self._report(
                Notice(
                    message=f"step {trainer.global_step}: loss {loss:.4f}, "
                    f"{self._monitor.label} {float(found[name]):.4f}"
                )
            )

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """The last step is taken."""
        self._report(StageFinished(stage=STAGE))


class Curve(pl.Callback):
    """metrics.csv: one row per epoch, rewritten with each; a resumed run goes on with it."""

    def __init__(self, path: Path, monitor: Monitor, *, resume: bool) -> None:
        """Args: path: of the file. monitor: the score of every row. resume: read it first."""
        self._path = path
        self._monitor = monitor
        self.rows: list[dict[str, float]] = []
        if resume and path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                self.rows = [
                    {key: float(value) for key, value in row.items()}
                    for row in csv.DictReader(file)
                ]

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Forget what was scored after the checkpoint that the run goes on from."""
        self.rows = [row for row in self.rows if row["step"] <= trainer.global_step]

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Add the epoch's losses and scores."""
        found, name = trainer.callback_metrics, self._monitor.name
        if name not in found:  # a resumed run first ends the epoch it was saved in
            return
        others = sorted(key for key in found if key.startswith("val_") and key != name)
        row = {
            "step": float(trainer.global_step),
            "train_loss": float(found.get("train_loss", math.nan)),
            **{key: float(found[key]) for key in (name, *others)},
        }
        self.rows.append(row)
        with (
            replaced(self._path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, fieldnames=list(row), restval=math.nan)
            writer.writeheader()
            writer.writerows(self.rows)


class EpochLength(pl.Callback):
    """Keeps the last epoch to the steps that are left, so that it too ends with a score.

    Lightning would stop in its middle. The trainer asks for its data anew with every epoch, and
    reads `limit_train_batches` then.
    """

    def __init__(self, steps: int, steps_per_epoch: int) -> None:
        """Args: steps: of the whole run. steps_per_epoch: of an epoch, at most."""
        self._steps = steps
        self._per_epoch = steps_per_epoch

    def after(self, step: int) -> int:
        """Steps of the epoch that begins after so many steps."""
        return max(1, min(self._per_epoch, self._steps - step))

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Set the length of the next epoch."""
        trainer.limit_train_batches = self.after(trainer.global_step)


class NormEval(pl.Callback):
    """Keeps batch normalisation in evaluation mode: its statistics stay those it started with.

    Over a few small batches the statistics of a batch are noise, and a network that learns in it
    is another one than that which is scored with the running means.
    """

    def on_train_batch_start(self, trainer: Any, module: Any, *unused: Any) -> None:
        """Undo what Lightning does before it trains, and after every validation."""
        for part in module.modules():
            if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                part.eval()


class FiniteLoss(pl.Callback):
    """Stops a run whose loss is no number any more, before that reaches a checkpoint."""

    def __init__(self, folder: Path) -> None:
        """Args: folder: of the run, named in the message."""
        self._folder = folder
        self._kept = 0

    def on_before_backward(self, trainer: Any, module: Any, loss: torch.Tensor) -> None:
        """Raises: ModelError: the training loss is not finite."""
        if not bool(torch.isfinite(loss.detach()).all()):
            self._stop(trainer, "training", float(loss.detach()))

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Raises: ModelError: the validation loss is not finite."""
        loss = float(trainer.callback_metrics.get("val_loss", 0.0))
        if not math.isfinite(loss):
            self._stop(trainer, "validation", loss)

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """The checkpoint of this step is about to be written."""
        self._kept = trainer.global_step

    def _stop(self, trainer: Any, which: str, loss: float) -> None:
        kept = "no epoch was finished"
        hint = "train.optimizer.lr=1e-4 or train.precision=32-true may help"
        if self._kept or (self._folder / "last.ckpt").is_file():
            kept = f"{self._folder} keeps the checkpoints and scores of the epochs before"
            hint += ", and --resume goes on from there"
        raise ModelError(
            f"the {which} loss became {loss} after step {trainer.global_step}; {kept}", hint=hint
        )
