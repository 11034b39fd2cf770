"""`geotiler segment` as typed: reports on stdout, the rest on stderr, errors in one line."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from geotiler.cli.main import main
from geotiler.models.bundle import Bundle


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "scene.tif"
    image = np.random.default_rng(2).integers(0, 256, (3, 150, 200), dtype=np.uint8)
    image[:, :64, :64] = 0
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=150, width=200, dtype="uint8", nodata=0,
        crs="EPSG:32633", transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6),
    ) as out:  # fmt: skip
        out.write(image)
    return path


@pytest.fixture
def command(scene: Path, tiny_bundle: Bundle) -> Callable[..., list[str]]:
    """The arguments of a run on the scene; keywords change or, with None, drop options."""

    def make(*more: str, **options: str | None) -> list[str]:
        values = {
            "model": str(tiny_bundle.folder),
            "tile": "64",
            "overlap": "16",
            "output": str(scene.parent / "mask.tif"),
            **options,
        }
        path = values.pop("scene", None) or str(scene)
        flags = [(f"--{k.replace('_', '-')}", v) for k, v in values.items() if v is not None]
        return ["segment", path, *(part for flag in flags for part in flag), *more]

    return make


def test_json_is_all_there_is_on_stdout(
    command: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], scene: Path
) -> None:
    assert main(command("--json")) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["output"].endswith("mask.tif")
    assert report["skipped"] == 1
    assert report["peak_memory_bytes"] > 0
    assert report["settings"]["overlap_px"] == {"value": 16, "origin": "flag"}
    assert report["settings"]["bands"]["origin"] == "scene"
    assert report["settings"]["threshold"]["origin"] == "model card"
    assert "\r" not in captured.err  # no bar when it is not a terminal
    with rasterio.open(scene.parent / "mask.tif") as mask:
        assert (mask.read(1)[:64, :64] == 255).all()


def test_quiet_says_nothing_but_what_was_asked_for(
    command: Callable[..., list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(command("--quiet")) == 0
    assert tuple(capfd.readouterr()) == ("", "")
    assert main(command("--quiet", "--overwrite", "--json")) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out)["windows"] == 11
    assert main(command("--overwrite")) == 0
    assert "model card" not in capfd.readouterr().out
    assert main(command("--verbose", "--overwrite")) == 0
    assert "model card" in capfd.readouterr().out


def test_a_dry_run_computes_and_writes_nothing(
    command: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], scene: Path
) -> None:
    assert main(command("--dry-run", "--json")) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["windows"] == 12
    assert {"memory_bytes", "disk_bytes", "seconds", "settings"} <= plan.keys()
    assert [entry.name for entry in scene.parent.iterdir()] == ["scene.tif"]


def test_the_same_command_twice_is_the_same_file(
    command: Callable[..., list[str]], scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = scene.parent / "mask.tif"
    assert main(command("--quiet")) == 0
    first = target.read_bytes()
    assert main(command("--quiet", "--overwrite", batch="1", threads="1")) == 0
    assert target.read_bytes() == first
    assert str(scene.parent).encode() not in first


def _words(path: Path) -> str:
    path.with_name("words.tif").write_text("not a raster")
    return str(path.with_name("words.tif"))


def _truncated(path: Path) -> str:
    damaged = path.with_name("damaged.tif")
    content = path.read_bytes()
    damaged.write_bytes(content[: len(content) * 2 // 3])
    return str(damaged)


def _existing(path: Path) -> str:
    path.with_name("kept.tif").write_text("old")
    return str(path.with_name("kept.tif"))


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "missing scene": ({"scene": "none.tif"}, 3, "no such file: none.tif"),
    "not a raster": ({"scene": _words}, 3, "words.tif"),
    "truncated": ({"scene": _truncated}, 3, "damaged.tif"),
    "zero bands": ({"bands": ""}, 2, "--bands 1,2,3"),
    "band zero": ({"bands": "0,1,2"}, 2, "counted from 1"),
    "band beyond": ({"bands": "1,2,4"}, 2, "band 4"),
    "too few bands": ({"bands": "1"}, 2, "--bands"),
    "a word for a band": ({"bands": "red"}, 2, "--bands"),
    "half a band": ({"bands": "1.5,2,3"}, 2, "whole"),
    "no number": ({"bands": "nan,1,2"}, 2, "whole"),
    "endless band": ({"bands": "inf,1,2"}, 2, "whole"),
    "overlap as large as the tile": ({"overlap": "64"}, 2, "--overlap"),
    "negative overlap": ({"overlap": "-1"}, 2, "--overlap"),
    "overlap too large for any tile": ({"overlap": "5000", "tile": None}, 2, "--overlap"),
    "odd tile": ({"tile": "100"}, 2, "--tile 512"),
    "no tile": ({"tile": ""}, 2, "--tile"),
    "no batch": ({"batch": "0"}, 2, "--batch"),
    "no threads": ({"threads": "0"}, 2, "--threads"),
    "impossible threshold": ({"threshold": "1.5"}, 2, "--threshold"),
    "empty scale": ({"scale": "5,5"}, 2, "--scale"),
    "half a scale": ({"scale": "5"}, 2, "--scale"),
    "no size": ({"gsd": "0"}, 2, "--scene-gsd"),
    "kind of probability": ({"probability_dtype": "int8"}, 2, "--probability-dtype"),
    "no such device": ({"device": "tpu"}, 2, "--device"),
    "GPU of a CPU backend": ({"device": "cuda", "backend": "onnx"}, 6, "--device cpu"),
    "existing output": ({"output": _existing}, 4, "--overwrite"),
    "no such folder": ({"output": "none/mask.tif"}, 4, "mkdir -p none"),
    "folder": ({"output": lambda path: str(path.parent)}, 4, "folder"),
    "nameless format": ({"output": "mask"}, 2, ".tif"),
    "closed folder": ({"output": "/proc/mask.tif"}, 4, "/proc"),
    "endless name": ({"output": "m" * 300 + ".tif"}, 4, "cannot be written"),
    "unknown model": ({"model": "castles"}, 5, "--model"),
    "damaged model": ({"model": lambda path: str(path.parent)}, 5, "card.json"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    command: Callable[..., list[str]], scene: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, kind: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(scene.parent)
    values, code, reason = BAD[kind]
    options = {key: v(scene) if callable(v) else v for key, v in values.items()}
    before = {entry.name: entry.read_bytes() for entry in scene.parent.iterdir()}
    assert main(command("--quiet", **options)) == code
    captured = capfd.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("geotiler: ")
    assert reason in line
    assert "Traceback" not in line
    assert {entry.name: entry.read_bytes() for entry in scene.parent.iterdir()} == before


def test_no_gpu_when_one_is_asked_for(
    command: Callable[..., list[str]], capfd: pytest.CaptureFixture[str], scene: Path
) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main(command(device="cuda")) == 6
    assert len(capfd.readouterr().err.splitlines()) == 1
    assert [entry.name for entry in scene.parent.iterdir()] == ["scene.tif"]


def test_an_interrupt_leaves_no_output(
    command: Callable[..., list[str]], capfd: pytest.CaptureFixture[str], scene: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from geotiler.models.openvino_predictor import OpenVinoPredictor

    answer = OpenVinoPredictor.__call__
    windows: list[int] = []
    # Whoever starts the tests in the background has them ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupted(self: OpenVinoPredictor, batch: Any) -> Any:
        windows.append(1)
        if len(windows) == 7:
            signal.raise_signal(signal.SIGINT)
        return answer(self, batch)

    monkeypatch.setattr(OpenVinoPredictor, "__call__", interrupted)
    try:
        assert main(command("--quiet", backend="openvino")) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capfd.readouterr().err == "geotiler: interrupted\n"
    found = sorted(entry.name for entry in scene.parent.iterdir())
    assert found == ["mask.tif.parts", "scene.tif"]


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_inference_does_not_import_torch(command: Callable[..., list[str]], backend: str) -> None:
    arguments = command("--json", backend=backend)
    script = (
        "import json, sys\nfrom geotiler.cli.main import main\n"
        f"assert main({arguments!r}) == 0\n"
        "print(json.dumps(sorted(set(m.split('.')[0] for m in sys.modules))), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert not loaded & {"torch", "torchvision", "segmentation_models_pytorch", "lightning", "cv2"}
    assert "numpy" in loaded
    assert json.loads(done.stdout)["windows"] == 11


def test_a_truncated_scene_says_one_thing_in_a_process_of_its_own(
    command: Callable[..., list[str]], scene: Path
) -> None:
    arguments = command(scene=_truncated(scene))
    script = f"import sys\nfrom geotiler.cli.main import run\nrun({arguments!r})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert sorted(e.name for e in scene.parent.iterdir()) == ["damaged.tif", "scene.tif"]


@pytest.mark.parametrize("where", ["stdout", "stderr"])
def test_in_a_batch_what_failed_is_named_once(
    command: Callable[..., list[str]],
    capfd: pytest.CaptureFixture[str],
    scene: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    monkeypatch.chdir(scene.parent)
    Path("mask.tif").write_text("no raster")  # its output is mask_mask.tif
    Path("out").mkdir()
    Path("out/mask_mask.tif").mkdir()
    Path("bad.tif").write_text("no raster")
    names = ["bad.tif", "none.tif", "mask.tif"]
    words = command(*names[1:], scene=names[0], output="out/")
    quiet = ["--quiet"] if where == "stderr" else []
    assert main([*words, *quiet]) == 3
    captured = capfd.readouterr()
    lines = (captured.err if quiet else captured.out).splitlines()
    for name in names:
        own = [re.findall(rf"(?<!_){name}", line) for line in lines]
        assert [len(each) for each in own if each] == [1]
