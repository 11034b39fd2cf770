"""The settings of a training run of a classifier, typed; configs/landuse.yaml fills them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from geotiler.training.config import (
    FitConfig,
    OptimizerConfig,
    RunConfig,
    SchedulerConfig,
)


@dataclass
class ClassTilesConfig:
    """Where the labelled tiles are, and how they are split."""

    root: str = MISSING
    """Folder or zip archive that holds one folder of images per class, at any depth."""
    download: bool = True
    """Fetch EuroSAT where the root is not there (only for its own classes)."""
    split: str = "spatial"
    """"spatial": lists of names, neighbours on one side; "random": stratified, flatters."""
    lists: str | None = None
    """Folder of the lists eurosat-spatial-{train,val,test}.txt; null: in or beside the root."""
    fractions: list[float] = field(default_factory=lambda: [0.7, 0.15, 0.15])
    """Of the random split: train, val, test."""
    split_seed: int = 0
    """Of the random split."""
    limit: int | None = None
    """Read only so many tiles of each class and split (for trials and tests)."""


@dataclass
class LookConfig:
    """What is varied between two looks at the same tile; each change has its own probability."""

    plain: float = 0.2
    """Probability that a tile keeps its colours."""
    crop: float = 0.5
    """Probability of a random crop that is resized to the tile."""
    crop_scale: float = 0.7
    """Smallest side of such a crop, as a fraction of the tile."""
    brightness: float = 0.35
    """Largest natural logarithm of the common factor of all channels."""
    gain: float = 0.08
    """Standard deviation of the logarithm of each channel's own factor."""
    contrast: float = 0.3
    """Largest natural logarithm of the factor around the tile's mean."""
    gamma: float = 0.3
    """Largest natural logarithm of the exponent."""
    saturation: float = 0.4
    """Largest natural logarithm of the factor around grey."""
    veil: float = 0.3
    """Probability of less atmospheric light, blue most: what L2A products lack."""
    haze: float = 0.15
    """Probability of a blend towards white or bluish grey."""
    haze_strength: float = 0.5
    """Largest share of the haze in that blend."""
    blur: float = 0.15
    noise: float = 0.25
    jpeg: float = 0.15
    """Probabilities of a slight blur, of noise, and of JPEG artefacts."""


@dataclass
class StretchConfig:
    """How the sensor's numbers became the 8-bit tiles: see ModelCard.stretch."""

    source: str = "Sentinel-2 L1C"
    source_bands: list[int] = field(default_factory=lambda: [4, 3, 2])
    minimum: float = 0.0
    maximum: float = 2750.0
    low: float = 1.0
    high: float = 255.0


@dataclass
class ClassifierConfig:
    """Network, classes, and what the card says about them."""

    name: str | None = None
    """Name in the card; null: the run's name."""
    library: str = MISSING
    architecture: str = MISSING
    arguments: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    """Where the network starts: a safetensors file, "imagenet" (downloads), or null (random)."""
    image_size: int = MISSING
    """Height and width that the network sees; tiles are resized to it inside the network."""
    mean: list[float] = field(default_factory=lambda: [0.485, 0.456, 0.406])
    std: list[float] = field(default_factory=lambda: [0.229, 0.224, 0.225])
    gsd_m: float = 10.0
    tile_px: int = 64
    overlap_px: int = 0
    """What `classify` takes when nobody says otherwise."""
    classes: dict[str, str] = field(default_factory=dict)
    """Folder name of each class → colour "#rrggbb"; ids count from 1 in alphabetical order."""
    stretch: StretchConfig | None = None
    description: str = ""
    licence: str = "Apache-2.0"
    training_data: list[str] = field(default_factory=list)
    credits: list[str] = field(default_factory=list)


@dataclass
class ClassifierTrainConfig(FitConfig):
    """Optimisation."""

    steps: int = 6000
    steps_per_epoch: int = 250
    ema_decay: float = 0.998
    batch: int = 64
    lr: float | None = None
    """Instead of `optimizer.lr`."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(lr=1e-3, encoder_lr_factor=0.5, weight_decay=0.02)
    )
    """`encoder_lr_factor` is for what started from weights: all but the head."""
    scheduler: SchedulerConfig = field(
        default_factory=lambda: SchedulerConfig(name="cosine", warmup_steps=200)
    )
    label_smoothing: float = 0.1
    mixup: float = 0.0
    """Parameter of the Beta distribution that mixes pairs of tiles; 0 mixes none."""


@dataclass
class ClassifierRunConfig(RunConfig):
    """One training run of a classifier."""

    weights: str | None = None
    """Instead of `model.weights`."""
    data: ClassTilesConfig = field(default_factory=ClassTilesConfig)
    transforms: LookConfig = field(default_factory=LookConfig)
    model: ClassifierConfig = field(default_factory=ClassifierConfig)
    train: ClassifierTrainConfig = field(default_factory=ClassifierTrainConfig)
