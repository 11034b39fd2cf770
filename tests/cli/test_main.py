"""The command line itself: light to start, and every failure one line with its own exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from geotiler import __version__, errors
from geotiler.cli import main as main_module
from geotiler.cli.main import main


def _modules_after(code: str) -> set[str]:
    """What a fresh interpreter has loaded after running the code."""
    script = f"{code}\nimport sys; print('\\n' + ' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [["--help"], ["segment", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    loaded = _modules_after(f"from geotiler.cli.main import main\nassert main({arguments}) == 0")
    assert "geotiler.cli.segment" in loaded
    assert not loaded & {"numpy", "torch", "rasterio", "scipy", "cv2", "geotiler.tasks"}


def test_a_wrong_flag_loads_nothing_heavy() -> None:
    command = ["segment", "a.tif", "-o", "b.tif", "--tile", "100"]
    loaded = _modules_after(f"from geotiler.cli.main import main\nassert main({command}) == 2")
    assert "numpy" not in loaded


def test_the_version_is_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"geotiler {__version__}\n"
    assert main(["-V"]) == 0
    assert capsys.readouterr().out == f"geotiler {__version__}\n"


@pytest.mark.parametrize("words", [[], ["segment"], ["train"], ["models", "list"]])
def test_help_before_a_command_is_its_help(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--help"]) == 0
    expected = capsys.readouterr().out
    assert main(["help", *words]) == 0
    assert capsys.readouterr().out == expected


def test_help_for_what_is_no_command_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "segmnt"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "segmnt" in line


@pytest.mark.parametrize("words", [[], ["data"], ["models"]])
def test_the_line_of_each_command_is_whole_in_80_columns(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*words, "--help"]) == 0
    _, _, told = capsys.readouterr().out.partition("Commands:\n")
    for line in told.rstrip().splitlines():
        assert line.startswith("  ")
        assert line[2] != " ", f"wrapped: {line}"
        assert line.endswith("."), line
        assert "..." not in line
        assert len(line) <= 80


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["segmnt"], "segmnt"),
        (["segment", "a.tif", "-o", "b.tif", "--treshold", "1"], "--threshold"),
        (["segment", "a.tif"], "--output"),
        (["segment"], "--output"),
        (["segment", "a.tif", "-o", "b.tif", "--backend", "magic"], "openvino"),
        (["segment", "a.tif", "-o", "b.tif", "--overlap", "many"], "--overlap"),
    ],
)
def test_the_parsers_errors_are_one_line_too(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("geotiler: ")
    assert reason in line
    assert "--help" in line


def test_without_a_verb_it_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    shown = captured.out + captured.err
    assert "segment" in shown
    assert len(shown.splitlines()) > 5


LEAVES = [
    errors.SpecError("bad value", "try --tile 512"),
    errors.InputError("bad\n  file", "look\nat it"),
    errors.OutputError("no room"),
    errors.ModelError("no model"),
    errors.DeviceError("no device"),
    errors.MissingExtraError("mlflow", "logging", "mlflow"),
    MemoryError(),
    KeyboardInterrupt(),
    ZeroDivisionError("oh\nno"),
]


@pytest.mark.parametrize("error", LEAVES, ids=lambda error: type(error).__name__)
def test_every_error_is_one_line_and_its_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def failing(**_: Any) -> None:
        raise error

    monkeypatch.setattr(main_module, "app", failing)
    monkeypatch.delenv("GEOTILER_TRACEBACK", raising=False)
    others = {MemoryError: 6, KeyboardInterrupt: 130, ZeroDivisionError: 1}
    expected = getattr(error, "exit_code", None) or others[type(error)]
    assert main([]) == expected
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["segment", "a.tif", "b.tif", "-o", "m.tif"], "-o masks/"),
        (["info", "."], "*.tif"),
    ],
)
def test_what_people_take_for_the_right_thing_is_answered_with_it(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").touch()
    assert main(arguments) in (2, 3)
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_traceback_is_there_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(**_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main_module, "app", failing)
    monkeypatch.setenv("GEOTILER_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main([])


def test_exit_codes_are_distinct() -> None:
    codes = [type(error).exit_code for error in LEAVES if isinstance(error, errors.GeotilerError)]
    assert codes == [2, 3, 4, 5, 6, 7]


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """As `geotiler vectorize mask.tif -o - | head` does: no message, no traceback."""
    import numpy as np
    import rasterio

    mask = tmp_path / "mask.tif"
    with rasterio.open(
        mask, "w", driver="GTiff", height=600, width=600, count=1, dtype="uint8", nodata=255
    ) as target:
        target.write((np.random.default_rng(0).random((1, 600, 600)) < 0.3).astype(np.uint8))
    program = "from geotiler.cli.main import run; run()"
    command = [sys.executable, "-c", program, "vectorize", str(mask), "-o", "-", "--quiet"]
    command += ["--min-area", "0", "--regularize", "none"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.read(10)
        child.stdout.close()
        assert child.stderr is not None
        assert child.stderr.read() == b""
    assert child.returncode == 141


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--threshold", "half"], ["--threshold", "'half'"]),
        (["--threshold=half"], ["--threshold", "'half'"]),
        (["--overlap", "5", "--overlap", "x"], ["--overlap", "'x'"]),
        (["--backend", "tensorrt"], ["'openvino'", "'tensorrt'"]),
        (["--bands", "red"], ["'red'", "--bands 3,2,1"]),
        (["--bounds", "1,2"], ["'1,2'", "LEFT,BOTTOM,RIGHT,TOP"]),
        (["--scale", "5"], ["'5'", "MIN,MAX"]),
    ],
)
def test_a_wrong_value_is_told_with_what_was_expected(
    words: list[str], told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["segment", "a.tif", "-o", "b.tif", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(each in line for each in told), line
    assert "error," not in line
    assert "'5'" not in line or words == ["--scale", "5"], line
