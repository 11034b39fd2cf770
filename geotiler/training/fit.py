"""One training run: Lightning trainer, checkpoints, curve; returns the chosen weights."""

from __future__ import annotations

import contextlib
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from omegaconf import OmegaConf
from torch import nn

from geotiler.errors import DeviceError, InputError, ModelError, OutputError, SpecError
from geotiler.progress import Kept, Notice, Reporter
from geotiler.training.callbacks import (
    Curve,
    EpochLength,
    FiniteLoss,
    Monitor,
    NormEval,
    Progress,
)
from geotiler.training.checkpoints import WholeCheckpoints, read_checkpoint
from geotiler.training.config import FitConfig
from geotiler.training.framework import pl
from geotiler.training.optimisation import OPTIMIZERS, SCHEDULERS
from geotiler.training.precision import PRECISIONS, best_precision
from geotiler.training.resumption import LAST, SETTINGS, check_folder
from geotiler.training.whole_files import replaced

from lightning.fabric.utilities.exceptions import MisconfigurationException  # isort: skip
from lightning.pytorch.callbacks import (  # isort: skip
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
)

__all__ = [
    "FitResult",
    "Monitor",
    "fit",
    "prepare",
    "run_folder",
    "trainer_for",
    "without_expected_warnings",
]

ACCELERATORS = ("auto", "cpu", "cuda", "mps")
_EXPECTED = (
    ".*does not have many workers.*",  # reading is cheap next to the network
    ".*exists and is not empty.*",  # the run's own folder
    ".*could not find the monitored key.*",  # a resumed run first ends the epoch it was saved in
    ".*resuming from a checkpoint that ended before the epoch ended.*",  # so it goes on with it
    ".*`isinstance\\(treespec, LeafSpec\\)`.*",
    ".*smaller than the logging interval.*",  # epochs are logged, not steps
    ".*`lr_scheduler.step\\(\\)` before `optimizer.step\\(\\)`.*",  # 16-mixed skips its first steps
)
"""Warnings of Lightning and torch that say what is meant to be so."""


@contextlib.contextmanager
def without_expected_warnings() -> Iterator[None]:
    """No warnings of Lightning that say what is meant to be so."""
    with warnings.catch_warnings():
        for text in _EXPECTED:
            warnings.filterwarnings("ignore", message=text)
        yield


class RunSettings(Protocol):
    """A configuration that can be fitted."""

    @property
    def train(self) -> FitConfig:
        """What the trainer is told."""

    output: str
    init: str | None
    resume: bool


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


def trainer_for(train: FitConfig, **more: Any) -> pl.Trainer:
    """A silent Lightning trainer on the accelerator and in the precision that a run asks for.

    Raises:
        DeviceError: the accelerator is not there.
    """
    try:
        return pl.Trainer(
            accelerator=train.accelerator,
            devices=1,
            precision=best_precision(train.precision, train.accelerator),  # type: ignore[arg-type]
            deterministic=train.deterministic,
            enable_progress_bar=False,
            enable_model_summary=False,
            **{"num_sanity_val_steps": 0, **more},
        )
    except (MisconfigurationException, RuntimeError) as error:
        raise DeviceError(
            f"no accelerator {train.accelerator!r} on this machine: {str(error).splitlines()[0]}",
            hint="train.accelerator=auto takes what is there",
        ) from error


def prepare(config: RunSettings) -> None:
    """Check what a run would stumble over, settle its steps, and seed every generator.

    Comes before the network is built, which is random.

    Raises:
        InputError: nothing is there to resume, or it cannot be read.
        OutputError: the output folder holds another run and `resume` is off.
        SpecError: a setting of the trainer that no run can have.
    """
    _check(config.train)
    check_folder(config)  # again: another run may have come and gone before the folder was held
    if config.resume:
        _check_steps(config)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    pl.seed_everything(config.train.seed, workers=True, verbose=False)


