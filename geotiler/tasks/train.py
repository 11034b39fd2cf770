"""`geotiler train`: chips to a model folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geotiler import __version__
from geotiler.errors import SpecError
from geotiler.models.bundle import load_network, write_bundle
from geotiler.models.card import ClassInfo, Metric, ModelCard
from geotiler.models.registry import find_model
from geotiler.progress import Notice, Reporter, silent
from geotiler.reports import Report
from geotiler.specs import Scale
from geotiler.training.config import Config, compose


@dataclass(frozen=True, kw_only=True)
class TrainReport(Report):
    """What a training run left behind."""

    model: Path
    """The model folder."""
    steps: int
    val_iou: float
    seconds: float


def _card(config: Config, val_iou: float, steps: int) -> ModelCard:
    model = config.model
    return ModelCard(
        name=model.name,
        version=__version__,
        task="segmentation",
        description=model.description,
        library=model.library,
        architecture=model.architecture,
        arguments={**model.arguments, "encoder_weights": None},
        bands=("red", "green", "blue"),
        scale=Scale(minimum=0.0, maximum=255.0),
        mean=tuple(model.mean),
        std=tuple(model.std),
        gsd_m=model.gsd_m,
        tile_px=model.tile_px,
        overlap_px=model.overlap_px,
        classes=(ClassInfo(id=1, name=model.class_name, color=model.colour),),
        activation="sigmoid",
        threshold=model.threshold,
        metrics=(
            Metric(
                name="IoU",
                value=round(val_iou, 4),
                data="validation split of the training data",
                how=f"pooled pixels at {model.gsd_m:g} m, during training, step {steps}",
            ),
        ),
        training_data=tuple(model.training_data) or _training_data(config),
        licence=model.licence,
        credits=tuple(model.credits),
        geotiler_version=__version__,
        files={},
    )


def _check(config: Config) -> None:
    """Raises: SpecError: a setting that would stop the run later, with worse words."""
    train, share, zoom = config.train, config.data.rendered.share, config.augment.scale
    precisions = ("auto", "32-true", "bf16-mixed", "16-mixed")
    for holds, what, got in (
        (0 < config.model.gsd_m <= 100, "model.gsd_m must be positive metres", config.model.gsd_m),
        (train.batch >= 1, "train.batch must be at least 1", train.batch),
        (train.steps_per_epoch >= 1, "train.steps_per_epoch must be at least 1",
         train.steps_per_epoch),
        (train.steps >= train.steps_per_epoch,
         "train.steps must be at least train.steps_per_epoch: an epoch ends with a score",
         train.steps),
        (train.crop_px >= 32 and train.crop_px % 32 == 0,
         "train.crop_px must be a multiple of 32", train.crop_px),
        (train.precision in precisions, f"train.precision must be one of {', '.join(precisions)}",
         train.precision),
        (len(zoom) == 2 and 0 < zoom[0] <= zoom[1],
         "augment.scale must be two zooms, the smaller one first", zoom),
        (0 <= share <= 1, "data.rendered.share must lie in 0 to 1", share),
    ):  # fmt: skip
        if not holds:
            raise SpecError(f"{what}, got {got}", hint="overrides look like train.lr=1e-3")


def _training_data(config: Config) -> tuple[str, ...]:
    """What a run learned from, as far as its configuration tells."""
    rendered = config.data.rendered
    found = [f"Chips of the folder {Path(config.data.root).name}"]
    if rendered.share > 0:
        last = rendered.first_seed + rendered.chips - 1
        found.append(
            f"Scenes rendered by geotiler from seeds {rendered.first_seed} to {last} (synthetic), "
            f"{rendered.share:.0%} of the training crops"
        )
    return tuple(found)


def _take_from_card(config: Config, card: ModelCard) -> None:
    """What the weights were made with goes on: another normalisation would undo them.

    Raises:
        SpecError: the model does something else.
    """
    if card.task != "segmentation" or card.activation != "sigmoid":
        raise SpecError(
            f"init={config.init} is no one-class segmentation model",
            hint="geotiler models list shows what each does",
        )
    model = config.model
    model.library, model.architecture = card.library, card.architecture
    model.arguments = dict(card.arguments)
    model.mean, model.std = list(card.mean), list(card.std)
    own = model.training_data or _training_data(config)
    model.training_data = [*card.training_data, *own]
    model.credits = list(dict.fromkeys([*card.credits, *model.credits]))


def train(
    task: str = "buildings", overrides: Sequence[str] = (), *, report: Reporter = silent
) -> TrainReport:
    """Train a task and write its model folder to `<output>/model`.

    Args:
        task: name of a configuration in configs/.
        overrides: Hydra overrides such as `train.lr=1e-3`.
        report: hears steps and scores.

    Raises:
        SpecError: unknown task, wrong override, a number that no run can have.
        InputError: no data where the configuration says.
        ModelError: encoder weights or `init` do not fit, or no model can be what `model` says.
    """
    from geotiler.training.data import ChipData
    from geotiler.training.fit import Monitor, fit, prepare
    from geotiler.training.segmentation import Segmentation

    started = time.perf_counter()
    config = compose(task, list(overrides))
    _check(config)
    network = None
    if config.init:
        bundle = find_model(config.init)
        network = load_network(bundle)
        _take_from_card(config, bundle.card)
    _card(config, 0.0, 0)  # what it would refuse after hours is refused now
    prepare(config)
    module, data = Segmentation(config, network), ChipData(config)
    monitor = Monitor(name="val_iou", label="validation IoU")
    result = fit(config, module, data, monitor, report)
    folder = Path(config.output) / "model"
    card = _card(config, result.score, result.steps)
    write_bundle(folder, card, result.network, overwrite=True)  # the run's own folder
    report(Notice(message=f"model folder {folder}"))
    return TrainReport(
        model=folder,
        steps=result.steps,
        val_iou=result.score,
        seconds=time.perf_counter() - started,
    )
