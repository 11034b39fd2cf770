"""`geotiler train`: a task's configuration to a run's folder with a model in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from geotiler.errors import OutputError, SpecError
from geotiler.io.work_folder import held
from geotiler.models.registry import find_model
from geotiler.progress import Notice, Reporter, silent
from geotiler.reports import Report
from geotiler.training.classification_config import ClassifierRunConfig
from geotiler.training.compose import SHORT, begins_short, compose
from geotiler.training.config import Config
from geotiler.training.resumption import check_folder, resumed

_NETWORK = ("model", "model.library", "model.architecture", "model.encoder")
"""Overrides that say which network is built."""

LOADING = Notice(message="loading torch and lightning")
"""Said at once: it takes seconds, and many on a busy machine."""


def train(
    task: str = "buildings",
    overrides: Sequence[str] = (),
    *,
    keys: Collection[str] = (),
    report: Reporter = silent,
) -> Report:
    """Train a task and leave its run in `output`, with the model folder `output/model`.

    Args:
        task: name of a configuration in configs/.
        overrides: Hydra overrides such as `train.optimizer.lr=5e-4`.
        keys: logging services whose key the environment holds; others log into the run's folder.
        report: hears steps and scores.

    Returns:
        A `TrainReport`, or a `ClassifierReport` for a task that classifies whole tiles.

    Raises:
        SpecError: unknown task, wrong override, a number that no run can have.
        InputError: no data where the configuration says.
        OutputError: the output folder holds another run, or cannot be written; a logger cannot
            go on.
        ModelError: encoder weights or `init` do not fit, no model can be what `model` says, or the
            loss became no number.
        DeviceError: no such accelerator, or its memory is too small.
        MissingExtraError: the logger's package is not installed.
    """
    config = compose(task, overrides)
    _check_name(config)
    check_folder(config)
    if config.resume:
        config = resumed(config, task, overrides)
    _check_network(config, overrides)
    if isinstance(config, ClassifierRunConfig):
        report(LOADING)
        from geotiler.tasks.train_classifier import train_classifier

        with _alone(Path(config.output)):
            return train_classifier(config, keys, report)
    from geotiler.tasks.train_segmentation import check, train_segmentation

    if begins_short(task, overrides):
        message = f"init= is given: train={SHORT}, {config.train.steps} steps at most"
        report(Notice(message=f"{message} (train={task} takes the long run)"))
    check(config)  # needs no library that takes seconds to load
    report(LOADING)
    with _alone(Path(config.output)):
        return train_segmentation(config, keys, report)


def _check_name(config: Config | ClassifierRunConfig) -> None:
    """Raises: SpecError: a name that is a way out of the folder of runs."""
    name = Path(config.name)
    if name.is_absolute() or ".." in name.parts:
        raise SpecError(
            f"name={config.name} leads out of outputs/", hint="output=FOLDER names another place"
        )


def _check_network(config: Config | ClassifierRunConfig, overrides: Sequence[str]) -> None:
    """Raises: SpecError: finished weights to begin from, and another network to put them into."""
    said = [text for text in overrides if text.lstrip("+").partition("=")[0] in _NETWORK]
    if not config.init or not said:
        return
    card, model = find_model(config.init).card, config.model
    if card.task != (
        "classification" if isinstance(config, ClassifierRunConfig) else "segmentation"
    ):
        return  # as is told with better words
    name = "encoder_name"
    same = (card.library, card.architecture) == (model.library, model.architecture)
    if not same or card.arguments.get(name) != model.arguments.get(name):
        raise SpecError(
            f"init={config.init} brings its own network, {said[0]} names another",
            hint="leave one of the two out",
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other run writes the folder while the block lasts.

    Raises:
        OutputError: another run does, or it cannot be made.
    """
    folder = folder.absolute()
    made = [path for path in folder.parents if not path.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written: {error.strerror or error}",
            hint="output=FOLDER names another place",
        ) from error
    try:
        with held(folder):
            yield
    finally:
        for path in made:
            with suppress(OSError):  # the run, or a logger's store, is in it
                path.rmdir()