def _check_steps(config: RunSettings) -> None:
    """Raises: SpecError: a run that goes on has done more steps than it is to have."""
    done = int(read_checkpoint(Path(config.output) / LAST)["global_step"])
    if done > config.train.steps:
        raise SpecError(
            f"{config.output} has done {done} steps already, train.steps={config.train.steps} "
            "asks for less",
            hint=f"leave it out to go on, or train.steps={2 * done}",
        )


def _check(train: FitConfig) -> None:
    if train.epochs is not None:
        train.steps = train.epochs * train.steps_per_epoch
    for holds, what, got in (
        (train.steps >= 1, "train.steps and train.epochs must be at least 1", train.steps),
        (train.steps_per_epoch >= 1, "train.steps_per_epoch must be at least 1",
         train.steps_per_epoch),
        (train.precision in PRECISIONS, f"train.precision must be one of {', '.join(PRECISIONS)}",
         train.precision),
        (train.accelerator in ACCELERATORS,
         f"train.accelerator must be one of {', '.join(ACCELERATORS)}", train.accelerator),
        (train.optimizer.name in OPTIMIZERS,
         f"train.optimizer.name must be one of {', '.join(OPTIMIZERS)}", train.optimizer.name),
        (train.scheduler.name in SCHEDULERS,
         f"train.scheduler.name must be one of {', '.join(SCHEDULERS)}", train.scheduler.name),
        (train.select in ("best", "last"), "train.select must be best or last", train.select),
        (0 <= train.ema_decay < 1, "train.ema_decay must lie in 0 to 1", train.ema_decay),
        (train.gradient_clip >= 0, "train.gradient_clip must not be negative", train.gradient_clip),
        (train.early_stopping is None or train.early_stopping >= 1,
         "train.early_stopping must be at least 1, or null", train.early_stopping),
        (train.threads is None or train.threads >= 1, "train.threads must be at least 1",
         train.threads),
    ):  # fmt: skip
        if not holds:
            raise SpecError(f"{what}, got {got}", hint="overrides look like train.steps=1000")


def fit(
    config: RunSettings,
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    monitor: Monitor,
    report: Reporter,
    loggers: Sequence[Any] = (),
) -> FitResult:
    """Train, validate every epoch, and return the network that `train.select` asks for.

    `prepare` has been called on the configuration before. A run that fails before its first
    checkpoint leaves nothing behind.

    Args:
        config: the run.
        module: what is trained; its `network` is the result.
        data: what it is trained and validated on.
        monitor: the score that tells the best epoch.
        report: hears one event per step and a notice per epoch.
        loggers: Lightning loggers that are told as well.

    Raises:
        InputError: data are missing.
        ModelError: the loss is no number any more.
        SpecError: an operation is not as deterministic as the run asks for.
        DeviceError: the accelerator is not there, or its memory is too small.
        OutputError: the folder cannot be written.
    """
    folder = Path(config.output)
    last = folder / LAST
    if config.resume and int(read_checkpoint(last)["global_step"]) == config.train.steps:
        report(Notice(message=f"all {config.train.steps} steps are done: it is scored again"))
    data.setup("fit")  # what is wrong with the data is told before anything is written
    with run_folder(folder):
        settings = folder / SETTINGS
        if not config.resume:
            _save(config, settings)
        curve = Curve(folder / "metrics.csv", monitor, resume=config.resume)
        trainer = _trainer(config, monitor, curve, report, loggers)
        with without_expected_warnings(), _clear_errors(folder), _kept(last, report):
            trainer.fit(
                module,
                datamodule=data,
                ckpt_path=str(last) if config.resume else None,
                weights_only=False,  # our own checkpoint: optimiser and configuration objects
            )
        _save(config, settings)  # of a run that was lengthened
    state = read_checkpoint(folder / f"{config.train.select}.ckpt")
    module.load_state_dict(state["state_dict"])  # the averaged weights
    steps = int(state["global_step"])
    scores = {row["step"]: row[monitor.name] for row in curve.rows}
    return FitResult(
        network=module.network.eval(),  # type: ignore[union-attr, operator]
        steps=steps,
        score=scores.get(steps, 0.0),
        curve=tuple(curve.rows),
    )


def _save(config: RunSettings, path: Path) -> None:
    with replaced(path) as temporary:
        OmegaConf.save(OmegaConf.structured(config), temporary)


