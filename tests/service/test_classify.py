"""`POST /classify` answers what `geotiler classify` prints."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from starlette.testclient import TestClient

from geotiler.models.bundle import Bundle
from geotiler.specs import BackendSpec, ClassifyImagesSpec
from geotiler.tasks.classify_images import classify_images

from .conftest import left_behind


@pytest.fixture
def images(landuse_tiles: Path) -> list[Path]:
    return sorted(landuse_tiles.rglob("*_1.jpg"))


def test_the_answer_is_that_of_the_command(
    both: TestClient, images: list[Path], tiny_landuse: Bundle, tmp_path: Path
) -> None:
    """Ten images at once, sharing batches."""
    answers: dict[int, dict[str, object]] = {}

    def ask(index: int) -> None:
        files = {"file": ("../tile.jpg", images[index].read_bytes())}
        answers[index] = both.post("/classify?topk=4", files=files).json()

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spec = ClassifyImagesSpec(
        images=tuple(map(str, images)), model=str(tiny_landuse.folder), topk=4,
        run=BackendSpec(batch=4),
    )  # fmt: skip
    for index, label in enumerate(classify_images(spec)):
        expected = label.as_dict()
        answer = answers[index]
        assert answer["image"] == "tile.jpg"
        for key in ("predicted_class", "probabilities", "topk"):
            assert answer[key] == expected[key]
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-4)  # type: ignore[attr-defined]
    assert left_behind(tmp_path / "serve") == []


def test_each_route_wants_its_kind_of_model(both: TestClient, images: list[Path]) -> None:
    files = {"file": images[0].read_bytes()}
    for route, model in (("/classify", "tiny"), ("/predict", "tiny-landuse")):
        answer = both.post(f"{route}?model={model}", files=files)
        assert answer.status_code == 422
        assert "expected" in answer.json()["detail"]
    assert both.post("/classify?model=none", files=files).status_code == 422


@pytest.mark.parametrize("name", ["MTD_MSIL1C.xml", "T32_B04.jp2", "a.vrt"])
def test_no_name_of_a_file_makes_another_one_be_read(
    both: TestClient, images: list[Path], name: str, tmp_path: Path
) -> None:
    """Products and band files are known by their names; those of strangers mean nothing."""
    secret = tmp_path / "secret.tif"
    with rasterio.open(
        secret, "w", driver="GTiff", count=3, height=64, width=64, dtype="uint8"
    ) as file:
        file.write(np.full((3, 64, 64), 90, np.uint8))
    reference = (
        f"<VRTDataset rasterXSize='64' rasterYSize='64'><VRTRasterBand dataType='Byte' band='1'>"
        f"<SimpleSource><SourceFilename>{secret}</SourceFilename></SimpleSource></VRTRasterBand>"
        f"</VRTDataset>"
    ).encode()
    for route in ("/classify", "/predict"):
        refused = both.post(route, files={"file": (name, reference)})
        assert refused.status_code == 422, refused.text
    taken = both.post("/classify", files={"file": (name, images[0].read_bytes())})
    assert taken.status_code == 200


def test_an_image_that_is_too_large_is_refused_without_flags(
    both: TestClient, tmp_path: Path
) -> None:
    path = tmp_path / "bomb.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=200_000, width=200_000, dtype="uint8",
        sparse_ok=True, tiled=True, blockxsize=16384, blockysize=16384,
    ):  # fmt: skip
        pass
    answer = both.post("/classify", files={"file": path.read_bytes()})
    assert answer.status_code == 422
    assert "at most" in answer.json()["detail"]
    assert " -" not in answer.text
    assert "-o" not in answer.text


@pytest.mark.parametrize("classifier", ["tiny-landuse", "landuse"])
def test_a_service_without_its_classifier_says_so_when_it_starts(
    tiny_landuse: Bundle, make_service: Callable[..., TestClient],
    caplog: pytest.LogCaptureFixture, tmp_path: Path, tiny_bundle: Bundle, classifier: str,
) -> None:  # fmt: skip
    for bundle in (tiny_bundle, tiny_landuse):
        shutil.copytree(bundle.folder, tmp_path / "weights" / bundle.folder.name)
    make_service(weights=tmp_path / "weights", classifier=classifier)
    told = [record for record in caplog.records if "/classify has no model" in record.message]
    assert len(told) == (classifier == "landuse")
