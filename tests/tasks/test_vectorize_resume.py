"""Polygons whose drawing was stopped go on where it was, to the same bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
import shapely.affinity
from affine import Affine
from rasterio import features

from geotiler.core.measure import Ground
from geotiler.core.polygons import PolygonStream
from geotiler.errors import InputError, OutputError
from geotiler.io.parts import hold_parts, parts_folder
from geotiler.io.raster import Scene
from geotiler.progress import Notice, StageAdvanced
from geotiler.specs import Regularize, VectorizeSpec
from geotiler.tasks import vectorize as task
from geotiler.tasks.vectorize import vectorize
from geotiler.tasks.vectorize_draw import sized
from geotiler.tasks.vectorize_work import FeatureStore

HEIGHT, WIDTH = 420, 90
STRIP = 6


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scene, "strip_rows", lambda self, width: STRIP)
    monkeypatch.setattr(task, "BATCH_FEATURES", 4)
    monkeypatch.setattr(task, "STORED_FEATURES", 6)
    monkeypatch.setattr(task, "STORED_PX", 40 * WIDTH)


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """Houses, some of them a pixel apart, a long road, yards in yards, and an empty stretch."""
    rng = np.random.default_rng(4)
    boxes = [
        shapely.affinity.rotate(shapely.box(x, y, x + w, y + h), angle)
        for x, y, w, h, angle in zip(
            rng.random(160) * WIDTH, rng.random(160) * HEIGHT, rng.integers(4, 8, 160),
            rng.integers(4, 8, 160), rng.choice([0, 30, 45], 160), strict=True,
        )
    ]  # fmt: skip
    found = features.rasterize(boxes, out_shape=(HEIGHT, WIDTH)).astype(np.uint8)
    found[200:280] = 0
    found[:, 38:46] = 0
    found[30:330, 41:43] = 1  # open over most strips
    found[::9, 80:84] = 1
    found[300:360, 5:30] = 1
    found[305:355, 10:25] = 0
    found[310:350, 12:20] = 1
    found[:, -3:] = 255
    return found


def _write(path: Path, values: np.ndarray, **options: Any) -> str:
    bands = values[None] if values.ndim == 2 else values
    with rasterio.open(
        path, "w", driver="GTiff", height=HEIGHT, width=WIDTH, count=len(bands),
        dtype=values.dtype, crs="EPSG:32633", transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6),
        **options,
    ) as out:  # fmt: skip
        out.write(bands)
    return str(path)


@pytest.fixture
def mask(tmp_path: Path, values: np.ndarray) -> str:
    return _write(tmp_path / "mask.tif", values, nodata=255)


@pytest.fixture
def probability(tmp_path: Path, values: np.ndarray) -> str:
    rng = np.random.default_rng(1)
    soft = np.where(values == 1, 0.8, 0.2) + rng.uniform(-0.15, 0.15, values.shape)
    return _write(tmp_path / "p.tif", soft.astype(np.float32))


@pytest.fixture
def valleys(tmp_path: Path, values: np.ndarray) -> str:
    """Probabilities with a valley across every patch wherever a row or column of lines crosses."""
    row, col = np.mgrid[:HEIGHT, :WIDTH]
    soft = np.where((row % 14 < 2) | (col % 14 < 2), 0.6, 0.97) * (values == 1)
    return _write(tmp_path / "valleys.tif", soft.astype(np.float32))


@pytest.fixture
def several(tmp_path: Path, values: np.ndarray) -> str:
    both = values.copy()
    both[(values == 0) & (np.arange(WIDTH) > 60)] = 2
    return _write(tmp_path / "both.tif", both, nodata=255)


def _into(spec: VectorizeSpec, folder: str) -> VectorizeSpec:
    target = Path(spec.output).parent / folder / Path(spec.output).name
    target.parent.mkdir()
    return replace(spec, output=str(target))


def _files(spec: VectorizeSpec) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(spec.output).parent.iterdir()}


class _Stop:
    """Interrupts a run when it has read some rows, and hears what was said."""

    def __init__(self, row: int) -> None:
        self._stop_px = row * WIDTH
        self.read_px: list[int] = []
        self.said: list[str] = []
        self.report: Any = None

    def __call__(self, event: Any) -> None:
        if isinstance(event, Notice):
            self.said.append(event.message)
        if isinstance(event, StageAdvanced):
            self.read_px.append(event.amount)
            if sum(self.read_px) >= self._stop_px:
                raise KeyboardInterrupt


def _stopped_often(spec: VectorizeSpec, rows: int) -> Iterator[_Stop]:
    """Runs that get so many rows further each time, one that fails to write, and one that ends."""
    for row in range(rows, HEIGHT + 1, rows):
        stop = _Stop(row)
        with pytest.raises(KeyboardInterrupt):
            vectorize(spec, report=stop)
        assert not Path(spec.output).exists()
        yield stop
    with pytest.MonkeyPatch.context() as patch:

        def full(store: FeatureStore, files: list[Path]) -> None:
            raise OutputError("the disk is full")

        patch.setattr(FeatureStore, "written", full)
        stop = _Stop(10**9)
        with pytest.raises(OutputError, match="full"):
            vectorize(spec, report=stop)
        yield stop
    last = _Stop(10**9)
    last.report = vectorize(spec, report=last)
    yield last


MODES: dict[str, dict[str, Any]] = {
    "plain": {},
    "unmade": {"regularize": Regularize.NONE, "simplify_m": 0.0},
    "eight": {"eight_connected": True},
    "sieved": {"sieve_px": 3},
    "snapped": {"snap_neighbours": True},
    "contour": {"probability": "p.tif"},
    "separate": {"probability": "valleys.tif", "separate": True},
    "several": {"mask": "both.tif"},
}


@pytest.mark.parametrize("mode", MODES)
def test_stopped_again_and_again_it_is_as_if_it_never_was(
    mask: str, probability: str, valleys: str, several: str, tmp_path: Path, mode: str
) -> None:
    changed = {
        key: str(tmp_path / value) if key in ("mask", "probability") else value
        for key, value in MODES[mode].items()
    }
    output = str(tmp_path / "b.geojsonl")
    spec = VectorizeSpec(**{"mask": mask, "output": output, "min_area_m2": 3, **changed})
    whole, often = _into(spec, "whole"), _into(spec, "often")
    uninterrupted = vectorize(whole)
    runs = list(_stopped_often(often, 70))
    assert _files(often) == _files(whole)
    assert any("was finished by an earlier run" in text for text in runs[-1].said)
    report = runs[-1].report
    for name in ("polygons", "dropped", "filled_holes", "per_status", "per_class", "area"):
        assert getattr(report, name) == getattr(uninterrupted, name)
    assert report.separated == uninterrupted.separated
    assert (report.separated or 0) > 0 or mode != "separate"
    # Of a run that began further down the count would be of a part.
    assert (uninterrupted.sieved is None) == (mode != "sieved")
    assert report.sieved in (None, uninterrupted.sieved)


def test_it_reads_on_from_where_it_was(mask: str, tmp_path: Path, values: np.ndarray) -> None:
    """Only as far above as something is not complete."""
    short = values.copy()
    short[:, 40:44] = 0  # no road
    short[300:360, 5:30] = 0
    path = _write(tmp_path / "short.tif", short, nodata=255)
    spec = _into(VectorizeSpec(mask=path, output=str(tmp_path / "b.fgb"), min_area_m2=2), "out")
    starts = [run.read_px[0] // WIDTH for run in _stopped_often(spec, 60)]
    assert starts[0] == 0, starts
    # Some strips are lost with what was not stored yet, the height of some houses is read twice.
    assert all(60 * n - start < 120 for n, start in enumerate(starts)), starts


@pytest.mark.parametrize("suffix", [".geojson", ".fgb", ".parquet", ".gpkg", ".shp"])
def test_every_format(mask: str, tmp_path: Path, suffix: str) -> None:
    spec = VectorizeSpec(mask=mask, output=str(tmp_path / f"b{suffix}"), min_area_m2=2)
    whole, often = _into(spec, "whole"), _into(spec, "often")
    vectorize(whole)
    assert len(list(_stopped_often(often, 160))) == 4
    assert _files(often) == _files(whole)


@pytest.mark.parametrize("rows", [13, 60, 300])
def test_counts_of_a_resumed_run_are_those_of_all(
    tmp_path: Path, values: np.ndarray, rows: int
) -> None:
    short = values.copy()
    short[:, 40:44] = 0  # no road, which would be open, and all below it counted again
    path = _write(tmp_path / "short.tif", short, nodata=255)
    spec = VectorizeSpec(mask=path, output=str(tmp_path / "b.geojson"), min_area_m2=12)
    uninterrupted = vectorize(_into(spec, "whole"))
    *_, last = _stopped_often(_into(spec, "often"), rows)
    report = last.report
    assert uninterrupted.dropped > 5
    for name in ("polygons", "dropped", "filled_holes", "per_status", "per_class", "area"):
        assert getattr(report, name) == getattr(uninterrupted, name)


def test_refused_additions_go_on_as_their_hint_says(mask: str, tmp_path: Path) -> None:
    """How features enter a file is no setting of theirs."""
    spec = VectorizeSpec(mask=mask, output=str(tmp_path / "b.gpkg"), min_area_m2=2, append=True)
    first = vectorize(spec)
    with pytest.raises(OutputError, match="already"):
        vectorize(spec)
    heard = _Stop(10**9)
    other = vectorize(replace(spec, layer="other"), report=heard)
    assert any("earlier run" in text for text in heard.said)
    assert other.polygons == first.polygons
    with pytest.raises(OutputError, match="already"):
        vectorize(spec)
    again = vectorize(replace(spec, append=False, overwrite=True))
    assert again.polygons == first.polygons
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.gpkg", "mask.tif"]


def test_other_settings_are_refused_by_name_unless_it_begins_anew(
    mask: str, probability: str, tmp_path: Path
) -> None:
    spec = _into(VectorizeSpec(mask=mask, output=str(tmp_path / "b.geojson"), min_area_m2=2), "out")
    with pytest.raises(KeyboardInterrupt):
        vectorize(spec, report=_Stop(300))
    for other, told in (
        (replace(spec, min_area_m2=20), "`min_area_m2` was 2, now 20"),
        (replace(spec, regularize=Regularize.NONE), "`regularize` was auto, now none"),
        (replace(spec, classes=("1",)), "`classes` was not given"),
        (replace(spec, probability=probability), "probability"),
    ):
        with pytest.raises(OutputError, match=told) as raised:
            vectorize(other)
        assert "--restart" in str(raised.value)
    os.utime(mask, ns=(1, 1))
    with pytest.raises(OutputError, match="has changed since"):
        vectorize(spec)
    heard = _Stop(10**9)
    vectorize(replace(spec, restart=True), report=heard)
    assert not any("earlier run" in text for text in heard.said)
    whole = _into(spec, "whole")
    vectorize(whole)
    assert Path(spec.output).read_bytes() == Path(whole.output).read_bytes()


def test_what_the_disk_lost_is_drawn_again(mask: str, tmp_path: Path) -> None:
    spec = VectorizeSpec(mask=mask, output=str(tmp_path / "b.geojson"), min_area_m2=2)
    whole, often = _into(spec, "whole"), _into(spec, "often")
    vectorize(whole)
    with pytest.raises(KeyboardInterrupt):
        vectorize(often, report=_Stop(300))
    parts = sorted(parts_folder(Path(often.output)).glob("a*.npz"))
    assert len(parts) > 3
    parts[1].write_bytes(parts[1].read_bytes()[:-7])
    journal = parts_folder(Path(often.output)) / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])
    vectorize(often)
    assert _files(often) == _files(whole)


@pytest.mark.parametrize("suffix", [".geojsonl", ".gpkg"])
@pytest.mark.parametrize("append", [False, True])
def test_stopped_after_the_output_has_appeared(
    mask: str, tmp_path: Path, suffix: str, append: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither in its own way, nor added twice."""
    spec = VectorizeSpec(mask=mask, output=str(tmp_path / f"b{suffix}"), append=append)
    whole, often = _into(spec, "whole"), _into(spec, "often")
    for each in (whole, often)[: 2 * append]:  # to other polygons: the same are not added twice
        vectorize(replace(each, regularize=Regularize.NONE, simplify_m=0.0))
    polygons = vectorize(whole).polygons
    from geotiler.io.work_folder import WorkFolder

    with monkeypatch.context() as patch:

        def killed(folder: WorkFolder) -> None:
            folder.leave()
            if folder.path.suffix == ".parts":  # and part of it is gone already
                (folder.path / "a000000.npz").unlink()
                raise KeyboardInterrupt

        patch.setattr(WorkFolder, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            vectorize(often)
    for left in Path(often.output).parent.glob(".*.part"):
        left.rmdir()
    assert Path(often.output).is_file()
    assert vectorize(often).polygons == polygons
    assert _files(often) == _files(whole)
    if not append:
        with pytest.raises(OutputError, match="exists already"):
            vectorize(often)


def test_a_mark_that_makes_no_sense_is_as_if_it_were_not_there(mask: str, tmp_path: Path) -> None:
    spec = VectorizeSpec(mask=mask, output=str(tmp_path / "b.geojson"), min_area_m2=2)
    whole, often = _into(spec, "whole"), _into(spec, "often")
    vectorize(whole)
    with pytest.raises(KeyboardInterrupt):
        vectorize(often, report=_Stop(300))
    journal = parts_folder(Path(often.output)) / "journal.jsonl"
    first, *lines = journal.read_bytes().splitlines(keepends=True)
    for odd in ({}, {"mark": 3}, {"mark": {"row": "a"}}, {"written": {"b.geojson": [1]}}):
        text = json.dumps(odd).encode() + b"\n"
        journal.write_bytes(b"".join([first, *lines[:2], text, *lines[2:]]))
        with pytest.raises(KeyboardInterrupt):
            vectorize(often, report=_Stop(330))
    vectorize(often)
    assert _files(often) == _files(whole)


def test_two_runs_do_not_write_the_same_file(mask: str, tmp_path: Path) -> None:
    spec = _into(VectorizeSpec(mask=mask, output=str(tmp_path / "b.geojson"), min_area_m2=2), "out")
    folder = hold_parts(Path(spec.output))
    with pytest.raises(OutputError, match="another run"):
        vectorize(spec)
    folder.leave()
    vectorize(spec)
    assert list(_files(spec)) == ["b.geojson", "b.qml"]


def test_a_mask_at_an_address_is_named_without_its_secrets(values: np.ndarray) -> None:
    stream = PolygonStream(WIDTH)
    (outlines,) = list(stream.add_strip(values[:40]))
    nowhere = Ground((1e7, 0, 0, 0, -1e7, 9e9), "EPSG:32633")
    spec = VectorizeSpec(mask="https://me:Tops3cret@host/m.tif?sig=Tops3cret", output="b.fgb")
    with pytest.raises(InputError, match=r"host/m\.tif reaches beyond") as raised:
        sized(outlines, nowhere, spec, fill=True)
    assert "Tops3cret" not in str(raised.value)
