"""Who hears of a run beside metrics.csv: TensorBoard, MLflow, Weights & Biases, Comet.

Their clients read keys from the environment by themselves; none passes through here, and what
they are told is the configuration, losses and scores.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from geotiler.errors import (
    GeotilerError,
    InputError,
    MissingExtraError,
    OutputError,
    SpecError,
)
from geotiler.training.config import RunConfig
from geotiler.training.framework import pl

LOGGERS = ("csv", "tensorboard", "mlflow", "wandb", "comet")

_PACKAGES = {
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow", "sqlalchemy"),
    "wandb": ("wandb",),
    "comet": ("comet_ml",),
}
"""Whose errors are a logger's own."""


def check_logger(config: RunConfig) -> None:
    """Raises: SpecError: there is no such logger. MissingExtraError: it is not installed."""
    import importlib.util

    name = config.logger.name
    if name not in LOGGERS:
        raise SpecError(f"logger.name must be one of {', '.join(LOGGERS)}, got {name!r}")
    package = {"comet": "comet_ml"}.get(name, name)
    if name != "csv" and importlib.util.find_spec(package) is None:
        raise MissingExtraError(package, f"logger={name}", extra=name)


@contextlib.contextmanager
def opened(config: RunConfig, keys: Collection[str]) -> Iterator[list[Any]]:
    """The Lightning loggers of a run, ended at the end: clients would stay open with the process.

    Args:
        config: the run.
        keys: loggers whose key the environment holds; the others write to the run's folder only.

    Raises:
        InputError: a service cannot be reached, or does not take the key.
        OutputError: it fails later.
    """
    make = _MAKERS.get(config.logger.name)
    if make is None:
        yield []
        return
    logger = _begun(make, config, keys)
    try:
        with _told_plainly(config.logger.name):
            yield [logger]
    except BaseException:
        with contextlib.suppress(Exception):  # what follows from what went wrong
            _end(logger, "failed")
        raise
    with _told_plainly(config.logger.name):
        _end(logger, "success")


def _end(logger: Any, status: str) -> None:
    try:
        logger.finalize(status)
    finally:
        end = getattr(logger.experiment, "finish", None) or getattr(logger.experiment, "end", None)
        if callable(end):
            end()


@contextlib.contextmanager
def _told_plainly(name: str) -> Iterator[None]:
    """Raises: OutputError: the client of a logger cannot go on, as where its disk is full."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _PACKAGES[name]:
            raise
        first: BaseException = error
        while first.__cause__ is not None:  # a database's own words, rather than of who asked it
            first = first.__cause__
        reason = " ".join(str(first).split())[:200]
        raise OutputError(
            f"logger={name} cannot go on: {reason}",
            hint="--resume goes on from the last checkpoint, logger=csv leaves the logger out",
        ) from error


def _begun(make: Callable[[RunConfig, bool], Any], config: RunConfig, keys: Collection[str]) -> Any:
    online = config.logger.online
    try:
        logger = make(config, config.logger.name in keys if online is None else online)
        logger.log_hyperparams(_plain(config))
        return logger
    except GeotilerError:
        raise
    except Exception as error:  # whatever a client raises that is offline or was given a bad key
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"logger={config.logger.name} cannot begin: {reason}",
            hint="logger.online=false keeps the log in the run's folder, logger=csv leaves it out",
        ) from error


def log_scores(loggers: Collection[Any], scores: Mapping[str, float], step: int) -> None:
    """Tell the final scores."""
    for logger in loggers:
        logger.log_metrics(dict(scores), step=step)


def log_pictures(loggers: Collection[Any], folder: Path) -> None:
    """Keep the pictures of a run with those loggers that keep files: MLflow."""
    for logger in loggers:
        if isinstance(logger, pl.loggers.MLFlowLogger):
            logger.experiment.log_artifacts(logger.run_id, str(folder), folder.name)


def git_commit() -> str | None:
    """The commit that the working directory's repository is at; None: it is in none."""
    import subprocess

    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _plain(config: RunConfig) -> dict[str, Any]:
    values = OmegaConf.to_container(OmegaConf.structured(config), resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _tensorboard(config: RunConfig, online: bool) -> Any:
    return pl.loggers.TensorBoardLogger(config.output, name="tensorboard", version="")


def _mlflow(config: RunConfig, online: bool) -> Any:
    beside = Path(config.output).absolute().parent
    commit = git_commit()
    uri = config.logger.tracking_uri or f"sqlite:///{(beside / 'mlflow.db').as_posix()}"
    return pl.loggers.MLFlowLogger(
        experiment_name=config.logger.project,
        run_name=config.name,
        tracking_uri=uri,
        tags={"mlflow.source.git.commit": commit} if commit else None,
        artifact_location=None if config.logger.tracking_uri else str(beside / "mlartifacts"),
    )


def _wandb(config: RunConfig, online: bool) -> Any:
    return pl.loggers.WandbLogger(
        name=config.name,
        project=config.logger.project,
        save_dir=config.output,
        offline=not online,
        settings={"silent": True},
    )


def _comet(config: RunConfig, online: bool) -> Any:
    import comet_ml

    class Comet(pl.loggers.CometLogger):
        """Lightning's own disables an offline experiment, which then writes nothing."""

        def _create_experiment(self) -> None:
            self._comet_config = comet_ml.ExperimentConfig(**self._kwargs)
            super()._create_experiment()

    return Comet(
        project=config.logger.project,
        name=config.name,
        online=online,
        offline_directory=str(Path(config.output) / "comet"),
    )


_MAKERS: dict[str, Callable[[RunConfig, bool], Any]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
    "comet": _comet,
}
