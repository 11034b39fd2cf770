"""The settings of a training run, typed; Hydra fills them from configs/ and the command line."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from geotiler.errors import SpecError
from geotiler.resources import configs_dir
from geotiler.training.classification_config import ClassifierRunConfig


@dataclass
class RenderedConfig:
    """Rendered scenes mixed into the training data."""

    share: float = 0.0
    """Fraction of training crops that come from rendered scenes, 0..1."""
    chips: int = 64
    """How many chips are rendered before training."""
    chip_px: int = 448
    """Height and width of a rendered chip."""
    gsd_m: list[float] = field(default_factory=lambda: [0.4, 0.5, 0.6])
    """Ground sample distances to render at."""
    first_seed: int = 1000
    """Seeds count up from here; the demo's seed 7 is never used in training."""


@dataclass
class PlainConfig:
    """What is taken for granted of folders that have no dataset.json."""

    gsd_m: float | None = None
    """Ground sample distance of the chips, metres per pixel."""
    object_value: int = 255
    """Mask value of the class; 0 is background."""


@dataclass
class DataConfig:
    """Where the chips are and how they are read.

    `geotiler tile` leaves a dataset.json that tells what is null here.
    """

    root: str = MISSING
    """Folder with images/, masks/ and split lists train.txt, val.txt (names without suffix)."""
    gsd_m: float | None = None
    """Ground sample distance of the chips, metres per pixel; null: as dataset.json says, else
    `plain.gsd_m`."""
    object_value: int | None = None
    """Mask value of the class, 0 is background; null: 1 where dataset.json is, else
    `plain.object_value`."""
    ignore_value: int | None = None
    """Mask value that is left out of loss and scores; dataset.json has its own, 255."""
    border_nodata: bool = True
    """Treat black bands along the border as nodata; chips of `geotiler tile` say it exactly."""
    limit: int | None = None
    """Read only so many chips of each split (for trials and tests)."""
    plain: PlainConfig = field(default_factory=PlainConfig)
    rendered: RenderedConfig = field(default_factory=RenderedConfig)


@dataclass
class AugmentConfig:
    """What is varied between two looks at the same chip."""

    scale: list[float] = field(default_factory=lambda: [0.75, 1.33])
    """Range of the random zoom, log-uniform."""
    rotate: float = 0.5
    """Probability of a free rotation; otherwise a multiple of 90 degrees."""
    brightness: float = 0.25
    contrast: float = 0.25
    saturation: float = 0.3
    hue: float = 0.03
    noise: float = 6.0
    """Largest standard deviation of added noise, in 8-bit steps."""
    blur: float = 0.2
    """Probability of a slight blur."""
    haze: float = 0.0
    """Probability of a veil of light that takes 5 to 45 % of the contrast."""
    gamma: float = 0.0
    """Probability of another gamma and another balance of the bands."""
    coarse: float = 0.0
    """Probability that the crop was taken by a coarser sensor."""
    coarse_factor: float = 3.0
    """How many times coarser at most."""
    jpeg: float = 0.0
    """Probability of JPEG compression, quality 25 to 90."""


@dataclass
class ModelConfig:
    """Network and how its input is prepared."""

    name: str = MISSING
    """Name of the model folder that is written."""
    library: str = "smp"
    architecture: str = "Unet"
    arguments: dict[str, Any] = field(default_factory=dict)
    encoder_weights: str | None = None
    """Path of encoder weights (.safetensors), "imagenet" (downloads), or null."""
    mean: list[float] = field(default_factory=lambda: [0.485, 0.456, 0.406])
    std: list[float] = field(default_factory=lambda: [0.229, 0.224, 0.225])
    gsd_m: float = 0.5
    tile_px: int = 512
    overlap_px: int = 128
    threshold: float = 0.5
    class_name: str = "building"
    colour: str = "#e4572e"
    description: str = ""
    licence: str = "Apache-2.0"
    training_data: list[str] = field(default_factory=list)
    credits: list[str] = field(default_factory=list)


