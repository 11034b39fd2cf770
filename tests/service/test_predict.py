"""`POST /predict` answers what the command line writes, in the form that was asked for."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import cv2
import numpy as np
import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from geotiler.errors import OutputError
from geotiler.models.bundle import Bundle, write_bundle
from geotiler.models.card import ClassInfo, ModelCard
from geotiler.service.uploads import Upload, received
from geotiler.specs import SegmentSpec, VectorizeSpec
from geotiler.tasks.segment import segment
from geotiler.tasks.vectorize import vectorize

from .conftest import left_behind, wait

TILE = (256, 256)  # the side of the service's ladder that the scene fits into


@pytest.fixture(scope="module")
def by_command(scene: Path, tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `geotiler segment` and `geotiler vectorize` make of the scene."""
    folder = tmp_path_factory.mktemp("command")
    for name in ("mask.tif", "mask.png"):
        spec = SegmentSpec(
            scene=str(scene), output=folder / name, model=str(tiny_bundle.folder), tile_px=TILE
        )
        segment(spec)
    vectorize(VectorizeSpec(mask=str(folder / "mask.tif"), output=str(folder / "features.geojson")))
    return folder


@pytest.mark.parametrize(
    ("accept", "file"),
    [
        ("image/tiff", "mask.tif"),
        ("image/png", "mask.png"),
        ("application/geo+json", "features.geojson"),
        ("text/html;q=0.9, image/png;q=0.2, application/geo+json;q=0.5", "features.geojson"),
    ],
)
def test_the_answer_is_the_file_that_the_command_writes(
    service: TestClient, scene: Path, by_command: Path, accept: str, file: str
) -> None:
    answer = service.post("/predict", files={"file": scene.open("rb")}, headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    assert answer.content == (by_command / file).read_bytes()


def test_json_holds_mask_and_areas_that_agree(
    service: TestClient, scene: Path, by_command: Path
) -> None:
    answer = service.post("/predict", files={"file": ("../town.tif", scene.read_bytes())}).json()
    png = base64.b64decode(answer["mask"])
    assert png == (by_command / "mask.png").read_bytes()
    assert answer["name"] == "town.tif"
    assert tuple(answer["settings"]["tile_px"]["value"]) == TILE
    from PIL import Image  # cv2 would turn the palette into colours

    path = by_command / "seen.png"
    path.write_bytes(png)
    with Image.open(path) as image:
        values, counts = np.unique(np.asarray(image), return_counts=True)
    ids = {item["name"]: item["id"] for item in answer["classes"]} | {"nodata": 255}
    seen = dict(zip(values.tolist(), counts.tolist(), strict=True))
    for name, count in answer["class_px"].items():
        assert count == seen.get(ids[name], 0)
    for name, area in answer["class_area_m2"].items():
        assert area == pytest.approx(answer["class_px"][name] * 0.25, rel=0.01)


def test_a_body_without_a_form_is_the_file_itself(
    service: TestClient, scene: Path, by_command: Path
) -> None:
    answer = service.post(
        "/predict?name=a/b.tif",
        content=scene.read_bytes(),
        headers={"Content-Type": "image/tiff", "Accept": "image/png"},
    )
    assert answer.content == (by_command / "mask.png").read_bytes()


@pytest.mark.parametrize("size", [1, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20, 3 * 2**20 + 1])
def test_a_body_that_is_written_in_pieces_is_whole(tmp_path: Path, size: int) -> None:
    body = np.random.default_rng(2).bytes(size)
    pieces = [body[i : i + 65_537] for i in range(0, size, 65_537)]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    headers = [(b"content-type", b"image/png")]
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)

    async def at_once() -> list[Upload]:
        return await received(request, tmp_path, most_files=1, name="a.png")

    (upload,) = anyio.run(at_once)
    assert upload.path.read_bytes() == body


