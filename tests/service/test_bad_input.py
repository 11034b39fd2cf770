"""Whatever comes in: 4xx with a sentence, nothing left on disk, the service alive."""

from __future__ import annotations

import struct
import zlib
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


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_file_becomes_no_job_either(
    service: TestClient, kind: str, scene: Path, tmp_path: Path
) -> None:
    """`/batch` says of a file what `/predict` says, be it among good ones; no job is made."""
    content = _bad(kind, tmp_path, scene)
    files = [("file", ("good.tif", scene.read_bytes())), ("file", ("bad.tif", content))]
    answer = service.post("/batch", files=files)
    alone = service.post("/predict", files={"file": ("bad.tif", content)})
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.status_code == alone.status_code
    assert answer.json()["detail"] == alone.json()["detail"]
    assert "bad.tif" in answer.json()["detail"]
    assert str(tmp_path) not in answer.text
    assert left_behind(tmp_path / "serve") == []
    assert service.get("/jobs").json() == {"jobs": []}


def test_what_no_header_tells_is_told_by_the_job(
    make_service: Callable[..., TestClient], scene: Path, tmp_path: Path
) -> None:
    """A picture that breaks off, and a scene that is named: the good one is kept."""
    import cv2

    noise = np.random.default_rng(1).integers(0, 256, (90, 80, 3), np.uint8)
    picture = cv2.imencode(".jpg", noise)[1].tobytes()
    (tmp_path / "a.tif").write_bytes(scene.read_bytes())
    (tmp_path / "b.tif").write_bytes(b"no image")
    service = make_service(allow=(str(tmp_path),))
    uploads = [
        ("file", ("a.jpg", picture)),
        ("file", ("b.jpg", picture[: len(picture) // 2])),
    ]
    names = {"scenes": [str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]}
    for body, why in (
        ({"files": uploads}, "b.jpg cannot be read"),
        ({"json": names}, "b.tif cannot be opened"),
    ):
        job = wait(service, service.post("/batch", **body).headers["Location"])
        assert job["state"] == "failed"
        assert [one["state"] for one in job["scenes"]] == ["done", "failed"]
        assert job["scenes"][1]["error"]["detail"].startswith(why)
        assert str(tmp_path) not in str(job)


@pytest.mark.parametrize("route", ["/predict", "/batch", "/classify"])
def test_one_pixel_is_no_image(both: TestClient, route: str, tmp_path: Path) -> None:
    content = _tiff(tmp_path / "1.tif", (3, 1, 1))
    answer = both.post(route, files={"file": ("dot.tif", content)})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("dot.tif is a single pixel")
    line = _tiff(tmp_path / "2.tif", (3, 1, 2))
    assert both.post(route, files={"file": line}).status_code in (200, 202)
    assert left_behind(tmp_path / "serve" / "requests") == []


def _png(side_px: int, bits: int, colour_type: int) -> bytes:
    """A blank picture, made row by row."""
    samples = 3 if colour_type == 2 else 1
    row = bytes(1 + -(-side_px * bits * samples // 8))
    packer = zlib.compressobj(6)
    data = b"".join(packer.compress(row) for _ in range(side_px)) + packer.flush()
    header = struct.pack(">IIBBBBB", side_px, side_px, bits, colour_type, 0, 0, 0)

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize(
    ("side_px", "bits", "colour_type"), [(60_000, 1, 0), (4_500, 8, 2)], ids=["bits", "RGB"]
)
def test_a_blank_picture_of_few_bytes_and_many_pixels_is_refused(
    service: TestClient, side_px: int, bits: int, colour_type: int, tmp_path: Path
) -> None:
    content = _png(side_px, bits, colour_type)
    assert len(content) < 500_000
    for route in ("/predict?bands=1,1,1", "/batch?bands=1,1,1"):
        answer = service.post(route, files={"file": ("blank.png", content)})
        assert answer.status_code == 413, answer.text
        assert answer.json()["detail"].startswith(f"blank.png has {side_px}×{side_px} pixels in")
        assert "per byte" in answer.json()["detail"]
    assert left_behind(tmp_path / "serve") == []
    assert service.get("/jobs").json() == {"jobs": []}


def test_how_many_pixels_a_byte_may_hold_is_set_and_only_large_images_are_asked(
    make_service: Callable[..., TestClient], tmp_path: Path
) -> None:
    files = {"file": ("blank.png", _png(400, 8, 2))}  # some 200 in each byte
    strict = make_service(predict_px=150_000, px_per_byte=20)
    assert strict.post("/batch", files=files).status_code == 413
    small = make_service(folder=tmp_path / "small", predict_px=160_000, px_per_byte=20)
    assert small.post("/batch", files=files).status_code == 202
    lenient = make_service(folder=tmp_path / "lenient", predict_px=150_000, px_per_byte=400)
    assert lenient.post("/batch", files=files).status_code == 202


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
    ("route", "query", "near", "known"),
    [
        ("/predict", "treshold=0.3", "threshold", "min_area"),
        ("/batch", "picture=true", "pictures", "pictures"),
        ("/classify", "top_k=2", "topk", "dn_offset"),
    ],
)
def test_an_unknown_parameter_is_told_with_the_one_it_may_have_been(
    service: TestClient, route: str, query: str, near: str, known: str
) -> None:
    answer = service.post(f"{route}?{query}", files={"file": b"x"})
    assert answer.status_code == 422
    problem = answer.json()
    given = query.partition("=")[0]
    assert problem["detail"] == f"there is no parameter {given!r}, did you mean {near!r}?"
    assert problem["hint"].startswith("parameters are: ")
    assert known in problem["hint"]
    far = service.post(f"{route}?qqqq=1", files={"file": b"x"}).json()
    assert far["detail"] == "there is no parameter 'qqqq'"


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
