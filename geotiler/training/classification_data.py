"""Labelled tiles as Lightning data: whole batches, varied for training, plain for scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from geotiler.training.class_splits import split_names
from geotiler.training.class_tiles import ClassTiles, TileSource, open_tiles
from geotiler.training.classification_config import ClassifierRunConfig
from geotiler.training.framework import pl
from geotiler.training.looks import Looks

Batch = tuple[torch.Tensor, torch.Tensor]
_PLAIN_BATCH = 256


def normalised(tiles: torch.Tensor, mean: list[float], std: list[float]) -> torch.Tensor:
    """Pixels as the network takes them, of tiles (N, 3, H, W) in 0..255."""
    centre = torch.tensor(mean).view(1, -1, 1, 1)
    spread = torch.tensor(std).view(1, -1, 1, 1)
    return (tiles.float() / 255 - centre) / spread


class VariedTiles(IterableDataset[Batch]):
    """An endless stream of batches; every tile once before any comes again."""

    def __init__(self, tiles: ClassTiles, config: ClassifierRunConfig) -> None:
        self._images = torch.from_numpy(tiles.images)
        self._labels = torch.from_numpy(tiles.labels)
        self._config = config
        self._looks = Looks(config.transforms)
        self.first_step = 0

    def __iter__(self) -> Iterator[Batch]:
        train, model = self._config.train, self._config.model
        random = torch.Generator()
        # The step makes a resumed run see looks that it has not seen yet.
        random.manual_seed(train.seed * 1_000_003 + self.first_step)
        queue = torch.empty(0, dtype=torch.int64)
        while True:
            while len(queue) < train.batch:
                queue = torch.cat([queue, torch.randperm(len(self._labels), generator=random)])
            chosen, queue = queue[: train.batch], queue[train.batch :]
            varied = self._looks(self._images[chosen], random)
            yield normalised(varied, model.mean, model.std), self._labels[chosen]


class PlainTiles(Dataset[Batch]):
    """Batches of unchanged tiles in their order."""

    def __init__(self, tiles: ClassTiles, config: ClassifierRunConfig) -> None:
        self._images = torch.from_numpy(tiles.images)
        self._labels = torch.from_numpy(tiles.labels)
        self._config = config

    def __len__(self) -> int:
        return -(-len(self._labels) // _PLAIN_BATCH)

    def __getitem__(self, index: int) -> Batch:
        part = slice(index * _PLAIN_BATCH, (index + 1) * _PLAIN_BATCH)
        model = self._config.model
        return normalised(self._images[part], model.mean, model.std), self._labels[part]


class ClassTileData(pl.LightningDataModule):
    """Training, validation and test tiles of one configuration, decoded once."""

    def __init__(self, config: ClassifierRunConfig) -> None:
        """Raises: InputError: tiles or lists are missing, or do not belong together."""
        super().__init__()
        self._config = config
        self.source: TileSource = open_tiles(Path(config.data.root), sorted(config.model.classes))
        self.parts = split_names(config.data, self.source.labels)
        self._varied: VariedTiles | None = None

    def read(self, part: str) -> ClassTiles:
        """The tiles of "train", "val" or "test"."""
        return self.source.read(self.parts[part], self._config.model.tile_px)

    def setup(self, stage: str) -> None:
        """Read all tiles into memory.

        Those of the test part too: a bad one should not end a run that has trained for hours.
        """
        if self._varied is None:
            self._varied = VariedTiles(self.read("train"), self._config)
            self._plain = PlainTiles(self.read("val"), self._config)
            self._test = PlainTiles(self.read("test"), self._config)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Varied batches, endless."""
        assert self._varied is not None
        if self.trainer is not None:
            self._varied.first_step = self.trainer.global_step
        return DataLoader(self._varied, batch_size=None)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Plain batches."""
        return DataLoader(self._plain, batch_size=None)

    def test_dataloader(self) -> DataLoader[Batch]:
        """Plain batches of the test part."""
        return DataLoader(self._test, batch_size=None)
