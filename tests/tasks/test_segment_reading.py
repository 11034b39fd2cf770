"""The first rows of a scene are read before the network is ready, and never more than is needed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from geotiler.errors import InputError, ModelError
from geotiler.io.scene_reader import SceneReader
from geotiler.models.networks import FROM_DISK
from geotiler.specs import SegmentSpec, Window
from geotiler.tasks import segment as segment_module
from geotiler.tasks import segment_reading
from geotiler.tasks.segment import segment
from geotiler.tasks.segment_plan import SegmentPlan, plan_segment
from geotiler.tasks.segment_reading import EarlyRows, opened_reader


def _scene(path: Path, height: int = 1600, width: int = 300, gsd_m: float = 0.5) -> Path:
    pixels = np.random.default_rng(3).integers(1, 256, (3, height, width), dtype=np.uint8)
    place = Affine(gsd_m, 0, 500_000, 0, -gsd_m, 5_000_000)
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=3, dtype="uint8",
        crs="EPSG:32633", transform=place, tiled=True, blockxsize=256, blockysize=256,
    ) as out:  # fmt: skip
        out.write(pixels)
    return path


def _spec(scene: Path, tmp_path: Path, **settings: Any) -> SegmentSpec:
    given = {"tile_px": (640, 288), "overlap_px": 64, **settings}
    return SegmentSpec(scene=str(scene), output=tmp_path / "mask.tif", model="tiny", **given)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    """Windows that are read, by whomever."""
    windows: list[Window] = []
    before = SceneReader.__call__

    def noted(self: SceneReader, window: Window) -> Any:
        windows.append(window)
        return before(self, window)

    monkeypatch.setattr(SceneReader, "__call__", noted)
    return windows


def _wanted(plan: SegmentPlan) -> list[Window]:
    return list(plan.chunks(plan.stretch(plan.panels[0], plan.rows)))


def test_the_rows_of_the_first_tiles_are_read_before_the_network_is_opened(
    tmp_path: Path, use_model: Callable[..., Any], read: list[Window],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    use_model()
    spec = _spec(_scene(tmp_path / "scene.tif"), tmp_path)
    opened = segment_module.opened_predictor
    before: list[int] = []

    def late(plan: SegmentPlan, networks: Any) -> Any:
        deadline = time.monotonic() + 30
        while len(read) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)  # three stretches of 256 rows hold the 640 of a tile
        before.append(len(read))
        return opened(plan, networks)

    monkeypatch.setattr(segment_module, "opened_predictor", late)
    segment(spec)
    assert before == [3]
    assert sorted(window.row for window in read) == [0, 256, 512, 768, 1024, 1280, 1536]


def test_early_rows_are_those_that_are_read_later(
    tmp_path: Path, use_model: Callable[..., Any]
) -> None:
    use_model()
    plan = plan_segment(_spec(_scene(tmp_path / "scene.tif"), tmp_path))
    reader = opened_reader(plan)
    with EarlyRows(plan) as early:
        for number, window in enumerate(_wanted(plan)):
            found = early.taken(window)
            assert (found is not None) == (number < 3)
            if found is not None:
                for one, other in zip(found, reader(window), strict=True):
                    np.testing.assert_array_equal(one, other)
            assert early.taken(window) is None  # once
    reader.close()


def test_little_is_read_early_of_large_and_of_resampled_scenes(
    tmp_path: Path, use_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_model()
    finer = _scene(tmp_path / "fine.tif", height=2600, gsd_m=0.1)
    with EarlyRows(plan_segment(_spec(finer, tmp_path, tile_px=(512, 64), overlap_px=32))) as early:
        assert len(early._coming) == 2
    plan = plan_segment(_spec(_scene(tmp_path / "scene.tif"), tmp_path))
    with EarlyRows(plan) as early:
        assert len(early._coming) == 3
    monkeypatch.setattr(segment_reading, "_EARLY_BYTES", 256 * 300 * 3 + 1)
    with EarlyRows(plan) as early:
        assert len(early._coming) == 1


def test_a_run_that_begins_further_down_lets_the_first_rows_go(
    tmp_path: Path, use_model: Callable[..., Any]
) -> None:
    use_model()
    plan = plan_segment(_spec(_scene(tmp_path / "scene.tif"), tmp_path))
    windows = _wanted(plan)
    with EarlyRows(plan) as early:
        early.keep(windows[2:])
        assert [early.taken(window) is not None for window in windows[:4]] == [
            False, False, True, False,
        ]  # fmt: skip


def test_what_fails_leaves_no_file_open_and_is_told_as_ever(
    tmp_path: Path, use_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_model()
    path = _scene(tmp_path / "scene.tif")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 8])
    with pytest.raises(InputError, match=r"scene\.tif"):
        segment(_spec(path, tmp_path))
    path.write_bytes(content)
    closed: list[SceneReader] = []
    before = SceneReader.close
    monkeypatch.setattr(
        SceneReader, "close", lambda reader: (closed.append(reader), before(reader))[1]
    )

    def refused(plan: SegmentPlan, networks: Any) -> Any:
        raise ModelError("no network")

    monkeypatch.setattr(segment_module, "opened_predictor", refused)
    with pytest.raises(ModelError):
        segment(_spec(path, tmp_path), networks=FROM_DISK)
    assert len(closed) == 1
    assert not (tmp_path / "mask.tif").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["scene.tif"]
