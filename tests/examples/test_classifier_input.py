"""A classifier that is given another input size answers as its network does at that size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from torch.nn import functional as F

from geotiler.models.bundle import Bundle, load_network, open_bundle

SCRIPT = Path(__file__).parents[2] / "examples" / "classifier_input.py"


def _run(model: Path, side: int, output: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(SCRIPT), str(model), "--input-px", str(side), "-o", str(output)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_tiles_are_seen_at_the_other_size(tiny_landuse: Bundle, tmp_path: Path) -> None:
    side = (tiny_landuse.card.input_px or 0) + 32
    ran = _run(tiny_landuse.folder, side, tmp_path / "larger")
    assert ran.returncode == 0, ran.stderr
    made = open_bundle(tmp_path / "larger")
    assert (made.card.input_px, made.card.metrics, made.card.confusion) == (side, (), ())
    tiles = torch.randn(2, 3, 64, 64)
    inner = load_network(tiny_landuse).network
    with torch.no_grad():
        larger = F.interpolate(tiles, size=(side, side), mode="bilinear", align_corners=False)
        torch.testing.assert_close(load_network(made)(tiles), inner(larger))
        assert not torch.allclose(load_network(made)(tiles), load_network(tiny_landuse)(tiles))


def test_a_size_below_the_tile_is_refused(tiny_landuse: Bundle, tmp_path: Path) -> None:
    ran = _run(tiny_landuse.folder, 32, tmp_path / "smaller")
    assert ran.returncode == 2
    assert "input_px" in ran.stderr
    assert not (tmp_path / "smaller").exists()
