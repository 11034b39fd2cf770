"""Whatever comes in: 4xx with a sentence, nothing left on disk, the service alive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from starlette.testclient import TestClient

from geotiler.cli.serve import settings_from
from geotiler.errors import SpecError
from geotiler.service.uploads import harmless_name

from .conftest import left_behind, wait


def _tiff(path: Path, shape: tuple[int, int, int], **profile: Any) -> bytes:
    with rasterio.open(
        path, "w", driver="GTiff", count=shape[0], height=shape[1], width=shape[2],
        dtype="uint8", sparse_ok=True, **profile,
    ):  # fmt: skip
        pass
    return path.read_bytes()


def _bad(kind: str, folder: Path, scene: Path) -> bytes:
    whole = scene.read_bytes()
    if kind == "bomb":  # 40 Gpx in a few kilobytes
        return _tiff(folder / "b.tif", (3, 200_000, 200_000), tiled=True, blockxsize=16384,
                     blockysize=16384, compress="deflate")  # fmt: skip
    if kind == "bands":
        return _tiff(folder / "17.tif", (17, 64, 64))
    if kind == "complex":
        with rasterio.open(folder / "c.tif", "w", driver="GTiff", count=3, height=64, width=64,
                           dtype="complex64") as file:  # fmt: skip
            file.write(np.ones((3, 64, 64), np.complex64))
        return (folder / "c.tif").read_bytes()
    return {
        "text": b"this is not an image\n" * 100,
        "html": b"<!doctype html><html><body>no</body></html>",
        "empty": b"",
        "short": whole[:200],
        "half": whole[: len(whole) // 2],
        "vrt": f"<VRTDataset rasterXSize='9' rasterYSize='9'><VRTRasterBand dataType='Byte' "
        f"band='1'><SimpleSource><SourceFilename>{scene}</SourceFilename></SimpleSource>"
        f"</VRTRasterBand></VRTDataset>".encode(),
        "zeros": bytes(10_000),
    }[kind]


KINDS = ("text", "html", "empty", "short", "half", "vrt", "zeros", "bomb", "bands", "complex")


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_file_is_refused_with_a_sentence(
    service: TestClient, kind: str, scene: Path, tmp_path: Path
) -> None:
    content = _bad(kind, tmp_path, scene)
    for files in ({"files": {"file": ("scene.tif", content)}}, {"content": content}):
        headers = {"Content-Type": "image/tiff"} if "content" in files else {}
        answer = service.post("/predict", headers=headers, **files)
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert len(problem["detail"].split()) > 3
        assert problem["request_id"] == answer.headers["x-request-id"]
        for secret in (str(tmp_path), "Traceback", ".py"):
            assert secret not in answer.text
    assert left_behind(tmp_path / "serve") == []
    assert service.get("/readyz").status_code == 200


def test_a_job_tells_of_a_bad_file_and_keeps_the_good_one(
    service: TestClient, scene: Path, tmp_path: Path
) -> None:
    files = [("file", ("a.tif", scene.read_bytes())), ("file", ("b.tif", b"no image"))]
    job = wait(service, service.post("/batch", files=files).headers["Location"])
    assert job["state"] == "failed"
    assert [one["state"] for one in job["scenes"]] == ["done", "failed"]
    assert job["scenes"][1]["error"]["detail"].startswith("b.tif cannot be opened")
    assert str(tmp_path) not in str(job)


def test_one_pixel_is_an_image_too(service: TestClient, tmp_path: Path) -> None:
    content = _tiff(tmp_path / "1.tif", (3, 1, 1))
    answer = service.post("/predict", files={"file": content})
    assert answer.status_code == 200
    assert sum(answer.json()["class_px"].values()) == 1


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("text/html", b"<html>"),
        ("application/x-www-form-urlencoded", b"file=x"),
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=x", b"not a form at all"),
        ("multipart/form-data; boundary=x", b""),
        ("", b"abc"),
    ],
)
def test_a_wrong_content_type_is_told(service: TestClient, kind: str, body: bytes) -> None:
    answer = service.post("/predict", content=body, headers={"Content-Type": kind})
    assert answer.status_code in (400, 415, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_ten_thousand_files_are_too_many(service: TestClient, tmp_path: Path) -> None:
    files = [("file", (f"{index}.tif", b"x")) for index in range(10_000)]
    answer = service.post("/batch", files=files)
    assert answer.status_code == 400
    assert "Too many files" in answer.json()["detail"]
    assert left_behind(tmp_path / "serve") == []
    assert service.get("/jobs").json() == {"jobs": []}


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\scenes\\a b.tif", "a_b.tif"),
        ("..", "scene"),
        ("", "scene"),
        (None, "scene"),
        (".htaccess", "htaccess"),
        ("ä/ö.tif", "tif"),
        ("x" * 500 + ".tif", "x" * 60 + ".tif"),
        ("a\0b.tif", "a_b.tif"),
    ],
)
def test_names_of_callers_become_harmless(given: str | None, name: str) -> None:
    assert harmless_name(given) == name


@pytest.mark.parametrize(
    "query",
    [
        "model=../../weights", "model=none", "threshold=2", "threshold=nan", "bands=0", "bands=a",
        "bands=1,2,3,4,5", "gsd=-1", "gsd=0", "gsd=nan", "scale=9,1", "scale=1", "min_area=-1",
        "min_area=inf", "simplify=-1", "nonsense=1", "bands=99999999999999999999",
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_told(service: TestClient, scene: Path, query: str) -> None:
    answer = service.post(
        f"/predict?{query}", files={"file": scene.read_bytes()},
        headers={"Accept": "application/geo+json"},
    )  # fmt: skip
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize(
    "given", [{"api_keys": "short"}, {"log_level": "loud"}, {"port": "many"}], ids=str
)
def test_a_wrong_setting_is_told_without_the_words_of_the_library(given: dict[str, str]) -> None:
    with pytest.raises(SpecError) as caught:
        settings_from(given)
    (name,) = given
    assert caught.value.message.startswith(f"{name}: ")
    assert "error," not in caught.value.message


def test_bodies_beyond_the_limit_are_refused_declared_or_not(
    make_service: Callable[..., TestClient], tmp_path: Path
) -> None:
    service = make_service(body_bytes=10_000)

    def pieces() -> Any:
        for _ in range(100):
            yield bytes(1000)

    for content in (bytes(100_000), pieces()):
        answer = service.post("/predict", content=content, headers={"Content-Type": "image/tiff"})
        assert answer.status_code == 413
    form = service.post("/predict", files={"file": bytes(100_000)})
    assert form.status_code == 413
    assert left_behind(tmp_path / "serve") == []


def test_notices_show_no_path_of_the_machine(
    service: TestClient, scene: Path, tmp_path: Path
) -> None:
    """A picture without a CRS is noticed, by its name and with parameters instead of flags."""
    import cv2

    cv2.imwrite(str(tmp_path / "p.png"), np.full((40, 50, 3), 90, np.uint8))
    files = {"file": ("photo.png", (tmp_path / "p.png").read_bytes())}
    answer = service.post("/predict", files=files).json()
    job = wait(service, service.post("/batch", files=files).headers["Location"])
    for notices in (answer["notices"], job["scenes"][0]["notices"]):
        assert any(notice.startswith("photo.png has no CRS") for notice in notices)
        assert str(tmp_path) not in str(notices)
        assert "--" not in str(notices)
