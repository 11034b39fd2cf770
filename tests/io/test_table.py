"""Tables and pictures: whole or absent, and nothing in place of what is not known."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from geotiler.errors import OutputError
from geotiler.io.table import write_csv, write_whole


def test_a_table_is_read_back(tmp_path: Path) -> None:
    rows = [{"scene": "a, b.tif", "iou": 0.1 + 0.2}, {"scene": 'the "old" one', "iou": None}]
    write_csv(tmp_path / "t.csv", rows)
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as text:
        back = list(csv.DictReader(text))
    assert [row["scene"] for row in back] == [row["scene"] for row in rows]
    assert float(back[0]["iou"]) == rows[0]["iou"]
    assert back[1]["iou"] == ""


def test_nothing_is_overwritten_unasked_or_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        write_whole(path, b"other")
    real = Path.write_bytes

    def full(target: Path, data: bytes) -> int:
        real(target, data[:2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(OutputError, match="No space left"):
            write_whole(path, b"other", overwrite=True)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]
    write_whole(path, b"other", overwrite=True)
    assert path.read_bytes() == b"other"
