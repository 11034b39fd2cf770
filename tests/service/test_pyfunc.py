"""A classifier in MLflow's form answers as `geotiler classify` does, in Python and over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from geotiler.cli.main import main
from geotiler.errors import ModelError, OutputError, SpecError
from geotiler.models.bundle import Bundle
from geotiler.specs import ClassifyImagesSpec, ExportSpec, ExportTarget
from geotiler.tasks.classify_images import classify_images
from geotiler.tasks.export import export

mlflow = pytest.importorskip("mlflow")
pandas = pytest.importorskip("pandas")

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 240


@pytest.fixture(scope="module")
def served(tiny_landuse: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow model, away from the model that it was made from."""
    where = tmp_path_factory.mktemp("mlflow")
    copied = where / "original"
    shutil.copytree(tiny_landuse.folder, copied)
    export(ExportSpec(model=str(copied), output=where / "served", target=ExportTarget.MLFLOW))
    shutil.rmtree(copied)
    return where / "served"


@pytest.fixture(scope="module")
def images(landuse_tiles: Path) -> list[str]:
    return [str(path) for path in sorted(landuse_tiles.glob("*/*_1.jpg"))[:4]]


def _direct(model: Bundle, images: list[str], topk: int = 3) -> list[dict[str, Any]]:
    spec = ClassifyImagesSpec(images=tuple(images), model=str(model.folder), topk=topk)
    return [label.as_dict() for label in classify_images(spec)]


def _without_image(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "image"} for row in rows]


def test_an_export_says_nothing_of_the_kind_that_only_its_makers_understand(
    tiny_landuse: Bundle, tmp_path: Path
) -> None:
    """In a process of its own: MLflow warns once in each."""
    words = ["export", str(tiny_landuse.folder), "--to", "mlflow", "-o", str(tmp_path / "m"), "-q"]
    code = f"import sys; from geotiler.cli.main import main; sys.exit(main({words!r}))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert found.stderr == ""


def test_it_answers_paths_and_arrays_as_classify_does(
    served: Path, tiny_landuse: Bundle, tmp_path: Path, images: list[str]
) -> None:
    model = mlflow.pyfunc.load_model(str(served))
    found = model.predict(pandas.DataFrame({"image_path": images}))
    assert found == _without_image(_direct(tiny_landuse, images))
    random = np.random.default_rng(2)
    pixels = random.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "image.png"), pixels[..., ::-1])
    (by_array,) = model.predict(pandas.DataFrame({"image": [pixels.tolist()]}), {"topk": 2})
    (by_path,) = _direct(tiny_landuse, [str(tmp_path / "image.png")], topk=2)
    assert [by_array] == _without_image([by_path])
    assert len(by_array["topk"]) == 2


def test_its_example_fits_its_signature_and_nothing_tells_where_it_was_made(
    served: Path,
) -> None:
    model = mlflow.pyfunc.load_model(str(served))
    (answer,) = model.predict(model.input_example)
    outputs = model.metadata.signature.outputs
    assert sorted(answer) == sorted(outputs.input_names())
    text = (served / "MLmodel").read_text()
    assert str(ROOT) not in text
    assert str(served.parent) not in text
    assert not list(served.rglob("*.pkl"))


@pytest.fixture(scope="module")
def address(served: Path) -> Iterator[str]:
    """`mlflow models serve` on a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(served), "-p", str(port),
         "--env-manager", "local"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE_S
        while not _is_up(url):
            said = process.communicate()[0] if process.poll() is not None else ""
            assert process.poll() is None, said
            assert time.monotonic() < deadline, "mlflow models serve did not come up"
            time.sleep(0.5)
        yield url
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 15)
            process.communicate(timeout=60)


def _is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=5) as answer:
            return int(answer.status) == 200
    except OSError:
        return False


def _asked(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{url}/invocations",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)["predictions"]


@pytest.mark.slow
def test_it_is_served_over_http(address: str, tiny_landuse: Bundle, images: list[str]) -> None:
    split = {"columns": ["image_path"], "data": [[image] for image in images]}
    found = _asked(address, {"dataframe_split": split})
    assert found == _without_image(_direct(tiny_landuse, images))
    short = {"columns": ["image_path"], "data": [[images[0]]]}
    (first,) = _asked(address, {"dataframe_split": short, "params": {"topk": 1}})
    assert first["topk"] == found[0]["topk"][:1]


def test_classify_asks_an_mlflow_model(
    served: Path, tiny_landuse: Bundle, images: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["classify", images[0], "--mlflow-model", str(served)]) == 0
    by_mlflow = json.loads(capsys.readouterr().out)
    assert main(["classify", images[0], "--model", str(tiny_landuse.folder)]) == 0
    assert by_mlflow == json.loads(capsys.readouterr().out)


def test_an_image_that_cannot_be_read_stops_no_other(
    served: Path, images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    words = [images[0], str(text), images[1], "--mlflow-model", str(served)]
    assert main(["classify", *words]) == 3
    printed = capsys.readouterr()
    assert [json.loads(line)["image"] for line in printed.out.splitlines()] == images[:2]
    assert "text.jpg" in printed.err


def test_mistakes_are_one_line(
    served: Path,
    tiny_bundle: Bundle,
    tiny_landuse: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["classify", str(tmp_path / "no.jpg"), "--mlflow-model", str(served)]) == 3
    assert "no.jpg" in capsys.readouterr().err
    with pytest.raises(SpecError, match="takes classifiers"):
        export(
            ExportSpec(
                model=str(tiny_bundle.folder), output=tmp_path / "m", target=ExportTarget.MLFLOW
            )
        )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    spec = ExportSpec(
        model=str(tiny_landuse.folder), output=tmp_path / "mine", target=ExportTarget.MLFLOW,
        overwrite=True,
    )  # fmt: skip
    with pytest.raises(OutputError, match="no MLflow model"):
        export(spec)
    with pytest.raises(ModelError, match="no MLflow model"):
        list(_by_mlflow(tmp_path / "mine"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def _by_mlflow(folder: Path) -> Iterator[Any]:
    from geotiler.tasks.classify_mlflow import classify_with_mlflow

    return classify_with_mlflow(folder, ["a.jpg"], 3)
