"""Ctrl-C: one line that says how far a run came and, where it can, how to go on."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from geotiler.cli.main import main
from geotiler.cli.session import Heard
from geotiler.models.bundle import Bundle
from geotiler.progress import Kept, StageAdvanced, StageStarted

ON_WINDOWS = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    image = np.random.default_rng(5).integers(0, 256, (3, 1500, 400), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=1500, width=400, dtype="uint8",
        crs="EPSG:32633", transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6),
    ) as out:  # fmt: skip
        out.write(image)
    return path


def _interrupted(words: list[str]) -> tuple[int, list[str], float]:
    """Exit code, stderr, and work told to be done when a process is interrupted at work."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from geotiler.cli.main import run; run()"
    )  # whoever starts the tests in the background has children ignore it
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words, "--progress", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    lines, done = [], 0.0
    for line in process.stderr:
        lines.append(line)
        event = json.loads(line)
        if event["event"] == "advanced":
            done += event["amount"]
            process.send_signal(signal.SIGINT)
            break
    lines += process.communicate(timeout=600)[1].splitlines()
    return process.returncode, lines, done


@ON_WINDOWS
@pytest.mark.slow
def test_segment_says_how_far_it_came(scene: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    words = [
        "segment", str(scene), "-o", str(tmp_path / "mask.tif"), "--model", str(tiny_bundle.folder),
        "--tile", "64", "--overlap", "16", "--backend", "onnx", "--threads", "1",
    ]  # fmt: skip
    code, lines, heard = _interrupted(words)
    assert code == 130
    told = r"geotiler: interrupted after ([\d,]+) of ([\d,]+) windows: (.*)"
    found = re.fullmatch(told, lines[-1])
    assert found, lines
    done, total = (int(number.replace(",", "")) for number in found.groups()[:2])
    there = (tmp_path / "mask.tif.parts").exists()
    assert found[3].endswith("the same command goes on from there" if there else "nothing is kept")
    assert heard <= done < total
    assert not (tmp_path / "mask.tif").exists()


@ON_WINDOWS
@pytest.mark.slow
def test_tile_goes_on_as_it_says(scene: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = ["tile", str(scene), "--tile", "32", "--overlap", "8", "-o"]
    code, lines, _ = _interrupted([*words, str(cut)])
    assert code == 130
    said = r"geotiler: interrupted: [\d,]+ of [\d,]+ chips done; the same command goes on.*"
    assert re.fullmatch(said, lines[-1]), lines
    assert not (cut / "dataset.json").exists()
    assert main([*words, str(cut), "-q"]) == main([*words, str(whole), "-q"]) == 0
    assert (cut / "dataset.json").read_bytes() == (whole / "dataset.json").read_bytes()


def test_what_is_told_follows_the_stage_that_runs() -> None:
    heard = Heard()
    assert heard.when_interrupted() == ""
    for event in (
        StageStarted(stage="vectorize", total=4_000_000, unit="px"),
        StageAdvanced(stage="vectorize", amount=1_500_000),
        StageAdvanced(stage="another", amount=7),
    ):
        heard(event)
    assert heard.when_interrupted() == ": 1,500,000 of 4,000,000 px done"
    heard(Kept(share=0.0))
    assert heard.when_interrupted() == (
        " after 1,500,000 of 4,000,000 px: no row was finished, so nothing is kept"
    )
    heard(Kept(share=0.25))
    assert heard.when_interrupted() == (
        " after 1,500,000 of 4,000,000 px: 25 % is kept; the same command goes on from there"
    )
    heard(StageStarted(stage="training", total=300, unit="step"))
    assert heard.when_interrupted() == (
        ": 0 of 300 steps done; nothing is kept before the first epoch ends "
        "(train.steps_per_epoch=N makes it shorter)"
    )
    heard(StageAdvanced(stage="training", amount=120))
    heard(Kept(share=1.0))
    assert heard.when_interrupted() == (
        ": 120 of 300 steps done; the same command with --resume goes on from the last epoch"
    )
