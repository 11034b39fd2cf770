"""Training of a segmentation network: chips to a run's folder and a model folder."""

from __future__ import annotations

import csv
import hashlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geotiler import __version__
from geotiler.errors import SpecError
from geotiler.models.bundle import load_network, write_bundle
from geotiler.models.card import ClassInfo, Metric, ModelCard
from geotiler.models.registry import find_model
from geotiler.progress import Notice, Reporter
from geotiler.reports import Report
from geotiler.specs import Scale
from geotiler.training.beginning import check_norm_eval, refuse, take_over
from geotiler.training.chips import open_folder, read_split, shared_names
from geotiler.training.config import Config, model_name

if TYPE_CHECKING:
    from geotiler.training.data import ChipData
    from geotiler.training.fit import FitResult
    from geotiler.training.scores import SplitScores
    from geotiler.training.segmentation import Segmentation

_BACKGROUND = ClassInfo(id=0, name="background", color="#000000")
_COLOURS = (
    "#e4572e", "#4c72b0", "#55a868", "#c4a000", "#8172b3", "#64b5cd", "#8c564b", "#e377c2",
    "#7f7f7f", "#bcbd22",
)  # fmt: skip
_SPLITS = {"val": "validation split", "test": "test split, never trained on"}
_SAMPLES = 8


@dataclass(frozen=True, kw_only=True)
class SplitResult:
    """Scores of the finished network on one split, pooled over labelled pixels.

    Where there are several classes, the mean over them.
    """

    chips: int
    loss: float
    iou: float | None
    f1: float | None
    precision: float | None
    recall: float | None


@dataclass(frozen=True, kw_only=True)
class TrainReport(Report):
    """What a training run left behind."""

    output: Path
    """The run's folder: configuration, checkpoints, metrics.csv, scores.csv, plots/ and model/."""
    model: Path
    """The model folder."""
    steps: int
    """Optimiser steps that the model has seen."""
    val_iou: float
    """IoU on the validation split."""
    splits: Mapping[str, SplitResult]
    """Split → scores of the model."""
    seconds: float


def train_segmentation(config: Config, keys: Collection[str], report: Reporter) -> TrainReport:
    """Train, score validation and test split, and write the run's folder; `check` comes before.

    Raises: as `geotiler.tasks.train.train`.
    """
    from geotiler.training import loggers
    from geotiler.training.data import ChipData
    from geotiler.training.fit import Monitor, fit, prepare, run_folder
    from geotiler.training.segmentation import Segmentation

    started = time.perf_counter()
    config.model.name = config.model.name or model_name(config)
    loggers.check_logger(config)
    network = _start(config)
    classes = _classes(config)
    _card(config, classes, {}, 0)  # what it would refuse after hours is refused now
    prepare(config)
    if shared := shared_names(Path(config.data.root)):
        report(Notice(message=shared, warning=True))
    report(Notice(message=f"building {config.model.architecture} for {_shown(classes)}"))
    names = [info.name for info in (_BACKGROUND, *classes)]
    module = Segmentation(config, names, _fitted(network, config, len(names)))
    data = ChipData(config, report)
    data.setup("fit")
    folder = Path(config.output)
    with run_folder(folder), loggers.opened(config, keys) as told:
        monitor = Monitor(name="val_iou", label="validation IoU")
        result = fit(config, module, data, monitor, report, told)
        report(Notice(message=f"scoring the weights of step {result.steps}"))
        splits = _scored(module, data, config)
        loggers.log_scores(told, _flat(splits), result.steps)
        card = _card(config, classes, splits, result.steps)
        write_bundle(folder / "model", card, result.network, overwrite=True)  # the run's own folder
        _write_results(folder, result, splits, module, data)
        loggers.log_pictures(told, folder / "plots")
    report(Notice(message=f"model folder {folder / 'model'}"))
    return TrainReport(
        output=folder,
        model=folder / "model",
        steps=result.steps,
        val_iou=splits["val"].iou or 0.0,
        splits={split: _result(scores) for split, scores in splits.items()},
        seconds=round(time.perf_counter() - started, 3),
    )


