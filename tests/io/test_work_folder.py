"""One run at a time holds a folder; the hold ends with the process, however that ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from geotiler.errors import OutputError
from geotiler.io.work_folder import WorkFolder, held

HOLD = """
import sys, time
from pathlib import Path
from geotiler.io.work_folder import WorkFolder
folder = WorkFolder(Path(sys.argv[1]), Path("mask.tif"))
(folder.path / "work").write_text("half")
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mask.tif.parts"


def test_a_hold_refuses_others_and_says_who_has_it(path: Path) -> None:
    folder = WorkFolder(path, Path("mask.tif"))
    with pytest.raises(OutputError, match=f"process {os.getpid()} on .*another -o"):
        WorkFolder(path, Path("mask.tif"))
    folder.leave()
    WorkFolder(path, Path("mask.tif")).remove()
    assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_holds_nothing(path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match=f"process {process.pid}"):
            WorkFolder(path, Path("mask.tif"))
        process.send_signal(number)
        process.wait(60)
    folder = WorkFolder(path, Path("mask.tif"))
    assert [entry.name for entry in folder.entries()] == ["work"]
    folder.clear()
    assert folder.entries() == []
    folder.remove()
    assert not path.exists()


def test_leaving_keeps_the_work_and_nothing_else(path: Path) -> None:
    folder = WorkFolder(path, Path("mask.tif"))
    (path / "work").write_text("half")
    folder.leave()
    folder.leave()
    assert [entry.name for entry in path.iterdir()] == ["work"]


def test_removing_takes_folders_along(path: Path) -> None:
    folder = WorkFolder(path, Path("mask.tif"))
    (path / "deeper" / "deepest").mkdir(parents=True)
    (path / "link").symlink_to(path.parent, target_is_directory=True)
    (path.parent / "mine").write_text("kept")
    folder.remove()
    assert [entry.name for entry in path.parent.iterdir()] == ["mine"]


def _once(path: Path) -> bool:
    """Whether this process got the folder, and was alone in it."""
    try:
        folder = WorkFolder(path, Path("mask.tif"))
    except OutputError:
        return False
    alone = path / "alone"
    descriptor = os.open(alone, os.O_CREAT | os.O_EXCL)  # an error if anybody else is there
    os.close(descriptor)
    alone.unlink()
    folder.remove()
    return True


def test_many_processes_are_never_two_in_it(path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        got = pool.map(_once, [path] * 400, chunksize=10)
    assert any(got)
    assert not path.exists()


def test_a_target_is_held_for_one(tmp_path: Path) -> None:
    target = tmp_path / "chips"
    with held(target), pytest.raises(OutputError, match="another run"), held(target):
        pass
    with held(target):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_that_a_kill_left_goes_with_the_next_run(path: Path) -> None:
    """A kill between making the folder and locking it, or between unlocking and removing it."""
    path.mkdir()
    folder = WorkFolder(path, Path("mask.tif"))
    assert folder.entries() == []
    (path / "work").write_text("half")
    folder.leave()  # as a run that was interrupted
    folder = WorkFolder(path, Path("mask.tif"))
    assert [entry.name for entry in folder.entries()] == ["work"]
    folder.remove()
    assert not path.exists()
