"""vectorize and classify, killed: the same command ends the work, to the same bytes."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from geotiler.models.bundle import Bundle

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

SMALL_STEPS = """
from geotiler.io.raster import Scene
from geotiler.tasks import classify, vectorize
Scene.strip_rows = lambda self, width: 32
vectorize.BATCH_FEATURES, vectorize.STORED_FEATURES = 20, 40
classify._STORED_CELLS = 8
from geotiler.cli.main import run
run()
"""

PLACED = {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5e6), "driver": "GTiff"}


class Command:
    """A command that writes into a folder, and what it writes when it is left alone."""

    def __init__(self, words: Callable[[Path], list[str]], journal: str, whole: Path) -> None:
        self._words = words
        self._journal = journal
        assert self.finished(whole) == ""
        self.expected = files(whole)
        self.lines = 0

    def start(self, folder: Path) -> subprocess.Popen[str]:
        folder.mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-c", SMALL_STEPS, *self._words(folder)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def finished(self, folder: Path) -> str:
        process = self.start(folder)
        _, errors = process.communicate(timeout=900)
        assert process.returncode == 0, errors
        return errors

    def killed(self, folder: Path, lines: int, delay_s: float) -> None:
        """Killed when its journal holds so many lines, and some seconds later."""
        process = self.start(folder)
        until = time.monotonic() + 900
        while process.poll() is None and time.monotonic() < until:
            try:
                count = (folder / self._journal).read_bytes().count(b"\n") - 1
            except OSError:
                count = -1
            self.lines = max(self.lines, count)
            if count >= lines:
                break
            time.sleep(0.001)
        time.sleep(delay_s)
        process.kill()
        process.communicate(timeout=900)


def files(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, which must be files only."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def vectorize_command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    root = tmp_path_factory.mktemp("vectorize")
    values = np.zeros((1600, 200), np.uint8)
    for row, col, side in np.random.default_rng(2).integers((0, 0, 3), (1590, 190, 12), (1500, 3)):
        values[row : row + side, col : col + side] = 1
    values[::17] = 0
    with rasterio.open(
        root / "mask.tif", "w", count=1, height=1600, width=200, dtype="uint8", nodata=255, **PLACED
    ) as out:
        out.write(values, 1)

    def words(folder: Path) -> list[str]:
        return ["vectorize", str(root / "mask.tif"), "-o", str(folder / "b.gpkg"), "-q"]

    return Command(words, "b.gpkg.parts/journal.jsonl", root / "whole")


@pytest.fixture(scope="module")
def classify_command(tmp_path_factory: pytest.TempPathFactory, tiny_landuse: Bundle) -> Command:
    root = tmp_path_factory.mktemp("classify")
    card = tiny_landuse.card
    shape = (len(card.bands), 40 * card.tile_px, 3 * card.tile_px)
    values = np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)
    with rasterio.open(
        root / "scene.tif", "w", count=shape[0], height=shape[1], width=shape[2], dtype="uint8",
        **PLACED,
    ) as out:  # fmt: skip
        out.write(values)

    def words(folder: Path) -> list[str]:
        return [
            "classify", str(root / "scene.tif"), "-o", str(folder / "map.tif"), "--confidence",
            str(folder / "c.tif"), "--model", str(tiny_landuse.folder), "--insist", "-q",
        ]  # fmt: skip

    return Command(words, "map.tif.cells.parts/journal.jsonl", root / "whole")


def test_vectorize_killed_once_and_finished(vectorize_command: Command, tmp_path: Path) -> None:
    vectorize_command.killed(tmp_path / "out", 3, 0)
    assert not (tmp_path / "out" / "b.gpkg").exists()
    vectorize_command.finished(tmp_path / "out")
    assert files(tmp_path / "out") == vectorize_command.expected


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("verb", ["vectorize", "classify"])
def test_killed_at_any_moment(
    verb: str, request: pytest.FixtureRequest, tmp_path: Path, seed: int
) -> None:
    """From before the first line to after the outputs have appeared, up to three times."""
    command: Command = request.getfixturevalue(f"{verb}_command")
    chance = random.Random(seed)
    folder = tmp_path / "out"
    for _ in range(chance.randint(1, 3)):
        most = max(command.lines, 12)
        command.killed(folder, chance.randint(-1, most), chance.random() * chance.choice([0, 0.3]))
        for path in folder.iterdir():
            if path.is_file():  # whole, or not there
                assert path.read_bytes() == command.expected[path.name]
    if any(path.is_dir() for path in folder.iterdir()) or not any(folder.iterdir()):
        command.finished(folder)
    assert files(folder) == command.expected