@dataclass
class TrainConfig:
    """Optimisation."""

    steps: int = 4000
    """Optimiser steps of the whole run."""
    batch: int = 16
    crop_px: int = 256
    lr: float = 1.5e-3
    """Peak learning rate of decoder and head (AdamW)."""
    encoder_lr_factor: float = 0.4
    """Learning rate of the encoder over that of the decoder."""
    weight_decay: float = 1e-3
    warmup_steps: int = 100
    decay_steps: int = 1200
    """The rate is constant, then falls to zero over the last so many steps (as a cosine)."""
    select: str = "best"
    """Which weights become the model: "best" on the validation chips, or the "last" ones."""
    ema_decay: float = 0.995
    """Weights are averaged exponentially; scores and the released weights use the average."""
    steps_per_epoch: int = 200
    precision: str = "auto"
    """Lightning precision; auto is bf16-mixed where the CPU or GPU has it, else 32-true."""
    seed: int = 1
    threads: int | None = None
    """Threads of the optimiser; null leaves torch's default."""
    workers: int = 1
    """Processes that prepare crops."""


@dataclass
class Config:
    """One training run."""

    task: str = MISSING
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    init: str | None = None
    """Model folder to start from."""
    output: str = MISSING
    """Folder of the run: checkpoints, curves, and the model folder."""
    resume: bool = False
    """Go on from the output folder's last checkpoint."""


_SCHEMAS: dict[str, type] = {"schema": Config, "classifier_schema": ClassifierRunConfig}
"""What a task's file may name first in its defaults."""


def compose(task: str, overrides: list[str]) -> Config | ClassifierRunConfig:
    """The configuration of a task with the command line's overrides applied.

    Which of the two schemas it has is said by the `defaults` of the task's file.

    Raises:
        SpecError: no such task, or an override that Hydra refuses.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    folder = configs_dir()
    tasks = sorted(path.stem for path in Path(folder).glob("*.yaml"))
    if task not in tasks:
        raise SpecError(f"no training task {task!r}", hint=f"tasks: {', '.join(tasks)}")
    for name, node in _SCHEMAS.items():
        ConfigStore.instance().store(name=name, node=node)
    try:
        with initialize_config_dir(config_dir=str(folder), version_base="1.3"):
            composed = hydra_compose(config_name=task, overrides=overrides)
            OmegaConf.resolve(composed)
            config = OmegaConf.to_object(composed)
    except (HydraException, OmegaConfBaseException) as fault:
        first_line = str(fault).strip().splitlines()[0]
        raise SpecError(
            f"configuration of {task!r}: {first_line}", hint=_hint(folder, task, overrides)
        ) from fault
    assert isinstance(config, Config | ClassifierRunConfig)
    return config


def _hint(folder: Path, task: str, overrides: list[str]) -> str:
    """What may mend a refused override: where a model was chosen, those that fit the task."""
    from omegaconf import OmegaConf

    if not any(text.startswith("model=") for text in overrides):
        return "overrides look like train.lr=1e-3"
    defaults = OmegaConf.to_container(OmegaConf.load(folder / f"{task}.yaml"))["defaults"]  # type: ignore[index,call-overload]
    schema = next(_SCHEMAS[name] for name in defaults if name in list(_SCHEMAS))
    (model,) = (item.default_factory for item in fields(schema) if item.name == "model")
    known = {item.name for item in fields(model)}  # type: ignore[arg-type]
    # The task says the name; whatever else has no default is the model's to say.
    wanted = {item.name for item in fields(model) if item.default == MISSING} - {"name"}  # type: ignore[arg-type]
    files = sorted((folder / "model").glob("*.yaml"))
    fitting = [path.stem for path in files if wanted <= OmegaConf.load(path).keys() <= known]
    return f"models of {task}: {', '.join(fitting)}"
