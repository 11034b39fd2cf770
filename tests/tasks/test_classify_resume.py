"""A map whose labelling was stopped goes on where it was, to the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from geotiler.errors import GeotilerError, OutputError
from geotiler.io.parts import hold_parts
from geotiler.models.bundle import Bundle
from geotiler.models.card import ModelCard
from geotiler.progress import Notice
from geotiler.specs import ClassifySpec, RadiometrySpec
from geotiler.tasks import classify as task
from geotiler.tasks import classify_input
from geotiler.tasks.classify import classify

TILE = 64


@dataclass
class Stopping:
    """A classifier that knows a tile by its mean, and ends the run at one of its batches."""

    bundle: Bundle
    last: int | None = None
    calls: int = 0
    batch: int = 3
    name: str = "formula"
    tile_shape: tuple[int, int] = (TILE, TILE)

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.calls += 1
        if self.last is not None and self.calls > self.last:
            raise KeyboardInterrupt
        mean = batch.mean(axis=(1, 2, 3), dtype=np.float64)
        closeness = -np.abs(mean[:, None] - np.linspace(-1, 1, 10)) * 3
        likely = np.exp(closeness)
        return (likely / likely.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def model(make_landuse_card: Callable[..., ModelCard], monkeypatch: pytest.MonkeyPatch) -> Stopping:
    made = Stopping(Bundle(folder=Path("tiny"), card=make_landuse_card(), digest="d" * 64))
    monkeypatch.setattr(classify_input, "find_model", lambda name: made.bundle)
    monkeypatch.setattr(task, "open_classifier", lambda bundle, run: made)
    monkeypatch.setattr(task, "_STORED_CELLS", 1)
    return made


@pytest.fixture
def spec(tmp_path: Path) -> ClassifySpec:
    image = np.random.default_rng(5).integers(1, 256, (3, 10, 5), dtype=np.uint8)
    image = np.kron(image, np.ones((1, 61, 61), np.uint8))
    image[:, 100:230, 70:] = 0
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", count=3, height=610, width=305, nodata=0,
        dtype="uint8", crs="EPSG:32633", transform=Affine(10, 0, 3e5, 0, -10, 5e6), blockysize=16,
    ) as out:  # fmt: skip
        out.write(image)
    (tmp_path / "out").mkdir()
    return ClassifySpec(
        scene=(str(tmp_path / "scene.tif"),),
        output=str(tmp_path / "out" / "map.tif"),
        confidence=tmp_path / "out" / "confidence.tif",
    )


def _files(spec: ClassifySpec) -> dict[str, bytes]:
    """Everything in the output folder, which must be files only."""
    return {path.name: path.read_bytes() for path in Path(spec.output).parent.iterdir()}


def _into(spec: ClassifySpec, folder: Path) -> ClassifySpec:
    folder.mkdir()
    return replace(
        spec, output=str(folder / Path(spec.output).name), confidence=folder / "confidence.tif"
    )


def _stopped(spec: ClassifySpec, model: Stopping, batches: int) -> None:
    model.calls, model.last = 0, batches
    with pytest.raises(KeyboardInterrupt):
        classify(spec)
    model.calls, model.last = 0, None


@pytest.mark.parametrize("name", ["map.tif", "map.geojson", "map.gpkg", "map.parquet"])
@pytest.mark.parametrize("stride", [64, 40])
@pytest.mark.parametrize(
    ("gsd_m", "bounds"),
    [
        (None, None),
        ((25.0, 25.0), None),
        (None, (300_700, 4_994_000, 302_900, 4_999_900)),
        ((25.0, 25.0), (300_700, 4_994_000, 302_900, 4_999_900)),
    ],
)
def test_the_same_command_goes_on_to_the_same_bytes(
    spec: ClassifySpec, model: Stopping, tmp_path: Path, name: str, stride: int,
    gsd_m: tuple[float, float] | None, bounds: tuple[float, float, float, float] | None,
) -> None:  # fmt: skip
    output = str(Path(spec.output).with_name(name))
    spec = replace(spec, output=output, stride_px=stride, gsd_m=gsd_m, insist=True, bounds=bounds)
    whole = _into(spec, tmp_path / "whole")
    uninterrupted = classify(whole)
    calls = model.calls
    for batches in (calls // 4, calls // 3):
        _stopped(spec, model, batches)
        assert not Path(spec.output).exists()
        assert (tmp_path / "out" / f"{name}.cells.parts" / "journal.jsonl").is_file()
    report = classify(spec)
    assert report.resumed_cells > 0
    assert model.calls < calls
    assert _files(spec) == _files(whole)
    assert report.class_cells == uninterrupted.class_cells
    assert report.mean_confidence == uninterrupted.mean_confidence


def test_a_map_of_polygons_goes_on_too(spec: ClassifySpec, model: Stopping, tmp_path: Path) -> None:
    ring = [[300_700, 4_999_900], [302_900, 4_999_000], [301_500, 4_994_000], [300_700, 4_999_900]]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    polygon = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": {}, "geometry": polygon}
    text = json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]})
    (tmp_path / "aoi.geojson").write_text(text)
    spec = replace(spec, aoi=str(tmp_path / "aoi.geojson"), stride_px=40)
    whole = _into(spec, tmp_path / "whole")
    uninterrupted = classify(whole)
    batches = model.calls // 2
    _stopped(spec, model, batches)
    with pytest.raises(OutputError, match="area"):
        classify(replace(spec, aoi=None))
    report = classify(spec)
    assert report.resumed_cells > 0
    assert _files(spec) == _files(whole)
    assert report.class_cells == uninterrupted.class_cells


def test_stopped_before_anything_is_finished_leaves_nothing(
    spec: ClassifySpec, model: Stopping
) -> None:
    _stopped(spec, model, 0)
    assert _files(spec) == {}


def test_other_settings_are_refused_by_name_unless_it_begins_anew(
    spec: ClassifySpec, model: Stopping, tmp_path: Path
) -> None:
    _stopped(spec, model, 6)
    for other, told in (
        (replace(spec, stride_px=32), "`stride_px` was 64, now 32"),
        (replace(spec, radiometry=RadiometrySpec(bands=(3, 2, 1))), "`bands` was 1,2,3, now 3,2,1"),
        (replace(spec, min_valid=0.1), "`min_valid` was 0.5, now 0.1"),
    ):
        with pytest.raises(GeotilerError, match=told) as raised:
            classify(other)
        assert "--restart" in str(raised.value)
    heard: list[str] = []
    other = replace(spec, stride_px=32)
    report = classify(
        replace(other, restart=True),
        report=lambda event: heard.append(event.message) if isinstance(event, Notice) else None,
    )
    assert report.resumed_cells == 0
    assert not any("earlier run" in text for text in heard)
    whole = _into(other, tmp_path / "whole")
    classify(whole)
    assert _files(spec) == _files(whole)


def test_what_the_disk_lost_is_labelled_again(
    spec: ClassifySpec, model: Stopping, tmp_path: Path
) -> None:
    whole = _into(spec, tmp_path / "whole")
    classify(whole)
    _stopped(spec, model, 8)
    parts = sorted((tmp_path / "out" / "map.tif.cells.parts").glob("r*.tif"))
    assert len(parts) > 2
    parts[1].write_bytes(parts[1].read_bytes()[:-7])
    report = classify(spec)
    assert 0 < report.resumed_cells <= 5
    assert _files(spec) == _files(whole)


def test_two_runs_do_not_make_the_same_map(spec: ClassifySpec, model: Stopping) -> None:
    folder = hold_parts(Path(f"{spec.output}.cells"))
    with pytest.raises(OutputError, match="another run"):
        classify(spec)
    folder.leave()
    classify(spec)


@pytest.mark.parametrize("name", ["map.tif", "map.geojson"])
@pytest.mark.parametrize("assembled", [1, 2])
def test_stopped_when_an_output_has_appeared(
    spec: ClassifySpec, model: Stopping, tmp_path: Path, name: str, assembled: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Its own outputs are not in the way of the same command, another's are."""
    spec = replace(spec, output=str(Path(spec.output).with_name(name)), insist=True)
    whole = _into(spec, tmp_path / "whole")
    classify(whole)
    calls = model.calls
    left = [assembled]

    def stopped(function: Callable[..., None]) -> Callable[..., None]:
        def call(*words: object, **named: object) -> None:
            function(*words, **named)
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

        return call

    with monkeypatch.context() as patch:
        patch.setattr(task.Parts, "assemble", stopped(task.Parts.assemble))
        patch.setattr(task, "write_features", stopped(task.write_features))
        with pytest.raises(KeyboardInterrupt):
            classify(spec)
    there = [path for path in (tmp_path / "out").iterdir() if path.suffix == ".tif"]
    there += [path for path in (tmp_path / "out").iterdir() if path.suffix == ".geojson"]
    assert len(there) >= assembled
    model.calls = 0
    classify(spec)
    assert model.calls < calls
    assert _files(spec) == _files(whole)
    with pytest.raises(OutputError, match="exists already"):
        classify(spec)
