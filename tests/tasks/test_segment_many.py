"""Many scenes: each as if alone, one model for all, and a bad one stops no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from geotiler.cli.scenes import named_scenes
from geotiler.errors import DeviceError, GeotilerError, InputError, SpecError
from geotiler.progress import StageAdvanced
from geotiler.specs import Precision, SegmentSpec
from geotiler.tasks.segment import estimate, segment
from geotiler.tasks.segment_many import estimate_many, named_outputs, segment_many


def _scene(path: Path, seed: int, shape: tuple[int, int] = (150, 170)) -> str:
    image = np.random.default_rng(seed).integers(0, 256, (3, *shape), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=shape[0], width=shape[1], dtype="uint8",
        crs="EPSG:32633", transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6),
    ) as out:  # fmt: skip
        out.write(image)
    return str(path)


@pytest.fixture
def scenes(tmp_path: Path) -> list[str]:
    (tmp_path / "out").mkdir()
    return [_scene(tmp_path / f"s {i}.tif", i, (150 + 64 * (i == 2), 170)) for i in range(4)]


@pytest.fixture
def spec(tmp_path: Path) -> SegmentSpec:
    return SegmentSpec(scene="", output=tmp_path / "out", model="tiny", overlap_px=16)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_each_is_as_if_it_were_alone(
    use_model: Callable[..., Any], scenes: list[str], spec: SegmentSpec, tmp_path: Path
) -> None:
    model = use_model()
    specs = named_outputs(replace(spec, probability=tmp_path / "out"), scenes)
    report = segment_many(specs)
    json.dumps(report.as_dict(), allow_nan=False)
    assert (report.done, report.failed, report.exit_code) == (4, 0, 0)
    assert model.opened == 3  # the third scene has another shape, and so another tile
    found = _files(tmp_path / "out")
    assert {"s_0_mask.tif", "s_0_probability.tif"} <= found.keys()
    (tmp_path / "alone").mkdir()
    for one in named_outputs(replace(spec, output=tmp_path / "alone"), scenes):
        segment(one)
        assert found[one.output.name] == one.output.read_bytes()


def test_a_bad_one_is_told_at_the_end_and_what_is_done_stays(
    use_model: Callable[..., Any], scenes: list[str], spec: SegmentSpec, tmp_path: Path
) -> None:
    model = use_model()
    Path(scenes[1]).write_bytes(Path(scenes[1]).read_bytes()[:3000])
    missing = str(tmp_path / "none.tif")
    specs = named_outputs(spec, [*scenes[:2], missing, scenes[3]])
    report = segment_many(specs)
    statuses = [item.status for item in report.scenes]
    assert statuses == ["done", "failed", "failed", "done"]
    assert report.exit_code == 3
    assert "no such file" in (report.scenes[2].error or "")
    done = _files(tmp_path / "out")
    calls = model.calls
    again = segment_many([item for item in specs if item.scene != specs[1].scene])
    assert (again.done_before, again.failed) == (2, 1)
    assert model.calls == calls
    assert _files(tmp_path / "out") == done


def test_another_precision_is_another_setting(
    use_model: Callable[..., Any], scenes: list[str], spec: SegmentSpec
) -> None:
    use_model()
    (auto,) = named_outputs(replace(spec, device="cpu"), scenes[:1])
    segment_many([auto])
    with rasterio.open(auto.output) as mask:
        assert json.loads(mask.tags()["GEOTILER_SETTINGS"])["precision"] == "float32"
    # What a CPU computes in, whether asked for or not: the same bytes.
    before = auto.output.read_bytes()
    same = replace(auto, precision=Precision.FLOAT32)
    assert segment_many([same]).done_before == 1
    assert segment_many([replace(same, overwrite=True)]).done == 1
    assert auto.output.read_bytes() == before
    report = segment_many([replace(auto, precision=Precision.FLOAT16)])  # as a GPU's
    assert (report.done_before, report.failed) == (0, 1)
    assert "exists already" in (report.scenes[0].error or "")


def test_an_output_that_was_made_before_precisions_were_told_is_finished(
    use_model: Callable[..., Any], scenes: list[str], spec: SegmentSpec
) -> None:
    use_model()
    (one,) = named_outputs(replace(spec, device="cpu"), scenes[:1])
    segment_many([one])
    with rasterio.open(one.output, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as mask:
        told = json.loads(mask.tags()["GEOTILER_SETTINGS"])
        del told["precision"]
        mask.update_tags(GEOTILER_SETTINGS=json.dumps(told, sort_keys=True))
    assert segment_many([one]).done_before == 1
    # Then a precision was told if it was asked for.
    assert segment_many([replace(one, precision=Precision.FLOAT32)]).failed == 1
    with rasterio.open(one.output, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as mask:
        del told["overlap_px"]
        mask.update_tags(GEOTILER_SETTINGS=json.dumps(told, sort_keys=True))
    assert segment_many([one]).failed == 1


def test_an_output_of_other_settings_is_no_finished_one(
    use_model: Callable[..., Any], scenes: list[str], spec: SegmentSpec, tmp_path: Path
) -> None:
    use_model()
    segment_many(named_outputs(spec, scenes[:2]))
    other = named_outputs(replace(spec, threshold=0.25), scenes[:3])
    report = segment_many(other)
    assert [item.status for item in report.scenes] == ["failed", "failed", "done"]
    assert "--overwrite" in (report.scenes[0].error or "")
    report = segment_many([replace(item, overwrite=True) for item in other])
    assert report.done == 3


def test_an_interrupted_one_is_gone_on_with(
    use_model: Callable[..., Any], scenes: list[str], spec: SegmentSpec, tmp_path: Path
) -> None:
    use_model()
    specs = named_outputs(replace(spec, tile_px=(64, 64)), scenes)
    heard: list[float] = []

    def stop(event: Any) -> None:
        if isinstance(event, StageAdvanced) and event.stage == "segment":
            heard.append(event.amount)
            if len(heard) == 20:  # in the second scene
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_many(specs, report=stop)
    report = segment_many(specs)
    assert report.done_before + report.done == 4
    assert report.done_before >= 1
    assert any(item.report and item.report.resumed_px for item in report.scenes)
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".tif", ".qml"}


def test_what_no_scene_can_do_without_ends_it(
    use_model: Callable[..., Any], scenes: list[str], spec: SegmentSpec
) -> None:
    def failing(batch: Any) -> Any:
        raise DeviceError("no memory")

    use_model(failing)
    with pytest.raises(DeviceError):
        segment_many(named_outputs(spec, scenes))


def test_scenes_beside_the_area_are_left_out(
    use_model: Callable[..., Any], scenes: list[str], spec: SegmentSpec
) -> None:
    use_model()
    bounds = (5e5, 5e6 - 100, 5e5 + 10, 5e6 - 90)  # below the short scenes
    report = segment_many(named_outputs(replace(spec, bounds=bounds), scenes))
    assert [item.status for item in report.scenes] == ["outside", "outside", "done", "outside"]
    assert report.exit_code == 0


def test_two_scenes_of_one_name_are_refused(
    use_model: Callable[..., Any], scenes: list[str], spec: SegmentSpec, tmp_path: Path
) -> None:
    use_model()
    (tmp_path / "other").mkdir()
    twin = _scene(tmp_path / "other" / "s 0.tif", 9)
    with pytest.raises(SpecError, match="both be written"):
        segment_many(named_outputs(spec, [*scenes, twin]))


def test_names_patterns_and_lists(
    scenes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert named_scenes(["s ?.tif"], None) == [f"s {i}.tif" for i in range(4)]
    assert named_scenes(["s 2.tif", "*.tif"], None)[0] == "s 2.tif"
    assert len(named_scenes(["s 2.tif", "*.tif"], None)) == 4
    (tmp_path / "a[1].tif").write_text("")
    assert named_scenes(["a[1].tif"], None) == ["a[1].tif"]  # a file that is called so
    assert named_scenes(["https://a.b/c?d=*"], None) == ["https://a.b/c?d=*"]
    listed = tmp_path / "list.txt"
    listed.write_text("\ufeff# two\n\n s 1.tif \ns [23].tif\n", encoding="utf-8")
    assert named_scenes([], listed) == ["s 1.tif", "s 2.tif", "s 3.tif"]


@pytest.mark.parametrize("content", [b"", b"# none\n", b"\xff\xfe\x00", None])
def test_lists_that_are_none(tmp_path: Path, content: bytes | None) -> None:
    listed = tmp_path / "list.txt"
    if content is not None:
        listed.write_bytes(content)
    with pytest.raises(InputError, match=r"list\.txt"):
        named_scenes([], listed)


def test_nothing_named_and_nothing_matched() -> None:
    with pytest.raises(SpecError, match="no scene"):
        named_scenes([], None)
    error: type[GeotilerError] = InputError
    with pytest.raises(error, match="no file matches"):
        named_scenes(["none-*.tif"], None)


def test_a_dry_run_plans_each_scene_and_adds_up(
    use_model: Callable[..., Any], scenes: list[str], spec: SegmentSpec, tmp_path: Path
) -> None:
    use_model()
    segment_many(named_outputs(spec, scenes[:1]))
    before = _files(tmp_path / "out")
    missing = str(tmp_path / "none.tif")
    found = estimate_many(named_outputs(spec, [*scenes[:3], missing]))
    json.dumps(found.as_dict(), allow_nan=False)
    assert [item.status for item in found.scenes] == ["done before", "to do", "to do", "failed"]
    assert (found.to_do, found.done_before, found.failed, found.exit_code) == (2, 1, 1, 3)
    plans = [item.estimate for item in found.scenes if item.estimate]
    alone = [estimate(one) for one in named_outputs(spec, scenes[1:3])]
    assert [plan.windows for plan in plans] == [each.windows for each in alone]
    assert found.windows == sum(each.windows for each in alone)
    assert found.seconds == pytest.approx(sum(plan.seconds for plan in plans), abs=1e-3)
    assert found.memory_bytes == max(plan.memory_bytes for plan in plans)
    assert _files(tmp_path / "out") == before


def test_a_dry_run_does_not_ask_for_the_folder_that_a_run_makes(
    use_model: Callable[..., Any], scenes: list[str], spec: SegmentSpec, tmp_path: Path
) -> None:
    use_model()
    later = replace(spec, output=tmp_path / "later")
    assert estimate_many(named_outputs(later, scenes[:1])).to_do == 1
    assert not later.output.exists()
    # Each target for itself: one folder is there, the other one is made.
    for both in (
        replace(spec, probability=tmp_path / "p"),
        replace(later, probability=tmp_path / "out"),
    ):
        found = estimate_many(named_outputs(both, scenes[:1]))
        assert (found.to_do, found.exit_code) == (1, 0), found.scenes
    assert not (tmp_path / "p").exists()
    (tmp_path / "out" / "s_0_mask.tif").write_bytes(b"somebody's")
    found = estimate_many(named_outputs(replace(spec, probability=tmp_path / "p"), scenes[:1]))
    assert "exists already" in (found.scenes[0].error or "")
