"""Chips as Lightning data: random crops for training, whole chips for validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from geotiler.core.radiometry import normalise
from geotiler.progress import (
    Notice,
    Reporter,
    StageAdvanced,
    StageFinished,
    StageStarted,
    silent,
)
from geotiler.specs import MASK_NODATA, Scale
from geotiler.training.augment import Colour, crop_transform, random_gsd_m, warped_crop
from geotiler.training.chips import (
    UNLABELLED,
    Chip,
    load_split,
    read_split,
    rendered_chips,
    resized,
)
from geotiler.training.config import Config
from geotiler.training.framework import pl
from geotiler.training.objects import ObjectBank, add_objects

Sample = tuple[torch.Tensor, torch.Tensor]
EIGHT_BIT = Scale(minimum=0.0, maximum=255.0)
_FINEST = 0.75
"""GSD that is read over GSD that is written, at least: bilinear interpolation does not alias up
to a third."""


def _not_finer(chip: Chip, gsd_m: float) -> Chip:
    """The chip, averaged to a ground sample distance where it is finer than that."""
    return resized(chip, gsd_m) if chip.gsd_m < 0.99 * gsd_m else chip


def _sample(image: NDArray[np.uint8], labels: NDArray[np.uint8], config: Config) -> Sample:
    raw = image.transpose(2, 0, 1)
    pixels = normalise(
        raw,
        labels != MASK_NODATA,
        scale=EIGHT_BIT,
        mean=config.model.mean,
        std=config.model.std,
    )
    target = np.where(labels == UNLABELLED, MASK_NODATA, labels).astype(np.int64)
    return torch.from_numpy(pixels), torch.from_numpy(target)


class RandomCrops(IterableDataset[Sample]):
    """An endless stream of augmented crops; a share of them from rendered scenes."""

    def __init__(self, chips: Sequence[Chip], rendered: Sequence[Chip], config: Config) -> None:
        self._chips = chips
        self._rendered = rendered
        self._config = config
        objects = config.transforms.objects
        self._objects = ObjectBank(chips, objects.shadow_m) if objects.share > 0 else None
        self._colour = Colour(config.transforms)
        self.first_step = 0

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        # The step makes a resumed run see crops it has not seen yet.
        seed = [self._config.train.seed, worker.id if worker else 0, self.first_step]
        random = np.random.default_rng(seed)
        torch.manual_seed(int(random.integers(2**31)))
        share = self._config.data.rendered.share if self._rendered else 0.0
        while True:
            pool = self._rendered if random.random() < share else self._chips
            yield self.crop(pool[int(random.integers(len(pool)))], random)

    def crop(self, chip: Chip, random: np.random.Generator) -> Sample:
        """One augmented look at a chip."""
        size = self._config.train.crop_px
        gsd_m = random_gsd_m(self._config.model.gsd_m, self._config.transforms, random)
        chip = _not_finer(chip, _FINEST * gsd_m)
        transform = crop_transform(chip, size, gsd_m, self._config.transforms, random)
        image, labels = warped_crop(chip, size, transform)
        if self._objects is not None:
            add_objects(
                image, labels, self._objects, gsd_m, self._config.transforms.objects, random
            )
        return _sample(self._colour(image, random), labels, self._config)


class WholeChips(Dataset[Sample]):
    """Every chip once at the model's GSD, mirrored to a size that the network takes.

    The mirrored part is unlabelled.
    """

    def __init__(self, chips: Sequence[Chip], config: Config) -> None:
        self._chips = chips
        self._config = config

    def __len__(self) -> int:
        return len(self._chips)

    def chip(self, index: int) -> Chip:
        """A chip at the model's GSD."""
        return resized(self._chips[index], self._config.model.gsd_m)

    def __getitem__(self, index: int) -> Sample:
        chip = self.chip(index)
        height, width = chip.labels.shape
        stride = self._config.model.stride_of_network
        below, right = -height % stride, -width % stride
        image = np.pad(chip.image, ((0, below), (0, right), (0, 0)), mode="reflect")
        labels = np.pad(chip.labels, ((0, below), (0, right)), constant_values=UNLABELLED)
        return _sample(image, labels, self._config)


class ChipData(pl.LightningDataModule):
    """Training crops, validation and test chips of one configuration."""

    def __init__(self, config: Config, report: Reporter = silent) -> None:
        """Args: config: the run. report: hears what is read and rendered, which takes a while."""
        super().__init__()
        self._config = config
        self._report = report
        self._crops: RandomCrops | None = None
        self._validation: WholeChips | None = None
        self._test: WholeChips | None = None

    def setup(self, stage: str) -> None:
        """Read all chips into memory and render those that the configuration asks for.

        Those of the test split too: a bad one should not end a run that has trained for hours.
        """
        if self._crops is not None:
            return
        config, data = self._config, self._config.data
        self._report(Notice(message=f"reading the chips of {data.root}"))
        finest_m = config.model.gsd_m / max(1.0, config.transforms.scale[1])
        chips = [
            _not_finer(chip, _FINEST * finest_m) for chip in load_split(data, "train", self._report)
        ]
        self._validation = WholeChips(load_split(data, "val", self._report), config)
        root = Path(data.root)
        if (root / "test.txt").is_file() and read_split(root, "test"):
            self._test = WholeChips(load_split(data, "test", self._report), config)
        self._crops = RandomCrops(chips, self._rendered(), config)

    def _rendered(self) -> list[Chip]:
        rendered, stage = self._config.data.rendered, "rendering chips"
        if rendered.share <= 0:
            return []
        self._report(Notice(message=f"rendering {rendered.chips} chips"))
        self._report(StageStarted(stage=stage, total=rendered.chips, unit="chip"))
        chips = []
        for chip in rendered_chips(rendered):
            chips.append(chip)
            self._report(StageAdvanced(stage=stage, amount=1))
        self._report(StageFinished(stage=stage))
        return chips

    def whole(self, split: str) -> WholeChips | None:
        """Chips of "val" or "test" as they are; None where there are none of the latter."""
        return {"val": self._validation, "test": self._test}[split]

    def train_dataloader(self) -> DataLoader[Sample]:
        """Batches of crops, endless."""
        assert self._crops is not None
        if self.trainer is not None:
            self._crops.first_step = self.trainer.global_step
        return DataLoader(
            self._crops,
            batch_size=self._config.train.batch,
            num_workers=self._config.train.workers,
            persistent_workers=False,
        )

    def val_dataloader(self) -> DataLoader[Sample]:
        """Whole validation chips, one at a time since their sizes differ."""
        assert self._validation is not None
        return DataLoader(self._validation, batch_size=1)
