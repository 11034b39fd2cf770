from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from numpy.testing import assert_array_equal
from pyproj import Transformer
from rasterio.features import rasterize

from geotiler.core.synthetic import SyntheticScene
from geotiler.errors import OutputError, SpecError
from geotiler.progress import Event, StageAdvanced, StageStarted
from geotiler.specs import RenderSpec, Window
from geotiler.tasks.render import RenderReport, render

HEIGHT, WIDTH, SEED = 560, 610, 3
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "render_scene.py"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[RenderReport, list[Event]]:
    folder = tmp_path_factory.mktemp("render")
    spec = RenderSpec(
        output=folder / "scene.tif",
        truth=folder / "truth.geojson",
        height=HEIGHT,
        width=WIDTH,
        seed=SEED,
    )
    events: list[Event] = []
    return render(spec, report=events.append), events


def test_the_file_holds_the_scene(rendered: tuple[RenderReport, list[Event]]) -> None:
    scene = SyntheticScene(seed=SEED, height=HEIGHT, width=WIDTH)
    rgb, _, valid = scene.render(Window(row=0, col=0, height=HEIGHT, width=WIDTH))
    with rasterio.open(rendered[0].output) as dataset:
        assert_array_equal(dataset.read(), rgb)
        assert_array_equal(dataset.dataset_mask() > 0, valid)
        assert dataset.crs.to_epsg() == 32632
        assert dataset.res == (0.5, 0.5)
        assert dataset.block_shapes[0] == (512, 512)
        assert dataset.nodata is None
    assert {path.name for path in rendered[0].output.parent.iterdir()} == {
        "scene.tif",
        "truth.geojson",
    }


def test_the_truth_lies_on_the_buildings(rendered: tuple[RenderReport, list[Event]]) -> None:
    """Back through longitude and latitude; 7 digits are a centimetre, hence 1 in 1,000."""
    result, _ = rendered
    assert result.truth is not None
    features = json.loads(result.truth.read_text())["features"]
    assert len(features) == result.footprints > 0
    outlines = [shapely.geometry.shape(feature["geometry"]) for feature in features]
    assert shapely.is_valid(outlines).all()
    assert all(outline.exterior.is_ccw for outline in outlines)
    assert {feature["properties"]["class"] for feature in features} == {"building"}
    back = Transformer.from_crs("OGC:CRS84", "EPSG:32632", always_xy=True)
    placed = shapely.transform(
        np.array(outlines, dtype=object), lambda p: np.column_stack(back.transform(*p.T))
    )
    scene = SyntheticScene(seed=SEED, height=HEIGHT, width=WIDTH)
    _, footprints, valid = scene.render(Window(row=0, col=0, height=HEIGHT, width=WIDTH))
    with rasterio.open(result.output) as dataset:
        burnt = rasterize(list(placed), dataset.shape, transform=dataset.transform, dtype="uint8")
    assert np.count_nonzero(burnt.astype(bool) != footprints) <= 1e-3 * footprints.size
    assert result.building_share == pytest.approx(footprints.sum() / valid.sum())
    assert result.valid_share == pytest.approx(valid.mean())


def test_the_events_add_up(rendered: tuple[RenderReport, list[Event]]) -> None:
    started = [event for event in rendered[1] if isinstance(event, StageStarted)]
    done = sum(event.amount for event in rendered[1] if isinstance(event, StageAdvanced))
    assert [event.total for event in started] == pytest.approx([done])


def test_the_same_command_writes_the_same_bytes(
    rendered: tuple[RenderReport, list[Event]], tmp_path: Path
) -> None:
    first = rendered[0]
    truth = tmp_path / "t.geojson"
    again = render(
        RenderSpec(output=tmp_path / "s.tif", truth=truth, height=HEIGHT, width=WIDTH, seed=SEED)
    )
    assert again.output.read_bytes() == first.output.read_bytes()
    assert first.truth is not None
    assert truth.read_bytes() == first.truth.read_bytes()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 300), (513, 40)])
def test_any_size_works(tmp_path: Path, height: int, width: int) -> None:
    result = render(RenderSpec(output=tmp_path / "s.tif", height=height, width=width))
    with rasterio.open(result.output) as dataset:
        assert dataset.shape == (height, width)
        assert_array_equal(dataset.dataset_mask() > 0, (dataset.read() != 0).any(axis=0))


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    truth = tmp_path / "t.geojson"
    truth.write_text("precious")
    spec = RenderSpec(output=tmp_path / "s.tif", truth=truth, height=40, width=40)
    with pytest.raises(OutputError, match="exists"):
        render(spec)
    assert truth.read_text() == "precious"
    assert not spec.output.exists()


def test_a_truth_of_no_format_is_refused_before_anything_is_rendered(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="vector format"):
        render(RenderSpec(output=tmp_path / "s.tif", truth=tmp_path / "t.txt"))
    assert not list(tmp_path.iterdir())


def test_the_example_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(EXAMPLE))["main"]
    command = [str(tmp_path / "scene.tif"), "--truth", str(tmp_path / "truth.geojson")]
    command += ["--height", "90", "--width", "120", "--gsd", "0.6", "--seed", "5"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["width"] == 120
    assert main(command) == OutputError.exit_code
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0


@pytest.mark.parametrize("name", ["scene.png", "scene.gpkg", "scene"])
def test_a_scene_is_a_geotiff_and_named_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError, match=r"\.tif"):
        render(RenderSpec(output=tmp_path / name, height=20, width=20))
    assert not list(tmp_path.iterdir())