def _trainer(
    config: RunSettings, monitor: Monitor, curve: Curve, report: Reporter, loggers: Sequence[Any]
) -> pl.Trainer:
    folder, train = Path(config.output), config.train
    always: dict[str, Any] = {"dirpath": folder, "enable_version_counter": False}
    best = ModelCheckpoint(filename="best", monitor=monitor.name, mode="max", **always)
    # Its own callback: `save_last` of the other one is only written when the score improves.
    last = ModelCheckpoint(filename="last", save_on_train_epoch_end=True, **always)
    length = EpochLength(train.steps, train.steps_per_epoch)
    callbacks = [
        EMAWeightAveraging(decay=train.ema_decay),
        FiniteLoss(folder),
        length,
        curve,
        Progress(report, train.steps, monitor),
        best,
        last,
    ]
    if train.norm_eval:
        callbacks.append(NormEval())
    if train.early_stopping is not None:
        callbacks.append(
            EarlyStopping(
                monitor=monitor.name,
                mode="max",
                patience=train.early_stopping,
                check_on_train_epoch_end=False,  # a resumed run first ends an epoch without score
            )
        )
    done = int(read_checkpoint(folder / LAST)["global_step"]) if config.resume else 0
    return trainer_for(
        train,
        max_steps=train.steps,
        # All of the validation split, so that what fine-tuning brings can be told.
        num_sanity_val_steps=-1 if config.init and not config.resume else 0,
        limit_train_batches=length.after(done),
        # An iterator starts anew with every epoch: a loader of its own tells it at which step, or
        # every epoch would see the crops of the first one.
        reload_dataloaders_every_n_epochs=1,
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        logger=list(loggers) or False,
        default_root_dir=folder,
        gradient_clip_val=train.gradient_clip or None,
    )


@contextlib.contextmanager
def run_folder(folder: Path) -> Iterator[None]:
    """The folder exists inside, and goes again after an error if no checkpoint is in it.

    Raises:
        OutputError: it cannot be made or written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    before = set(folder.iterdir()) if folder.is_dir() else set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        if not (folder / LAST).is_file() and folder.is_dir():
            for path in set(folder.iterdir()) - before:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            for path in made:
                with contextlib.suppress(OSError):  # a logger's store may lie beside the run
                    path.rmdir()
        if isinstance(error, OutputError) and error.hint is None:
            raise OutputError(error.message, hint=_what_next(folder)) from error
        if isinstance(error, OSError) and not isinstance(error, InputError | OutputError):
            raise OutputError(
                f"{folder} cannot be written: {error.strerror or error}", hint=_what_next(folder)
            ) from error
        raise


def _what_next(folder: Path) -> str:
    """What to do where a run could not write its folder."""
    if (folder / LAST).is_file():
        return "make room there: --resume goes on from the last checkpoint, which is whole"
    return "output=FOLDER names another place"


@contextlib.contextmanager
def _kept(last: Path, report: Reporter) -> Iterator[None]:
    """Tells whether a run that is interrupted can go on."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception):  # somebody, or Lightning for him, ends the process
            report(Kept(share=float(last.is_file())))
        raise


@contextlib.contextmanager
def _clear_errors(folder: Path) -> Iterator[None]:
    """What torch raises inside, in words.

    Raises:
        DeviceError: memory ran out.
        ModelError: a checkpoint of another network.
        SpecError: `train.deterministic` cannot be honoured.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise DeviceError(
            "the memory of the device is too small for a training step",
            hint="train.batch=4 or train.crop_px=192 need less",
        ) from error
    except RuntimeError as error:
        if "not have a deterministic implementation" in str(error):
            operation = str(error).split(" does not have")[0][-80:]
            raise SpecError(
                f"train.deterministic=true: {operation} may differ from run to run on this device",
                hint="train.deterministic=false takes it",
            ) from error
        if "loading state_dict" not in str(error):
            raise
        raise ModelError(
            f"{folder / LAST} holds another network than this configuration",
            hint="name=ANOTHER begins a new run",
        ) from error
