"""Progress on stderr: one bar per stage on a terminal, JSON lines for programs."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from dataclasses import asdict
from typing import Any, TextIO

from geotiler.progress import (
    Event,
    Kept,
    Notice,
    StageAdvanced,
    StageExpected,
    StageFinished,
    StageStarted,
)

_NARROW, _TINY = 60, 34
"""Columns below which a bar leaves out its rate, and then the bar itself."""

_KINDS = {
    StageStarted: "started",
    StageAdvanced: "advanced",
    StageFinished: "finished",
    StageExpected: "expected",
    Notice: "notice",
    Kept: "kept",
}


class Bars:
    """One bar per stage, with the rate and the time that all stages together still take."""

    def __init__(self, stream: TextIO) -> None:
        """Args: stream: bars are drawn only if it is a terminal; notices always."""
        self._stream = stream
        self._shown = stream.isatty()
        self._bars: dict[str, Any] = {}
        self._expected_s: dict[str, float] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Show an event; any thread may call."""
        with self._lock:
            if isinstance(event, Notice):
                self._say(event)
            elif isinstance(event, StageExpected):
                self._expected_s[event.stage] = event.seconds
            elif isinstance(event, StageStarted):
                self._expected_s.pop(event.stage, None)
                if self._shown:
                    self._bars[event.stage] = self._bar(event)
            elif isinstance(event, StageAdvanced) and event.stage in self._bars:
                self._bars[event.stage].update(event.amount)
            elif isinstance(event, StageFinished) and event.stage in self._bars:
                self._bars.pop(event.stage).close()

    def _bar(self, event: StageStarted) -> Any:
        from tqdm import tqdm

        expected_s = self._expected_s

        class Bar(tqdm):  # type: ignore[type-arg]
            @property
            def format_dict(self) -> dict[str, Any]:
                values: dict[str, Any] = super().format_dict
                columns = shutil.get_terminal_size().columns
                values["bar_format"] = bar_format(columns)
                values["eta"] = remaining(
                    values["n"], values["total"], values["elapsed"], sum(expected_s.values())
                )
                return values

        return Bar(
            total=event.total, unit=f" {event.unit}", desc=event.stage, leave=False,
            file=self._stream, dynamic_ncols=True, smoothing=0, mininterval=0.2,
        )  # fmt: skip

    def _say(self, notice: Notice) -> None:
        text = f"{'warning: ' if notice.warning else ''}{notice.message}"
        if self._bars:
            next(iter(self._bars.values())).write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Take what is drawn off the terminal."""
        for bar in self._bars.values():
            bar.close()
        self._bars.clear()


def bar_format(columns: int) -> str:
    """Tqdm's format for a terminal of that width: what matters most stays longest."""
    if columns < _TINY:
        return "{percentage:3.0f}% {eta}"
    if columns < _NARROW:
        return "{desc} {percentage:3.0f}%|{bar}| {eta}"
    return "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{unit} {rate_fmt} {eta}"


def remaining(done: float, total: float | None, elapsed_s: float, later_s: float) -> str:
    """Time left, of this stage at its mean pace and of the stages that follow.

    The mean since the stage began, not the latest pace: work comes in bursts, and an estimate that
    jumps is trusted by nobody.
    """
    if not total or done <= 0:
        return "--:-- left"
    seconds = round(max(0.0, total - done) * elapsed_s / done + later_s)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d} left" if hours else f"{minute}:{second:02d} left"


class JsonLines:
    """Every event as a line of JSON, for programs that show progress themselves."""

    def __init__(self, stream: TextIO) -> None:
        """Args: stream: where the lines go."""
        self._stream = stream
        self._begin = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Write an event; any thread may call."""
        elapsed_s = round(time.monotonic() - self._begin, 3)
        line = {"event": _KINDS[type(event)], "elapsed_s": elapsed_s, **asdict(event)}
        with self._lock:
            print(json.dumps(line), file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to take back."""


def listener(mode: str) -> Bars | JsonLines:
    """What listens to events in a mode of `--progress`."""
    return JsonLines(sys.stderr) if mode == "json" else Bars(sys.stderr)
