"""A run that was stopped goes on where it was, to the same bytes; nothing else is mixed in."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geotiler.errors import GeotilerError, InputError, OutputError
from geotiler.models.bundle import Bundle
from geotiler.progress import Event, Kept, Notice, StageAdvanced, StageFinished, StageStarted
from geotiler.specs import Backend, SegmentSpec
from geotiler.tasks import segment_plan
from geotiler.tasks.segment import segment

SHAPE = (420, 170)
KEPT = "run the same command again to go on"


class Listener:
    """Hears a run, and stops it at a moment by raising, as a signal would."""

    def __init__(self, stop: Callable[[Event], bool] = lambda event: False) -> None:
        self._stop = stop
        self._stopped = False
        self.windows = 0
        self.notices: list[str] = []
        self.kept: list[Kept] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.notices.append(event.message)
        if isinstance(event, Kept):
            self.kept.append(event)
        if isinstance(event, StageAdvanced) and event.stage == "segment":
            self.windows += int(event.amount)
        if not self._stopped and self._stop(event):
            self._stopped = True
            raise KeyboardInterrupt


def _at_window(number: int) -> Listener:
    listener = Listener(lambda event: listener.windows >= number)
    return listener


def _when_finished(stage: str) -> Listener:
    return Listener(lambda event: isinstance(event, StageFinished) and event.stage == stage)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "scene.tif"
    image = np.random.default_rng(3).integers(1, 256, (3, *SHAPE), dtype=np.uint8)
    image[:, 30:120, :100] = 0
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=SHAPE[0], width=SHAPE[1], dtype="uint8",
        nodata=0, crs="EPSG:32633", transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6), blockysize=16,
    ) as out:  # fmt: skip
        out.write(image)
    return path


@pytest.fixture
def spec(scene: Path, tiny_bundle: Bundle, tmp_path: Path) -> SegmentSpec:
    (tmp_path / "out").mkdir()
    return SegmentSpec(
        scene=str(scene), output=tmp_path / "out" / "mask.tif", model=str(tiny_bundle.folder),
        tile_px=(64, 96), overlap_px=16, backend=Backend.ONNX, threads=1,
        probability=tmp_path / "out" / "p.tif",
    )  # fmt: skip


def _bytes(spec: SegmentSpec) -> dict[str, bytes]:
    """Everything in the output folder, which must be files only."""
    return {path.name: path.read_bytes() for path in spec.output.parent.iterdir()}


def _expected(spec: SegmentSpec, folder: Path) -> dict[str, bytes]:
    """What an uninterrupted run elsewhere writes."""
    folder.mkdir()
    probability = spec.probability and folder / spec.probability.name
    whole = replace(spec, output=folder / spec.output.name, probability=probability)
    segment(whole)
    return _bytes(whole)


def _stopped(spec: SegmentSpec, listener: Listener) -> None:
    with pytest.raises(KeyboardInterrupt):
        segment(spec, report=listener)


@pytest.mark.parametrize("windows", [1, 9])
@pytest.mark.parametrize("gsd_m", [None, (0.3, 0.8)])
def test_the_same_command_goes_on_to_the_same_bytes(
    spec: SegmentSpec, tmp_path: Path, windows: int, gsd_m: tuple[float, float] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    spec = replace(spec, gsd_m=gsd_m)
    expected = _expected(spec, tmp_path / "whole")
    monkeypatch.setattr(segment_plan, "PANEL_PX", 90)
    interrupted = _at_window(windows)
    _stopped(spec, interrupted)
    left = {path.name for path in spec.output.parent.iterdir()}
    assert left <= {"mask.tif.parts", "p.tif.parts"}
    listener = Listener()
    report = segment(spec, report=listener)
    assert _bytes(spec) == expected
    assert bool(left) == bool(report.resumed_px)
    assert any(KEPT in notice for notice in interrupted.notices) == bool(left)
    assert sum(report.class_px.values()) == SHAPE[0] * SHAPE[1]
    plan = segment_plan.plan_segment(replace(spec, overwrite=True))
    assert report.windows + report.skipped == plan.windows
    assert [event.share > 0 for event in interrupted.kept] == [bool(left)]


def test_only_what_is_missing_is_computed_again(spec: SegmentSpec) -> None:
    plan = segment_plan.plan_segment(spec)
    rows, columns = len(plan.grid.rows), len(plan.grid.cols)
    _stopped(spec, _at_window(6 * columns + 1))  # in the seventh row of windows
    advances: list[float] = []
    listener = Listener()

    def hear(event: Event) -> None:
        listener(event)
        if isinstance(event, StageAdvanced) and event.stage == "segment":
            advances.append(event.amount)

    segment(spec, report=hear)
    halo = 1
    assert sum(advances[1:]) == (rows - 6 + halo) * columns
    assert listener.windows == plan.windows
    assert "%" in listener.notices[0]


def test_stopping_again_and_again_ends_all_the_same(spec: SegmentSpec, tmp_path: Path) -> None:
    expected = _expected(spec, tmp_path / "whole")
    stops = 0
    while True:
        listener = Listener()
        found: list[int] = []

        def hear(event: Event, listener: Listener = listener, found: list[int] = found) -> None:
            listener(event)
            if isinstance(event, StageAdvanced) and event.stage == "segment":
                found.append(1)
                if len(found) == 8:
                    raise KeyboardInterrupt

        try:
            segment(spec, report=hear)
            break
        except KeyboardInterrupt:
            stops += 1
            assert not spec.output.exists()
    assert stops >= 3
    assert _bytes(spec) == expected


@pytest.mark.parametrize("stop", ["segment", "between", "write"])
def test_stopped_while_the_outputs_appear(spec: SegmentSpec, tmp_path: Path, stop: str) -> None:
    """All strips are there, or one output, or both, but not the end of the run."""
    expected = _expected(spec, tmp_path / "whole")
    listener = _when_finished(stop)
    if stop == "between":
        listener = Listener(lambda e: isinstance(e, StageAdvanced) and e.stage == "write")
    _stopped(spec, listener)
    assert (tmp_path / "out" / "mask.tif.parts").is_dir()
    assert spec.output.exists() == (stop == "write")
    again = Listener()
    report = segment(spec, report=again)
    assert report.resumed_px == SHAPE[0] * SHAPE[1]
    assert _bytes(spec) == expected


@pytest.fixture
def at_once(spec: SegmentSpec) -> SegmentSpec:
    """The same scene in one window: no run would go on from a part of it."""
    return replace(spec, tile_px=(448, 192))


@pytest.mark.parametrize("stop", ["window", "segment", "between", "write"])
def test_one_window_stopped_anywhere_ends_in_the_same_bytes(
    at_once: SegmentSpec, tmp_path: Path, stop: str
) -> None:
    expected = _expected(at_once, tmp_path / "whole")
    listener = _at_window(1) if stop == "window" else _when_finished(stop)
    if stop == "between":
        listener = Listener(lambda e: isinstance(e, StageAdvanced) and e.stage == "write")
    _stopped(at_once, listener)
    has_begun = stop in ("between", "write")
    assert bool(list(at_once.output.parent.iterdir())) == has_begun
    assert any("run the same command again" in text for text in listener.notices) == has_begun
    assert [event.share for event in listener.kept] == [0.0]
    report = segment(at_once)
    assert report.resumed_px == 0
    assert _bytes(at_once) == expected


def test_a_stopped_window_gives_no_leave_to_replace(at_once: SegmentSpec) -> None:
    _stopped(at_once, _when_finished("segment"))
    at_once.output.write_text("another's")
    with pytest.raises(OutputError, match="--overwrite"):
        segment(at_once)
    _stopped(replace(at_once, overwrite=True), _when_finished("segment"))
    with pytest.raises(OutputError, match="--overwrite"):
        segment(at_once)
    assert {path.name for path in at_once.output.parent.iterdir()} == {"mask.tif"}
    assert at_once.output.read_text() == "another's"


def test_a_killed_window_gives_no_leave_to_replace_either(
    at_once: SegmentSpec, tmp_path: Path
) -> None:
    """The file that is there has the tags of one that geotiler made, but pixels of somebody's."""
    segment(at_once)
    with rasterio.open(at_once.output, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as mask:
        mask.write(np.full((1, 9, 9), 1, np.uint8), window=((0, 9), (0, 9)))
    edited = at_once.output.read_bytes()
    folder = tmp_path / "out" / "mask.tif.parts"

    def kill(event: Event) -> bool:
        if isinstance(event, StageFinished) and event.stage == "segment":
            shutil.copytree(folder, tmp_path / "left")  # what SIGKILL would leave
            return True
        return False

    _stopped(replace(at_once, overwrite=True), Listener(kill))
    shutil.copytree(tmp_path / "left", folder)
    for path in (folder / "lock", folder / "owner.json"):
        path.unlink(missing_ok=True)
    with pytest.raises(OutputError, match="--overwrite"):
        segment(at_once)
    assert at_once.output.read_bytes() == edited
    segment(replace(at_once, overwrite=True))
    assert at_once.output.read_bytes() != edited


def test_one_window_waits_for_the_disk_once_for_each_output(
    at_once: SegmentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many small scenes, waiting would be half of the time."""
    waited: list[int] = []
    wait = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (waited.append(1), wait(file)))
    segment(at_once)
    assert len(waited) == len({"mask.tif", "p.tif"})


def test_killed_while_it_tidied_up(spec: SegmentSpec, tmp_path: Path) -> None:
    _stopped(spec, _when_finished("write"))
    written = spec.output.read_bytes()
    with (tmp_path / "out" / "mask.tif.parts" / "journal.jsonl").open("a") as journal:
        journal.write('{"assembled": true}\n')
    shutil.rmtree(tmp_path / "out" / "p.tif.parts")
    listener = Listener()
    report = segment(spec, report=listener)
    assert sum(report.class_px.values()) == report.resumed_px == SHAPE[0] * SHAPE[1]
    assert spec.output.read_bytes() == written
    assert _bytes(spec).keys() == {"mask.tif", "mask.qml", "p.tif", "p.qml"}


def test_an_output_that_is_not_ours_is_not_replaced_on_going_on(spec: SegmentSpec) -> None:
    _stopped(spec, _when_finished("segment"))
    spec.output.write_text("another's")
    with pytest.raises(OutputError, match="--overwrite"):
        segment(spec)
    assert spec.output.read_text() == "another's"
    spec.output.unlink()
    segment(spec)


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "threshold": ({"threshold": 0.25}, "`threshold` was 0.5, now 0.25"),
    "tile": ({"tile_px": (96, 96)}, "`tile_px` was 64,96, now 96"),
    "overlap": ({"overlap_px": 32}, "`overlap_px` was 16, now 32"),
    "bands": ({"bands": (3, 2, 1)}, "`bands` was 1,2,3, now 3,2,1"),
    "batch": ({"batch": 2}, "`batch` was 1, now 2"),
    "backend": ({"backend": Backend.OPENVINO}, "`backend` was onnx"),
    "probability": ({"probability": None}, "`probability` was .*p.tif.* now not given"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_other_settings_are_not_mixed_in(spec: SegmentSpec, tmp_path: Path, kind: str) -> None:
    changes, reason = CHANGES[kind]
    _stopped(spec, _at_window(9))
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    other = replace(spec, **changes)
    with pytest.raises(OutputError, match=reason) as caught:
        segment(other)
    assert "--restart" in str(caught.value)
    assert {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == before
    expected = _expected(other, tmp_path / "whole")
    assert segment(replace(other, restart=True)).resumed_px == 0
    assert _bytes(other) == expected


def test_another_scene_of_the_name_is_another_scene(spec: SegmentSpec, scene: Path) -> None:
    _stopped(spec, _at_window(9))
    os.utime(scene, ns=(1, 1))
    with pytest.raises(OutputError, match=r"scene .* has changed since"):
        segment(spec)
    with rasterio.open(scene, "r+") as file:
        file.nodata = 3
    with pytest.raises(OutputError, match="scene"):
        segment(spec)


def test_by_content_a_moved_scene_is_the_same_and_a_changed_one_is_not(
    spec: SegmentSpec, scene: Path, tmp_path: Path
) -> None:
    spec = replace(spec, hash_content=True)
    _stopped(spec, _at_window(9))
    moved = tmp_path / "elsewhere.tif"
    scene.rename(moved)
    os.utime(moved, ns=(1, 1))
    spec = replace(spec, scene=str(moved))
    changed = moved.with_name("changed.tif")
    shutil.copy(moved, changed)
    with rasterio.open(changed, "r+") as file:
        file.write(np.full((1, 1), 77, np.uint8), 1, window=((5, 6), (5, 6)))
    with pytest.raises(OutputError, match="sha256"):
        segment(replace(spec, scene=str(changed)))
    assert segment(spec).resumed_px > 0


def test_a_torn_journal_costs_only_what_it_lost(spec: SegmentSpec, tmp_path: Path) -> None:
    expected = _expected(spec, tmp_path / "whole")
    _stopped(spec, _at_window(13))
    kept = tmp_path / "kept"
    shutil.copytree(spec.output.parent, kept)
    journal = spec.output.parent / "mask.tif.parts" / "journal.jsonl"
    size = journal.stat().st_size
    lines = journal.read_bytes().splitlines(keepends=True)
    found = []
    for length in [*range(size, 0, -size // 5), size - len(lines[-1]), len(lines[0]), 0]:
        shutil.rmtree(spec.output.parent)
        shutil.copytree(kept, spec.output.parent)
        os.truncate(journal, length)
        found.append(segment(spec).resumed_px)
        assert _bytes(spec) == expected
    assert found[0] > found[-3] > found[-1] == 0


@pytest.mark.parametrize("name", ["mask.tif.parts", "p.tif.parts"])
@pytest.mark.parametrize("damage", ["removed", "shorter", "changed"])
def test_a_damaged_part_is_made_again(
    spec: SegmentSpec, tmp_path: Path, name: str, damage: str
) -> None:
    expected = _expected(spec, tmp_path / "whole")
    _stopped(spec, _at_window(13))
    first = min((spec.output.parent / name).glob("r*.tif"))
    content = bytearray(first.read_bytes())
    content[-3] ^= 255
    if damage == "removed":
        first.unlink()
    else:
        first.write_bytes(content[:-1] if damage == "shorter" else content)
    assert 0 < segment(spec).resumed_px < SHAPE[0] * SHAPE[1]
    assert _bytes(spec) == expected


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(data=st.data())
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_journal_says_the_result_is_right_or_refused(
    spec: SegmentSpec, tmp_path: Path, data: st.DataObject
) -> None:
    """A journal is input, too: lines are exchanged, changed in one value, or anything at all."""
    kept, whole = tmp_path / "kept", tmp_path / "whole"
    journal = spec.output.parent / "mask.tif.parts" / "journal.jsonl"
    if not kept.exists():
        _expected(spec, whole)
        _stopped(spec, _at_window(13))
        shutil.copytree(spec.output.parent, kept)
    shutil.rmtree(spec.output.parent)
    shutil.copytree(kept, spec.output.parent)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    number = data.draw(st.integers(0, len(lines) - 1))
    where = lines[number]
    while isinstance(where, dict) and where:
        key = data.draw(st.sampled_from(sorted(where)))
        if isinstance(where[key], dict) and data.draw(st.booleans()):
            where = where[key]
            continue
        where[key] = data.draw(_JSON)
        break
    order = data.draw(st.permutations(lines[1:]))
    journal.write_text("".join(json.dumps(line) + "\n" for line in [lines[0], *order]))
    try:
        segment(spec)
    except OutputError:  # whose hint is followed
        segment(replace(spec, restart=True))
    with rasterio.open(whole / "mask.tif") as wanted, rasterio.open(spec.output) as found:
        np.testing.assert_array_equal(found.read(), wanted.read())


def test_a_second_run_on_the_same_output_is_refused(spec: SegmentSpec, tmp_path: Path) -> None:
    expected = _expected(spec, tmp_path / "whole")
    errors: list[GeotilerError] = []

    def second(event: Event) -> None:
        if isinstance(event, StageAdvanced) and event.stage == "segment" and len(errors) < 2:
            for other in (spec, replace(spec, output=tmp_path / "out" / "other.tif")):
                with pytest.raises(OutputError, match="another run") as caught:
                    segment(other)
                errors.append(caught.value)

    segment(spec, report=second)
    assert f"process {os.getpid()}" in str(errors[0])
    assert _bytes(spec) == expected


def test_a_lock_that_was_left_holds_nobody(spec: SegmentSpec, tmp_path: Path) -> None:
    """As after a kill -9: the files are there, the process is not."""
    expected = _expected(spec, tmp_path / "whole")
    _stopped(spec, _at_window(9))
    folder = tmp_path / "out" / "mask.tif.parts"
    (folder / "lock").write_text("")
    (folder / "owner.json").write_text('{"process": 1, "host": "elsewhere"}')
    left = tmp_path / "out" / ".mask.tif.part"
    left.mkdir()
    (left / "mask.tif").write_text("half")
    segment(spec)
    assert _bytes(spec) == expected


def test_a_read_error_in_the_middle_keeps_what_is_finished(
    spec: SegmentSpec, scene: Path, tmp_path: Path
) -> None:
    """A virtual scene whose lower part is damaged, and then mended without being changed."""
    good = scene.read_bytes()
    virtual = tmp_path / "scene.vrt"
    rasterio.shutil.copy(scene, virtual, driver="VRT")
    spec = replace(spec, scene=str(virtual))
    expected = _expected(spec, tmp_path / "whole")
    status = scene.stat()
    os.truncate(scene, len(good) * 2 // 3)
    listener = Listener()
    with pytest.raises(InputError, match=r"rows \d+ to \d+"):
        segment(spec, report=listener)
    assert not spec.output.exists()
    assert (tmp_path / "out" / "mask.tif.parts").is_dir()
    assert any(KEPT in notice for notice in listener.notices)
    scene.write_bytes(good)
    os.utime(scene, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(
        OutputError, match=r"scene .* has changed since"
    ):  # it has another size again
        segment(spec)
    segment(replace(spec, restart=True))
    assert _bytes(spec) == expected


@pytest.mark.parametrize("free_bytes", [0, 60_000])
def test_a_full_disk_keeps_what_is_finished(
    spec: SegmentSpec, tmp_path: Path, disk_of: Callable[[int], Path], free_bytes: int
) -> None:
    small_disk = disk_of(8_000_000)
    expected = _expected(replace(spec, probability_dtype="float32"), tmp_path / "whole")
    spec = replace(
        spec, output=small_disk / "mask.tif", probability=small_disk / "p.tif",
        probability_dtype="float32",
    )  # fmt: skip
    filler = small_disk / "filler"

    def fill(event: Event) -> None:
        if isinstance(event, StageAdvanced) and event.stage == "segment" and not filler.exists():
            available = shutil.disk_usage(small_disk).free
            filler.write_bytes(bytes(max(0, available - free_bytes)))

    with pytest.raises(OutputError, match="cannot be"):
        segment(spec, report=fill)
    assert not spec.output.exists()
    assert not (small_disk / "p.tif").exists() or _bytes(spec)["p.tif"] == expected["p.tif"]
    filler.unlink()
    segment(spec)
    assert _bytes(spec) == expected


def test_stage_totals_hold_on_going_on(spec: SegmentSpec) -> None:
    _stopped(spec, _at_window(9))
    events: list[Event] = []
    segment(spec, report=events.append)
    (total,) = (e.total for e in events if isinstance(e, StageStarted) and e.stage == "segment")
    done = sum(e.amount for e in events if isinstance(e, StageAdvanced) and e.stage == "segment")
    assert total == done