def check(config: Config) -> None:
    """Refuse what would stop a run later, with worse words.

    Raises:
        SpecError: a setting that no run can have.
        InputError: there is no data set.
    """
    train, share, zoom = config.train, config.data.rendered.share, config.transforms.scale
    objects, stride = config.transforms.objects, config.model.stride_of_network
    refuse((
        (0 < config.model.gsd_m <= 100, "model.gsd_m must be positive metres", config.model.gsd_m),
        (train.batch >= 1, "train.batch must be at least 1", train.batch),
        (train.batch >= 2 or not config.model.architecture.startswith("DeepLab"),
         "train.batch must be at least 2 for DeepLab, which normalises one pixel per image",
         train.batch),
        (train.crop_px >= 32 and train.crop_px % stride == 0,
         f"train.crop_px must be a multiple of {stride}", train.crop_px),
        (train.workers >= 0, "train.workers must not be negative", train.workers),
        (train.optimizer.lr > 0, "train.optimizer.lr must be positive", train.optimizer.lr),
        (len(zoom) == 2 and 0 < zoom[0] <= zoom[1],
         "transforms.scale must be two zooms, the smaller one first", zoom),
        (0 <= share <= 1, "data.rendered.share must lie in 0 to 1", share),
        (0 <= objects.share <= 1, "transforms.objects.share must lie in 0 to 1", objects.share),
        (objects.most >= 1, "transforms.objects.most must be at least 1", objects.most),
        (len(objects.scale) == 2 and 0 < objects.scale[0] <= objects.scale[1],
         "transforms.objects.scale must be two sizes, the smaller one first", objects.scale),
    ), example_lr="5e-4")  # fmt: skip
    check_norm_eval(train, has_start=bool(config.init))
    for split in ("train", "val"):
        read_split(Path(config.data.root), split)


def _start(config: Config) -> Any:
    """The network of `init`, or None; its card tells what the configuration has to keep."""
    if not config.init:
        return None
    bundle = find_model(config.init)
    _take_from_card(config, bundle.card)
    return load_network(bundle)


def _take_from_card(config: Config, card: ModelCard) -> None:
    """Raises: SpecError: the model does something else."""
    if card.task != "segmentation":
        raise SpecError(
            f"init={config.init} is no segmentation model",
            hint="geotiler models list shows what each does",
        )
    take_over(config.model, card, head="classes", own=_training_data(config))
    config.model.stride_of_network = card.stride_of_network


def _fitted(network: Any, config: Config, classes: int) -> Any:
    """The network with an answer for every class; None stays None."""
    from geotiler.training.segmentation import channels_of, with_other_head

    if network is None:
        return None
    return with_other_head(network, config.model, channels_of(range(classes)))


def _classes(config: Config) -> tuple[ClassInfo, ...]:
    """What is told apart from the background: the data set's classes, or the configured one.

    Raises:
        InputError: its description is damaged.
        SpecError: rendered scenes are asked for, which show buildings only.
    """
    names = list(open_folder(config.data).classes.values())
    if len(names) == 1:
        return (ClassInfo(id=1, name=config.model.class_name, color=config.model.colour),)
    if config.data.rendered.share > 0:
        raise SpecError(
            f"{config.data.root} has the classes {', '.join(map(str, names))}, rendered scenes "
            "have buildings only",
            hint="data.rendered.share=0 leaves them out, data.object_value=1 takes one class",
        )
    return tuple(
        ClassInfo(id=index, name=str(name), color=_COLOURS[(index - 1) % len(_COLOURS)])
        for index, name in enumerate(names, start=1)
    )


def _shown(classes: Sequence[ClassInfo]) -> str:
    names = [info.name for info in classes]
    return names[0] if len(names) == 1 else f"{len(names)} classes: {', '.join(names)}"


def _card(
    config: Config,
    classes: Sequence[ClassInfo],
    splits: Mapping[str, SplitScores],
    steps: int,
) -> ModelCard:
    model = config.model
    several = len(classes) > 1
    arguments = {**model.arguments, "encoder_weights": None}
    if several:
        arguments["classes"] = len(classes) + 1
    return ModelCard(
        name=str(model.name),
        version=model.version,
        task="segmentation",
        description=model.description,
        library=model.library,
        architecture=model.architecture,
        arguments=arguments,
        bands=("red", "green", "blue"),
        scale=Scale(minimum=0.0, maximum=255.0),
        mean=tuple(model.mean),
        std=tuple(model.std),
        gsd_m=model.gsd_m,
        tile_px=model.tile_px,
        overlap_px=model.overlap_px,
        stride_of_network=model.stride_of_network,
        classes=(_BACKGROUND, *classes) if several else tuple(classes),
        activation="softmax" if several else "sigmoid",
        threshold=model.threshold,
        metrics=_metrics(config, splits, steps),
        training_data=tuple(model.training_data) or _training_data(config),
        licence=model.licence,
        credits=tuple(model.credits),
        geotiler_version=__version__,
        files={},
    )


