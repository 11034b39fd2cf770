"""Processes answer with their own state, tell errors whole, and are told apart from lost ones."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor

import pytest

from geotiler.engines.processes import processes
from geotiler.errors import DeviceError, InputError

_told: list[str] = []


def begin(word: str) -> None:
    _told.append(word)


def answer(value: int) -> tuple[list[str], int, int]:
    return _told, value * 2, os.getpid()


def refuse() -> None:
    raise InputError("no such thing", hint="look again")


def vanish() -> None:
    os._exit(9)


def interrupt() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "still here"


def test_each_is_prepared_once_and_errors_travel_whole() -> None:
    with processes(1, begin, "ready") as call:
        for value in range(3):
            told, doubled, process = call(answer, value)
            assert (told, doubled) == (["ready"], value * 2)
            assert process != os.getpid()
        with pytest.raises(InputError, match="no such thing") as caught:
            call(refuse)
        assert caught.value.hint == "look again"
        if os.name != "nt":
            assert call(interrupt) == "still here"
    assert _told == []


def test_more_processes_than_windows_waits_for_are_fewer_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")  # the library looks there, and refuses 62
    with pytest.raises(ValueError, match="61"):
        ProcessPoolExecutor(62)
    with processes(100, begin, "ready"):
        pass


def test_a_process_that_is_lost_is_told() -> None:
    with processes(1, begin, "ready") as call, pytest.raises(DeviceError, match="worker process"):
        call(vanish)
