"""The folder of a data set: what was finished is found again, what is not geotiler's is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from geotiler.errors import OutputError
from geotiler.io.chip_folder import DESCRIPTION, JOURNAL, ChipFolder, ChipRecord, RowRecord

MADE_FROM = {"settings": {"tile_px": (64, 64)}, "scenes": ["a.tif"]}


def chip(name: str) -> ChipRecord:
    return ChipRecord(
        name=name, scene=0, row=0, col=0, height=64, width=64, block=(0, 1), valid_px=4096,
        labelled_px=4000, class_px={1: 7},
    )  # fmt: skip


def row(number: int, folder: ChipFolder) -> RowRecord:
    """A row of one chip whose files are there."""
    record = chip(f"s_r{number:06d}_c000000")
    for path in (folder.image(record.name), folder.mask(record.name)):
        path.write_bytes(b"chip")
    return RowRecord(scene=0, panel=0, row=number, chips=[record], left_out={"nodata": 2})


@pytest.fixture
def begun(tmp_path: Path) -> ChipFolder:
    folder = ChipFolder(tmp_path / "set", has_masks=True)
    folder.begin(MADE_FROM, folder.check(MADE_FROM, overwrite=False))
    return folder


def test_finished_rows_are_found_again_as_they_were(begun: ChipFolder) -> None:
    rows = [row(0, begun), row(64, begun)]
    for each in rows:
        begun.finish_row(each)
    assert begun.check(MADE_FROM, overwrite=False).rows == rows


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_journal_cut_off_anywhere_keeps_the_rows_before(begun: ChipFolder, cut: int) -> None:
    rows = [row(0, begun), row(64, begun)]
    for each in rows:
        begun.finish_row(each)
    journal = begun.root / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-cut])
    opened = begun.check(MADE_FROM, overwrite=False)
    assert opened.rows == (rows if cut == 1 else rows[:1])  # 1 is the line's end only
    begun.begin(MADE_FROM, opened)
    assert begun.check(MADE_FROM, overwrite=False).rows == opened.rows


def test_a_row_whose_files_are_gone_is_not_finished(begun: ChipFolder) -> None:
    first, second = row(0, begun), row(64, begun)
    for each in (first, second):
        begun.finish_row(each)
    begun.mask(first.chips[0].name).unlink()
    assert begun.check(MADE_FROM, overwrite=False).rows == [second]


def test_other_settings_are_named(begun: ChipFolder) -> None:
    begun.finish_row(row(0, begun))
    other = {**MADE_FROM, "settings": {"tile_px": (64, 32)}}
    with pytest.raises(OutputError, match=r"`tile_px` was 64, now 64,32.*--restart"):
        begun.check(other, overwrite=False)
    assert begun.check(other, overwrite=True).rows == []


def test_complete_means_described_and_leaves_no_journal(begun: ChipFolder) -> None:
    begun.finish_row(row(0, begun))
    (begun.root / "images" / ".x_r000000_c000000.tif.part").write_bytes(b"half")
    begun.finish({"made_from": MADE_FROM, "chips": 1})
    assert not (begun.root / JOURNAL).exists()
    assert not list(begun.root.rglob("*.part"))
    opened = begun.check(MADE_FROM, overwrite=False)
    assert opened.finished == json.loads((begun.root / DESCRIPTION).read_text())


def test_clearing_takes_what_geotiler_wrote_and_nothing_else(begun: ChipFolder) -> None:
    begun.finish_row(row(0, begun))
    begun.write_list("train", ["s_r000000_c000000"])
    mine = [begun.root / "notes.txt", begun.root / "images" / "mine.tif"]
    for path in mine:
        path.write_text("mine")
    begun.abandon()
    assert sorted(p for p in begun.root.rglob("*") if p.is_file()) == sorted(mine)
    for path in mine:
        path.unlink()
    (begun.root / "images").rmdir()
    begun.abandon()
    assert not begun.root.exists()


def test_lists_are_read_back(begun: ChipFolder) -> None:
    begun.write_list("train", ["a", "b"])
    begun.write_list("test", ["c"])
    assert begun.listed() == ["a", "b", "c"]
    assert not begun.is_complete(["a"])
