"""A journal tells what was finished, and nothing that was not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geotiler.errors import OutputError
from geotiler.io.journal import Journal

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
LINES = st.lists(st.dictionaries(st.text(), VALUES, max_size=3), max_size=5)


@given(made_from=st.dictionaries(st.text(), VALUES, max_size=3), lines=LINES, cut=st.integers(0))
def test_a_prefix_of_the_file_is_a_prefix_of_the_work(
    tmp_path_factory: pytest.TempPathFactory,
    made_from: dict[str, Any],
    lines: list[dict[str, Any]],
    cut: int,
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    journal = Journal(path)
    assert journal.read() == (None, [])
    journal.begin(made_from, lines[:2])
    for line in lines[2:]:
        journal.append(line)
    assert journal.read() == (made_from, lines)
    content = path.read_bytes()
    path.write_bytes(content[: cut % (len(content) + 1)])
    before, found = journal.read()
    assert before in (made_from, None)
    assert found == lines[: len(found)]
    assert len(found) >= path.read_bytes().count(b"\n") - 1


@given(content=st.binary(max_size=200))
def test_anything_else_is_no_journal(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    path.write_bytes(content)
    assert Journal(path).read() == (None, [])
    path.write_bytes(b'{"journal": 1, "made_from": {}}\n' + content)
    assert Journal(path).read()[0] == {}


def test_deep_nesting_is_no_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"[" * 1_000_000 + b"\n")
    assert Journal(path).read() == (None, [])


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="run the same command again"):
        Journal(tmp_path / "none" / "journal.jsonl").append({})
    if Path("/dev/full").exists():
        with pytest.raises(OutputError, match="No space left"):
            Journal(Path("/dev/full")).append({})