def _metrics(config: Config, splits: Mapping[str, SplitScores], steps: int) -> tuple[Metric, ...]:
    how = f"pooled pixels at {config.model.gsd_m:g} m, whole chips, weights of step {steps}"
    found = []
    for split, scores in splits.items():
        data = f"{_SPLITS[split]} of {_told_chips(config, split)}"
        named = {"IoU": scores.iou, "F1": scores.f1}
        if len(scores.class_iou) > 1:
            named |= {f"IoU of {name}": iou for name, iou in scores.class_iou.items()}
        for name, value in named.items():
            if value is not None:
                found.append(Metric(name=name, value=round(value, 4), data=data, how=how))
    return tuple(found)


def _training_data(config: Config) -> tuple[str, ...]:
    """What a run learned from, as far as its configuration tells."""
    rendered = config.data.rendered
    found = [f"Chips of the folder {_told_chips(config, 'train')}"]
    if rendered.share > 0:
        last = rendered.first_seed + rendered.chips - 1
        found.append(
            f"Scenes rendered by geotiler from seeds {rendered.first_seed} to {last} (synthetic), "
            f"{rendered.share:.0%} of the training crops"
        )
    return tuple(found)


def _told_chips(config: Config, split: str) -> str:
    """Folder, number of chips, and what tells them from those of another folder of that name."""
    root = Path(config.data.root).absolute()
    names = read_split(root, split)[: config.data.limit]
    # Names alone are alike in many data sets; sizes of masks hardly ever are.
    masks = root / "masks"
    sizes = {path.stem: path.stat().st_size for path in masks.iterdir()} if masks.is_dir() else {}
    told = [f"{name} {sizes.get(name, 0)}" for name in sorted(names)]
    digest = hashlib.sha256("\n".join(told).encode()).hexdigest()[:8]
    return f"{root.name}: {len(names)} chips, {digest}"


def _scored(module: Segmentation, data: ChipData, config: Config) -> dict[str, SplitScores]:
    """Scores on validation and, where there is one, test split."""
    from geotiler.training.scores import score_split

    found = {}
    for split in _SPLITS:
        chips = data.whole(split)
        if chips is not None:
            found[split] = score_split(module, chips, config.train)
    return found


def _result(scores: SplitScores) -> SplitResult:
    return SplitResult(**{item.name: getattr(scores, item.name) for item in fields(SplitResult)})


def _flat(splits: Mapping[str, SplitScores]) -> dict[str, float]:
    """The scores as loggers take them; those of metrics.csv keep their names to themselves."""
    return {
        f"final_{split}_{name}": value
        for split, scores in splits.items()
        for name, value in asdict(_result(scores)).items()
        if value is not None and name != "chips"
    }


def _write_results(
    folder: Path,
    result: FitResult,
    splits: Mapping[str, SplitScores],
    module: Segmentation,
    data: ChipData,
) -> None:
    """Write scores.csv and plots/. Raises: OSError: they cannot be written."""
    from geotiler.training import plots
    from geotiler.training.scores import samples_of
    from geotiler.training.whole_files import replaced

    with (
        replaced(folder / "scores.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["split", *(item.name for item in fields(SplitResult))])
        for split, scores in splits.items():
            writer.writerow([split, *asdict(_result(scores)).values()])
    pictures = folder / "plots"
    pictures.mkdir(exist_ok=True)
    losses = {"train_loss": "training", "val_loss": "validation"}
    plots.plot_curve(pictures / "loss.png", result.curve, losses, "loss")
    ious = {"val_iou": "mean" if len(module.classes) > 2 else module.classes[1]}
    ious |= {f"val_iou_{name}": name for name in module.classes[1:]}
    plots.plot_curve(pictures / "iou.png", result.curve, ious, "IoU, validation")
    plots.plot_precision_recall(pictures / "precision_recall.png", splits)
    chips = data.whole("val")
    if chips is not None:
        plots.plot_samples(pictures / "samples.png", samples_of(module, chips, _SAMPLES))
