"""Progress: drawn on terminals of any width, silent in pipes, lines of JSON when asked for."""

from __future__ import annotations

import io
import json

import pytest

from geotiler.cli import bars
from geotiler.cli.bars import Bars, JsonLines, remaining
from geotiler.progress import (
    Event,
    Notice,
    StageAdvanced,
    StageExpected,
    StageFinished,
    StageStarted,
)

RUN: list[Event] = [
    StageStarted(stage="segment", total=4, unit="window"),
    StageAdvanced(stage="segment", amount=1),
    StageExpected(stage="write", seconds=60),
    StageAdvanced(stage="segment", amount=1),
    Notice(message="look", warning=True),
    StageFinished(stage="segment"),
    StageStarted(stage="write", total=1, unit="file"),
    StageFinished(stage="write"),
]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _drawn(columns: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(
        bars.shutil, "get_terminal_size", lambda: bars.shutil.os.terminal_size((columns, 24))
    )
    terminal = _Terminal()
    shown = Bars(terminal)
    for event in RUN:
        shown(event)
        for bar in shown._bars.values():
            bar.ncols, bar.dynamic_ncols = columns, None
            bar.refresh()
    shown.close()
    return [line for line in terminal.getvalue().replace("\r", "\n").split("\n") if line.strip()]


@pytest.mark.parametrize("columns", [20, 34, 45, 60, 80, 200])
def test_bars_fit_the_terminal_and_always_tell_the_time_left(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [line for line in _drawn(columns, monkeypatch) if "%" in line]
    assert lines
    assert all(len(line.rstrip()) <= columns for line in lines[1:]), lines
    assert all("left" in line for line in lines[1:])
    assert any("window" in line for line in lines) == (columns >= 60)


def test_the_time_left_includes_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n".join(_drawn(80, monkeypatch))
    assert "1:00 left" in text
    assert "warning: look" in text


def test_pipes_hear_notices_only() -> None:
    pipe = io.StringIO()
    shown = Bars(pipe)
    for event in RUN:
        shown(event)
    shown.close()
    assert pipe.getvalue() == "warning: look\n"


def test_json_has_a_line_for_each_event_in_order() -> None:
    stream = io.StringIO()
    lines = JsonLines(stream)
    for event in RUN:
        lines(event)
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in found] == [
        "started", "advanced", "expected", "advanced", "notice", "finished", "started", "finished",
    ]  # fmt: skip
    assert found[0]["total"] == 4
    assert found[4] == {**found[4], "message": "look", "warning": True}
    seconds = [line["elapsed_s"] for line in found]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize(
    ("done", "total", "elapsed_s", "later_s", "told"),
    [
        (0, 10, 5, 3, "--:-- left"),
        (1, None, 5, 3, "--:-- left"),
        (5, 10, 30, 0, "0:30 left"),
        (5, 10, 30, 12, "0:42 left"),
        (10, 10, 30, 0, "0:00 left"),
        (1, 100, 60, 0, "1:39:00 left"),
        (11, 10, 30, 0, "0:00 left"),
    ],
)
def test_time_left_is_the_mean_pace_and_what_follows(
    done: float, total: float | None, elapsed_s: float, later_s: float, told: str
) -> None:
    assert remaining(done, total, elapsed_s, later_s) == told


def test_a_steady_run_never_tells_more_time_than_before() -> None:
    told = [remaining(n, 50, 2.0 * n, 4.0) for n in range(1, 51)]
    seconds = [int(text[:-8]) * 60 + int(text[-7:-5]) for text in told]
    assert seconds == sorted(seconds, reverse=True)
