"""The settings of a training run, typed; `compose` fills them from configs/ and overrides."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING


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
    """Mask value that is left out of loss and scores; null: as dataset.json says, else none."""
    border_nodata: bool = True
    """Treat black bands along the border as nodata; chips of `geotiler tile` say it exactly."""
    limit: int | None = None
    """Read only so many chips of each split (for trials and tests)."""
    skip_bad: bool = False
    """Leave out, and count, chips that are missing, unreadable, or whose mask has another size."""
    plain: PlainConfig = field(default_factory=PlainConfig)
    rendered: RenderedConfig = field(default_factory=RenderedConfig)


@dataclass
class ObjectsConfig:
    """Buildings of other chips pasted into a crop."""

    share: float = 0.0
    """Probability that a crop gets any."""
    most: int = 6
    """How many it gets at most."""
    scale: list[float] = field(default_factory=lambda: [0.8, 1.25])
    """Range of the random size, log-uniform."""
    shadow_m: float = 6.0
    """How far a building's shadow is looked for, in metres on the ground."""


@dataclass
class TransformsConfig:
    """What is varied between two looks at the same chip."""

    scale: list[float] = field(default_factory=lambda: [1.0, 1.0])
    """Range of the random zoom, log-uniform."""
    turns: bool = False
    """Quarter turns and mirror images."""
    rotate: float = 0.0
    """Probability of a free rotation."""
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    noise: float = 0.0
    """Largest standard deviation of added noise, in 8-bit steps."""
    blur: float = 0.0
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
    objects: ObjectsConfig = field(default_factory=ObjectsConfig)


@dataclass
class ModelConfig:
    """Network and how its input is prepared."""

    name: str | None = None
    """Name in the card; null: the run's name."""
    version: str = "1"
    library: str = "smp"
    architecture: str = "Unet"
    encoder: str = "mobilenet_v2"
    """Name of an encoder of segmentation-models-pytorch; the groups pass it on."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the architecture."""
    encoder_weights: str | None = None
    """Path of encoder weights (.safetensors), "imagenet" (downloads), or null."""
    mean: list[float] = field(default_factory=lambda: [0.485, 0.456, 0.406])
    std: list[float] = field(default_factory=lambda: [0.229, 0.224, 0.225])
    gsd_m: float = 0.5
    tile_px: int = 512
    overlap_px: int = 128
    stride_of_network: int = 32
    """Heights and widths that the network takes are multiples of this."""
    threshold: float = 0.5
    class_name: str = "building"
    """Of the class, where there is one; several have the names of their data set."""
    colour: str = "#e4572e"
    description: str = ""
    licence: str = "Apache-2.0"
    training_data: list[str] = field(default_factory=list)
    credits: list[str] = field(default_factory=list)


@dataclass
class LossConfig:
    """Weights of the terms whose sum is minimised; 0 leaves a term out.

    With several classes `bce` is the cross entropy of the softmax.
    """

    bce: float = 0.0
    dice: float = 0.0
    focal: float = 0.0
    lovasz: float = 0.0
    tversky: float = 0.0
    focal_gamma: float = 2.0
    """How little the pixels count that are right already."""
    tversky_alpha: float = 0.3
    """Weight of false positives; with 0.5 and 0.5 Tversky is Dice."""
    tversky_beta: float = 0.7
    """Weight of false negatives."""


@dataclass
class OptimizerConfig:
    """Who takes the steps, and how large they are."""

    name: str = "adamw"
    """adamw, adam or sgd (with Nesterov momentum 0.9)."""
    lr: float = 1.5e-3
    """Peak learning rate of decoder and head."""
    encoder_lr_factor: float = 0.4
    """Learning rate of the encoder over that of the decoder."""
    weight_decay: float = 1e-3


@dataclass
class SchedulerConfig:
    """The learning rate over a run."""

    name: str = "trapezoid"
    """trapezoid (constant, then down to zero as a cosine), cosine (down from the start) or
    constant."""
    warmup_steps: int = 100
    """The rate rises linearly over so many steps."""
    decay_steps: int = 1200
    """Length of a trapezoid's descent."""


@dataclass
class FitConfig:
    """What the `train` section of every task says to the trainer."""

    steps: int = 4000
    """Optimiser steps of the whole run."""
    epochs: int | None = None
    """Instead of `steps`: so many times `steps_per_epoch`."""
    steps_per_epoch: int = 200
    """Steps between two validations; the last epoch has what is left."""
    gradient_clip: float = 1.0
    """Largest norm of a gradient; 0 leaves it as it is."""
    norm_eval: bool = False
    """Batch normalisation keeps the statistics of the weights that the run starts from."""
    ema_decay: float = 0.995
    """Weights are averaged exponentially; scores and the released weights use the average."""
    select: str = "best"
    """Which weights become the model: "best" by the validation score, or the "last" ones."""
    early_stopping: int | None = None
    """Stop after so many epochs without a better score; null: never."""
    precision: str = "auto"
    """Lightning precision; auto is bf16-mixed where the CPU or GPU has it, else 32-true."""
    accelerator: str = "auto"
    """auto, cpu, cuda or mps."""
    seed: int = 1
    deterministic: bool = False
    """Refuse operations that may differ from run to run; a CPU has none here, a GPU does."""
    threads: int | None = None
    """Threads of the optimiser; null leaves torch's default."""


@dataclass
class TrainConfig(FitConfig):
    """Optimisation."""

    batch: int = 16
    crop_px: int = 256
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    workers: int = 1
    """Processes that prepare crops."""


@dataclass
class LoggerConfig:
    """Who is told of losses and scores, beside metrics.csv, which is always written."""

    name: str = "csv"
    """csv, tensorboard, mlflow, wandb or comet."""
    project: str = "geotiler"
    """Project of W&B and Comet, experiment of MLflow."""
    online: bool | None = None
    """Send to W&B or Comet while training; null: if their key is in the environment or .env."""
    tracking_uri: str | None = None
    """MLflow's store; null: mlflow.db beside the run's folder."""


@dataclass
class RunConfig:
    """What every task's run says of itself."""

    task: str = MISSING
    name: str = "${task}"
    """Of the run, and of its model."""
    output: str = "outputs/${name}"
    """Folder of the run: checkpoints, curves, plots, and the model folder."""
    init: str | None = None
    """Model to start from: a shipped name, a folder, or the address of one."""
    resume: bool = False
    """Go on from the output folder's last checkpoint: --resume."""
    logger: LoggerConfig = field(default_factory=LoggerConfig)


def model_name(config: RunConfig) -> str:
    """The name of a run's folder, as a card takes it."""
    run = Path(config.output).name.lower()
    return re.sub(r"[^a-z0-9_.-]+", "-", run).strip("-_.")[:64] or "model"


@dataclass
class Config(RunConfig):
    """One training run of a segmentation network."""

    data: DataConfig = field(default_factory=DataConfig)
    transforms: TransformsConfig = field(default_factory=TransformsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
