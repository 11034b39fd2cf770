"""One training run: Lightning trainer, checkpoints, curve; returns the best weights."""

from __future__ import annotations

import csv
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from omegaconf import OmegaConf
from torch import nn

from geotiler.errors import InputError, OutputError, SpecError
from geotiler.progress import Notice, Reporter, StageAdvanced, StageFinished, StageStarted
from geotiler.training.framework import pl

from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint  # isort: skip


_LAST = "last.ckpt"
_EXPECTED = (
    ".*does not have many workers.*",  # reading is cheap next to the network
    ".*exists and is not empty.*",  # the run's own folder
    ".*could not find the monitored key.*",  # a resumed run first ends the epoch it was saved in
    ".*`isinstance\\(treespec, LeafSpec\\)`.*",
)
"""Warnings of Lightning that say what is meant to be so."""


class TrainSettings(Protocol):
    """What a run's `train` section says to the trainer, whatever is trained."""

    steps: int
    steps_per_epoch: int
    precision: str
    ema_decay: float
    select: str
    seed: int
    threads: int | None


class RunSettings(Protocol):
    """A configuration that can be fitted."""

    @property
    def train(self) -> TrainSettings:
        """Optimisation."""

    output: str
    resume: bool


@dataclass(frozen=True, kw_only=True)
class Monitor:
    """The validation score that chooses among the checkpoints; larger is better."""

    name: str
    """As the module logs it, "val_iou"."""
    label: str
    """In words, "validation IoU"."""


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """The chosen network of a run."""

    network: nn.Module
    steps: int
    """Optimiser steps that the network has seen."""
    score: float
    """The monitored score of these weights, as Lightning saw it."""
    curve: tuple[dict[str, float], ...]
    """One row per epoch: step, train_loss, the monitored score, and whatever else begins with
    val_."""


class _Progress(pl.Callback):
    """Turns Lightning's hooks into progress events and a curve on disk."""

    def __init__(
        self, report: Reporter, config: RunSettings, monitor: Monitor, curve_path: Path
    ) -> None:
        self._report = report
        self._config = config
        self._monitor = monitor
        self._path = curve_path
        self.curve: list[dict[str, float]] = []
        if config.resume and curve_path.is_file():
            with curve_path.open(newline="", encoding="utf-8") as file:
                self.curve = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]

    def on_train_start(self, trainer: Any, module: Any) -> None:
        steps = self._config.train.steps
        self._report(StageStarted(stage="training", total=steps, unit="step"))
        if trainer.global_step:
            self.curve = [row for row in self.curve if row["step"] <= trainer.global_step]
            self._report(StageAdvanced(stage="training", amount=trainer.global_step))
            self._report(Notice(message=f"resumed at step {trainer.global_step} of {steps}"))

    def on_train_batch_end(self, trainer: Any, module: Any, *unused: Any) -> None:
        self._report(StageAdvanced(stage="training", amount=1))

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        metrics = trainer.callback_metrics
        name = self._monitor.name
        if name not in metrics:  # a resumed run first ends the epoch it was saved in
            return
        others = sorted(key for key in metrics if key.startswith("val_") and key != name)
        row = {
            "step": float(trainer.global_step),
            "train_loss": float(metrics.get("train_loss", float("nan"))),
            **{key: float(metrics[key]) for key in (name, *others)},
        }
        self.curve.append(row)
        with self._path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            writer.writeheader()
            writer.writerows(self.curve)
        self._report(
            Notice(
                message=f"step {row['step']:.0f}: loss {row['train_loss']:.4f}, "
                f"{self._monitor.label} {row[name]:.4f}"
            )
        )

    def on_train_end(self, trainer: Any, module: Any) -> None:
        self._report(StageFinished(stage="training"))


def best_precision(wanted: str) -> str:
    """Lightning precision: the wanted one, or for "auto" bf16 where hardware multiplies it."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    return "bf16-mixed" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "32-true"


def _trainer(
    config: RunSettings, monitor: Monitor, folder: Path, progress: _Progress
) -> tuple[Any, ModelCheckpoint]:
    always: dict[str, Any] = {"dirpath": folder, "enable_version_counter": False}
    best = ModelCheckpoint(filename="best", monitor=monitor.name, mode="max", **always)
    # Its own callback: `save_last` of the other one is only written when the score improves.
    last = ModelCheckpoint(filename="last", save_on_train_epoch_end=True, **always)
    train = config.train
    trainer = pl.Trainer(
        max_steps=train.steps,
        limit_train_batches=train.steps_per_epoch,
        precision=best_precision(train.precision),  # type: ignore[arg-type]
        callbacks=[EMAWeightAveraging(decay=train.ema_decay), best, last, progress],
        logger=False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        # An iterator starts anew with every epoch: a loader of its own tells it at which step, or
        # every epoch would see the crops of the first one.
        reload_dataloaders_every_n_epochs=1,
        gradient_clip_val=1.0,
    )
    return trainer, best


def prepare(config: RunSettings) -> None:
    """Check what a run would stumble over, set the threads and seed every generator.

    Comes before the network is built, which is random.

    Raises:
        InputError: nothing is there to resume.
        OutputError: the output folder holds another run and `resume` is off.
        SpecError: `train.select` is neither best nor last.
    """
    folder = Path(config.output)
    last = folder / _LAST
    if config.resume and not last.is_file():
        raise InputError(f"nothing to resume: no {last}", hint="leave resume=true out")
    if not config.resume and last.is_file():
        raise OutputError(
            f"{folder} holds another run", hint="go on with resume=true, or choose output=FOLDER"
        )
    if config.train.select not in ("best", "last"):
        raise SpecError(f"train.select must be best or last, got {config.train.select!r}")
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    pl.seed_everything(config.train.seed, workers=True, verbose=False)


def fit(
    config: RunSettings,
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    monitor: Monitor,
    report: Reporter,
) -> FitResult:
    """Train, validate every epoch, and return the network that `train.select` asks for.

    `prepare` has been called on the configuration before.

    Args:
        config: the run.
        module: what is trained; its `network` is the result.
        data: what it is trained and validated on.
        monitor: the score that tells the best epoch.
        report: hears one event per step and a notice per epoch.

    Raises:
        InputError: data are missing.
    """
    folder = Path(config.output)
    last = folder / _LAST
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.structured(config), folder / "config.yaml")
    progress = _Progress(report, config, monitor, folder / "curve.csv")
    trainer, best = _trainer(config, monitor, folder, progress)
    with warnings.catch_warnings():
        for text in _EXPECTED:
            warnings.filterwarnings("ignore", message=text)
        trainer.fit(
            module,
            datamodule=data,
            ckpt_path=str(last) if config.resume else None,
            weights_only=False,  # our own checkpoint: optimiser and configuration objects
        )
    chosen = last if config.train.select == "last" else Path(best.best_model_path)
    state = torch.load(chosen, map_location="cpu", weights_only=False)
    module.load_state_dict(state["state_dict"])  # the averaged weights
    score = float(best.best_model_score or 0.0)
    if config.train.select == "last" and progress.curve:
        score = progress.curve[-1][monitor.name]
    return FitResult(
        network=module.network.eval(),
        steps=int(state["global_step"]),
        score=score,
        curve=tuple(progress.curve),
    )