def test_parameters_mean_what_the_flags_mean(
    service: TestClient, scene: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    spec = SegmentSpec(
        scene=str(scene), output=tmp_path / "m.png", model=str(tiny_bundle.folder),
        threshold=0.8, bands=(3, 2, 1), tile_px=TILE,
    )  # fmt: skip
    segment(spec)
    answer = service.post(
        "/predict",
        params={"threshold": 0.8, "bands": "3,2,1", "model": "tiny"},
        files={"file": scene.read_bytes()},
        headers={"Accept": "image/png"},
    )
    assert answer.content == (tmp_path / "m.png").read_bytes()


def test_houses_that_touch_are_parted_as_by_the_command(
    make_service: Callable[..., TestClient], scene: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    mask, chance = tmp_path / "m.tif", tmp_path / "p.tif"
    segment(
        SegmentSpec(
            scene=str(scene), output=mask, probability=chance, model=str(tiny_bundle.folder),
            tile_px=TILE, threshold=0.3,
        )
    )  # fmt: skip
    whole, parted = tmp_path / "whole.geojson", tmp_path / "parted.geojson"
    vectorize(VectorizeSpec(mask=str(mask), output=str(whole), probability=str(chance)))
    report = vectorize(
        VectorizeSpec(mask=str(mask), output=str(parted), probability=str(chance), separate=True)
    )
    assert report.separated
    # A job goes the same way as an answer at once.
    for limit in (10**6, 1000):
        service = make_service(predict_px=limit, folder=tmp_path / f"serve-{limit}")
        answer = service.post(
            "/predict",
            params={"threshold": 0.3, "separate": "true"},
            files={"file": scene.read_bytes()},
            headers={"Accept": "application/geo+json"},
        )
        if limit == 1000:
            assert answer.status_code == 202
            (done,) = wait(service, answer.headers["Location"])["scenes"]
            links = {result["name"]: result["href"] for result in done["results"]}
            assert not any("probability" in name for name in links)
            answer = service.get(links["features.geojson"])
        assert answer.content == parted.read_bytes() != whole.read_bytes()


def test_patches_of_several_classes_are_not_parted(
    make_service: Callable[..., TestClient],
    make_card: Callable[..., ModelCard],
    make_network: Callable[[ModelCard], Any],
    scene: Path,
    tmp_path: Path,
) -> None:
    card = make_card(name="two")
    classes = (ClassInfo(id=0, name="other", color="#ffffff"), *card.classes)
    arguments = {**card.arguments, "classes": 2}
    card = replace(card, classes=classes, activation="softmax", arguments=arguments)
    write_bundle(tmp_path / "weights" / "two", card, make_network(card))
    service = make_service(weights=tmp_path / "weights", model="two")
    answer = service.post(
        "/predict", params={"separate": "true"}, files={"file": scene.read_bytes()}
    )
    assert answer.status_code == 422
    assert "`separate` parts the patches of one class, two has 2" in answer.json()["detail"]


def test_nothing_stays_on_disk(service: TestClient, scene: Path, tmp_path: Path) -> None:
    for accept in ("application/json", "image/tiff", "application/geo+json"):
        service.post("/predict", files={"file": scene.read_bytes()}, headers={"Accept": accept})
    assert left_behind(tmp_path / "serve") == []
    assert list((tmp_path / "serve" / "requests").iterdir()) == []


def test_requests_under_way_may_lie_elsewhere(
    make_service: Callable[..., TestClient], scene: Path, by_command: Path, tmp_path: Path
) -> None:
    fast, foreign = tmp_path / "fast", tmp_path / "foreign"
    ended = fast / "geotiler-serve-ended" / "requests"
    for folder in (ended, foreign, fast / "requests"):
        folder.mkdir(parents=True)
    for lock in (ended.parent / ".lock", foreign / ".lock"):
        lock.touch()
    (fast / "geotiler-serve-link").symlink_to(foreign)
    kept = {"geotiler-serve-link", "requests"}
    service = make_service(scratch=fast)
    (place,) = (path for path in fast.iterdir() if path.name not in kept)
    assert place != ended.parent
    assert (foreign / ".lock").exists()
    answer = service.post(
        "/predict", files={"file": scene.read_bytes()}, headers={"Accept": "image/png"}
    )
    assert answer.content == (by_command / "mask.png").read_bytes()
    assert list((place / "requests").iterdir()) == []
    assert not (tmp_path / "serve" / "requests").exists()
    other = make_service(folder=tmp_path / "other", scratch=fast, predict_px=1000)
    assert place.is_dir()  # of the first service, which still runs
    job = other.post("/predict", files={"file": ("town.tif", scene.read_bytes())})
    assert job.status_code == 202
    assert wait(other, job.headers["Location"])["state"] == "done"


def test_a_place_for_requests_that_is_none_is_named(
    make_service: Callable[..., TestClient], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file cannot be written") as caught:
        make_service(scratch=tmp_path / "file")
    assert "GEOTILER_SERVE_SCRATCH" in str(caught.value)


def test_a_scene_that_is_large_becomes_a_job(
    make_service: Callable[..., TestClient], scene: Path, by_command: Path
) -> None:
    service = make_service(predict_px=1000)
    answer = service.post("/predict", files={"file": ("town.tif", scene.read_bytes())})
    assert answer.status_code == 202
    job = wait(service, answer.headers["Location"])
    assert job["state"] == "done"
    links = {item["name"]: item["href"] for item in job["scenes"][0]["results"]}
    for name in ("mask.tif", "features.geojson"):
        assert service.get(links[name]).content == (by_command / name).read_bytes()


def test_requests_at_once_do_not_mix(
    make_service: Callable[..., TestClient], tiny_bundle: Bundle, tmp_path: Path
) -> None:
    """Eight pictures, asked for at once, tiles sharing batches: each gets its own mask."""
    service = make_service(batch=4, batch_wait_ms=20, running=8)
    random = np.random.default_rng(1)
    pictures = []
    for index in range(8):
        image = cv2.GaussianBlur(random.integers(0, 256, (100, 120, 3), np.uint8), (0, 0), 3)
        path = tmp_path / f"{index}.png"
        cv2.imwrite(str(path), image)
        pictures.append(path)
    answers: dict[int, bytes] = {}

    def ask(index: int) -> None:
        answers[index] = service.post(
            "/predict", files={"file": pictures[index].read_bytes()},
            headers={"Accept": "image/png"}, params={"gsd": 0.5},
        ).content  # fmt: skip

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, picture in enumerate(pictures):
        target = tmp_path / f"mask{index}.png"
        spec = SegmentSpec(
            scene=str(picture), output=target, model=str(tiny_bundle.folder), tile_px=(128, 128),
            gsd_m=(0.5, 0.5), batch=4,
        )  # fmt: skip
        segment(spec)
        assert answers[index] == target.read_bytes()
