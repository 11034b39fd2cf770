"""`geotiler train landuse`: labelled tiles to a model folder that classifies."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from geotiler import __version__
from geotiler.errors import SpecError
from geotiler.models.bundle import load_network, write_bundle
from geotiler.models.card import ClassInfo, Metric, ModelCard, Stretch
from geotiler.models.registry import find_model
from geotiler.progress import Notice, Reporter
from geotiler.reports import Report
from geotiler.specs import Scale
from geotiler.training import loggers
from geotiler.training.beginning import check_norm_eval, refuse, take_over
from geotiler.training.class_splits import write_split
from geotiler.training.classification import Classification, Scores, head_arguments, score
from geotiler.training.classification_config import ClassifierRunConfig
from geotiler.training.classification_data import ClassTileData
from geotiler.training.classification_plots import plot_run
from geotiler.training.config import model_name
from geotiler.training.eurosat import COUNTS, place_eurosat
from geotiler.training.fit import Monitor, fit, prepare, run_folder

_PLACES = 4
"""Decimals of scores in cards: a test list of thousands of tiles tells no more."""


@dataclass(frozen=True, kw_only=True)
class ClassifierReport(Report):
    """What a training run of a classifier left behind."""

    model: Path
    """The model folder."""
    steps: int
    tiles: Mapping[str, int]
    """Part of the split → number of tiles."""
    val_accuracy: float
    test_accuracy: float
    test_macro_f1: float
    test_recall: Mapping[str, float]
    """Class → fraction of its test tiles that were found."""
    seconds: float


def train_classifier(
    config: ClassifierRunConfig, keys: Collection[str], report: Reporter
) -> ClassifierReport:
    """Train a classifier and write its model folder to `<output>/model`.

    The checkpoint is chosen on the validation tiles; the test tiles are scored once, at the end.

    Raises:
        SpecError: a number that no run can have.
        InputError: no tiles where the configuration says, or lists of other tiles.
        ModelError: weights or `init` do not fit, or no model can be what `model` says.
    """
    started = time.perf_counter()
    config.model.name = config.model.name or model_name(config)
    if config.train.lr is not None:
        config.train.optimizer.lr = config.train.lr
    if config.weights is not None:
        config.model.weights = config.weights
    _check(config)
    loggers.check_logger(config)
    network = None
    if config.init:
        bundle = find_model(config.init)
        network = load_network(bundle)
        _take_from_card(config, bundle.card)
    _card(config, (), {})  # what it would refuse after hours is refused now
    _fetch_if_absent(config, report)
    data = ClassTileData(config)
    prepare(config)
    module = Classification(config, network)
    folder = Path(config.output)
    with run_folder(folder), loggers.opened(config, keys) as told:
        write_split(data.parts, folder / "split", config.data.split)
        monitor = Monitor(name="val_accuracy", label="validation accuracy")
        result = fit(config, module, data, monitor, report, told)
        found = {part: score(module, data, part) for part in ("test", "val")}
        accuracies = {f"final_{part}_accuracy": scores.accuracy for part, scores in found.items()}
        loggers.log_scores(told, accuracies, result.steps)
        classes = sorted(config.model.classes)
        title = f"test part of the {config.data.split} split"
        plot_run(folder / "plots", result.curve, found["test"].confusion, classes, title)
        loggers.log_pictures(told, folder / "plots")
        card = _card(config, _metrics(config, found, result.steps), found)
        module.network.eval()
        write_bundle(folder / "model", card, module.network, overwrite=True)  # the run's own folder
    report(Notice(message=f"model folder {folder / 'model'}"))
    return ClassifierReport(
        model=folder / "model",
        steps=result.steps,
        tiles={part: len(names) for part, names in data.parts.items()},
        val_accuracy=found["val"].accuracy,
        test_accuracy=found["test"].accuracy,
        test_macro_f1=found["test"].macro_f1,
        test_recall=dict(zip(classes, found["test"].recall, strict=True)),
        seconds=time.perf_counter() - started,
    )


def _fetch_if_absent(config: ClassifierRunConfig, report: Reporter) -> None:
    """Raises: InputError: EuroSAT is wanted, not there, and cannot be downloaded."""
    root = Path(config.data.root)
    is_eurosat = config.model.classes.keys() == COUNTS.keys()
    if config.data.download and is_eurosat and not root.exists() and not root.suffix:
        report(Notice(message=f"no tiles at {root}: downloading EuroSAT there, 90 MB"))
        place_eurosat(root)


def _card(
    config: ClassifierRunConfig, metrics: Sequence[Metric], found: Mapping[str, Scores]
) -> ModelCard:
    model = config.model
    stretch = model.stretch
    return ModelCard(
        name=str(model.name),
        version=__version__,
        task="classification",
        description=model.description,
        library=model.library,
        architecture=model.architecture,
        arguments=head_arguments(config),
        bands=("red", "green", "blue"),
        scale=Scale(minimum=0.0, maximum=255.0),
        mean=tuple(model.mean),
        std=tuple(model.std),
        gsd_m=model.gsd_m,
        tile_px=model.tile_px,
        overlap_px=model.overlap_px,
        input_px=model.image_size,
        stretch=None if stretch is None else Stretch(
            source=stretch.source,
            source_bands=tuple(stretch.source_bands),
            minimum=stretch.minimum,
            maximum=stretch.maximum,
            low=stretch.low,
            high=stretch.high,
        ),
        classes=tuple(
            ClassInfo(id=index, name=name, color=model.classes[name])
            for index, name in enumerate(sorted(model.classes), start=1)
        ),
        activation="softmax",
        threshold=0.5,
        metrics=tuple(metrics),
        confusion=found["test"].confusion if found else (),
        training_data=tuple(model.training_data) or (_training_data(config),),
        licence=model.licence,
        credits=tuple(model.credits),
        geotiler_version=__version__,
        files={},
    )  # fmt: skip


def _metrics(
    config: ClassifierRunConfig, found: Mapping[str, Scores], steps: int
) -> tuple[Metric, ...]:
    """Test first: the confusion matrix belongs to the first metric."""
    split = f"{config.data.split} split{_limited(config)}"
    how = f"unchanged tiles, torch float32, weights of step {steps}"
    metrics = []
    for part, words in (("test", "never trained on"), ("val", "chose the checkpoint")):
        scores, data = found[part], f"{part} part of the {split}, {words}"
        for name, value in (("accuracy", scores.accuracy), ("macro F1", scores.macro_f1)):
            metrics.append(Metric(name=name, value=round(value, _PLACES), data=data, how=how))
    for name, recall in zip(sorted(config.model.classes), found["test"].recall, strict=True):
        data = f"test part of the {split}"
        metrics.append(
            Metric(name=f"recall of {name}", value=round(recall, _PLACES), data=data, how=how)
        )
    return tuple(metrics)


def _training_data(config: ClassifierRunConfig) -> str:
    """What a run learned from, as far as its configuration tells."""
    data = config.data
    return f"Train part of the {data.split} split of {Path(data.root).name}{_limited(config)}"


def _limited(config: ClassifierRunConfig) -> str:
    """Words for a trial: its scores are of other tiles than those of a whole part."""
    limit = config.data.limit
    return "" if limit is None else f", {limit} tiles of each class"


def _check(config: ClassifierRunConfig) -> None:
    """Raises: SpecError: a setting that would stop the run later, with worse words."""
    train, model, looks = config.train, config.model, config.transforms
    refuse((
        (train.batch >= 2, "train.batch must be at least 2", train.batch),
        (0 <= train.label_smoothing < 1, "train.label_smoothing must lie in 0 to 1",
         train.label_smoothing),
        (train.mixup >= 0, "train.mixup must not be negative", train.mixup),
        (0 < looks.crop_scale <= 1, "transforms.crop_scale must lie in 0 to 1", looks.crop_scale),
        (len(model.classes) >= 2, "model.classes must name at least two classes",
         len(model.classes)),
        (model.image_size >= model.tile_px,
         "model.image_size must be at least model.tile_px", model.image_size),
        (config.data.limit is None or config.data.limit >= 1,
         "data.limit must be at least 1", config.data.limit),
    ), example_lr="1e-3")  # fmt: skip
    check_norm_eval(train, has_start=bool(config.init or config.weights or model.weights))


def _take_from_card(config: ClassifierRunConfig, card: ModelCard) -> None:
    """Raises: SpecError: the model does something else, or tells other classes apart."""
    names = [info.name for info in card.classes]
    if card.task != "classification" or names != sorted(config.model.classes):
        raise SpecError(
            f"init={config.init} is no classifier of the {len(config.model.classes)} classes "
            "of this task",
            hint="geotiler models list shows what each does",
        )
    take_over(config.model, card, head="num_classes", own=[_training_data(config)])
    config.model.image_size = card.input_px or card.tile_px
    config.model.tile_px = card.tile_px
