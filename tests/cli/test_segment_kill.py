"""Processes that are killed, asked to end or interrupted: the same command ends the work."""

from __future__ import annotations

import random
import signal
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

Start = Callable[[Path], "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    image = np.random.default_rng(5).integers(0, 256, (3, 1500, 200), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=1500, width=200, dtype="uint8",
        crs="EPSG:32633", transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6),
    ) as out:  # fmt: skip
        out.write(image)
    return path


@pytest.fixture(scope="module")
def start(scene: Path, tiny_bundle: Bundle) -> Start:
    """Starts the command in a process of its own, with the output folder as its argument."""

    def begin(folder: Path) -> subprocess.Popen[str]:
        folder.mkdir(exist_ok=True)
        words = [
            "segment", str(scene), "-o", str(folder / "mask.tif"),
            "--probability", str(folder / "p.tif"), "--model", str(tiny_bundle.folder),
            "--tile", "64", "--overlap", "16", "--backend", "onnx", "--threads", "1",
        ]  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-c", "from geotiler.cli.main import run; run()", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return begin


@pytest.fixture(scope="module")
def expected(start: Start, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    process = start(folder)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return _files(folder)


def _files(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, which must be files only."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _strips(folder: Path) -> int:
    """Strips that the journal in an output folder holds."""
    try:
        return (folder / "mask.tif.parts" / "journal.jsonl").read_bytes().count(b"\n") - 1
    except OSError:
        return -1


def _signalled(
    start: Start, folder: Path, number: signal.Signals, strips: int, delay_s: float = 0.0
) -> tuple[int, str]:
    """Exit status and stderr of a run that hears a signal after so many strips and seconds."""
    process = start(folder)
    until = time.monotonic() + 600
    while _strips(folder) < strips and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    time.sleep(delay_s)
    process.send_signal(number)
    _, errors = process.communicate(timeout=600)
    return process.returncode, errors


def _finished(start: Start, folder: Path) -> str:
    """Stderr of the same command, left alone."""
    process = start(folder)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return errors


def test_killed_twice_and_finished(
    start: Start, expected: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    for strips in (3, 11):
        code, _ = _signalled(start, folder, signal.SIGKILL, strips, random.uniform(0, 0.05))
        assert code == -signal.SIGKILL
        assert not (folder / "mask.tif").exists()
        assert strips <= _strips(folder) <= 40
    assert "was finished by an earlier run" in _finished(start, folder)
    assert _files(folder) == expected


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "inter")]
)
def test_asked_to_end(
    start: Start, expected: dict[str, bytes], tmp_path: Path, number: signal.Signals, code: int,
    word: str,
) -> None:  # fmt: skip
    folder = tmp_path / "out"
    found, errors = _signalled(start, folder, number, 7)
    assert found == code
    notice, line = errors.splitlines()
    assert "run the same command again to go on" in notice
    assert line.startswith(f"geotiler: {word}")
    assert sorted(path.name for path in folder.iterdir()) == ["mask.tif.parts", "p.tif.parts"]
    _finished(start, folder)
    assert _files(folder) == expected


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_killed_at_any_moment(
    start: Start, expected: dict[str, bytes], tmp_path: Path, seed: int
) -> None:
    """From before the first strip to after the outputs have appeared, up to three times."""
    chance = random.Random(seed)
    folder = tmp_path / "out"
    for _ in range(chance.randint(1, 3)):
        strips, delay_s = chance.randint(-1, 31), chance.choice([0, 0.01, 0.1, 0.3])
        _signalled(start, folder, signal.SIGKILL, strips, chance.random() * delay_s)
        for name in ("mask.tif", "p.tif"):
            assert not (folder / name).exists() or (folder / name).read_bytes() == expected[name]
    if _files_only(folder) != expected:
        _finished(start, folder)
    assert _files(folder) == expected


def _files_only(folder: Path) -> dict[str, bytes] | None:
    """The files of a folder without folders in it."""
    whole = all(path.is_file() for path in folder.iterdir())
    return _files(folder) if whole else None
