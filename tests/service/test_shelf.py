"""Models are loaded once, shared, and replaced without anybody noticing."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from geotiler.core.grid import Grid, TileLimits
from geotiler.errors import ModelError
from geotiler.models.bundle import Bundle, open_bundle, replace_card
from geotiler.service.metrics import Metrics
from geotiler.service.settings import Settings
from geotiler.service.shelf import OWN_NETWORK_PX, Lease, Shelf
from geotiler.specs import Backend, Precision

LIMITS = TileLimits(largest_px=1_500_000, row_px=18_000_000)


@pytest.fixture
def weights(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A weights folder with two models of the same network and other thresholds."""
    folder = tmp_path / "weights"
    for name, threshold in (("tiny", 0.5), ("other", 0.7)):
        shutil.copytree(tiny_bundle.folder, folder / name)
        replace_card(folder / name, dataclasses.replace(tiny_bundle.card, threshold=threshold))
    return folder


@pytest.fixture
def shelf(weights: Path) -> Iterator[Shelf]:
    made = Shelf(Settings(weights=weights, model="tiny", networks=2), Metrics())
    made.reload()
    yield made
    made.close()


def _predictor(lease: Lease, name: str, side: int) -> Any:
    return lease.predictor(
        lease.bundle(name), backend=Backend.AUTO, device="", precision=Precision.AUTO,
        batch=None, tile_shape=(side, side), threads=None,
    )  # fmt: skip


def test_a_network_is_compiled_once_however_many_ask(shelf: Shelf) -> None:
    found: list[Any] = []

    def ask() -> None:
        with shelf.lease() as lease:
            found.append(_predictor(lease, "tiny", 64))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1


def test_networks_beyond_the_limit_are_closed_but_never_one_in_use(shelf: Shelf) -> None:
    tile = np.zeros((1, 3, 64, 64), np.float32)
    with shelf.lease() as lease:
        held = _predictor(lease, "tiny", 64)
        for side in (96, 128, 160):
            with shelf.lease() as other:
                _predictor(other, "other", side)
        assert held(tile).shape == (1, 1, 64, 64)
    with shelf.lease() as lease:
        _predictor(lease, "tiny", 192)
        _predictor(lease, "tiny", 224)
    with pytest.raises(Exception, match="closed"):
        held(tile)


def test_a_lease_keeps_what_it_began_with(shelf: Shelf, weights: Path) -> None:
    """A model replaced, damaged, or gone on disk is still whole for who uses it."""
    with shelf.lease() as lease:
        before = lease.bundle("tiny").digest
        card = dataclasses.replace(open_bundle(weights / "tiny").card, threshold=0.9)
        replace_card(weights / "tiny", card)
        shutil.rmtree(weights / "other")
        done = shelf.reload()
        assert (done.changed, done.removed) == (("tiny",), ("other",))
        assert lease.bundle("tiny").digest == before
        assert _predictor(lease, "other", 64)(np.zeros((1, 3, 64, 64), np.float32)).shape
    with shelf.lease() as lease:
        assert lease.bundle("tiny").card.threshold == 0.9
        with pytest.raises(ModelError):
            lease.bundle("other")


def test_a_damaged_model_does_not_replace_a_good_one(shelf: Shelf, weights: Path) -> None:
    before = shelf.bundles["tiny"].digest
    path = weights / "tiny" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    done = shelf.reload()
    assert set(done.refused) == {"tiny"}
    assert shelf.bundles["tiny"].digest == before
    with shelf.lease() as lease:
        _predictor(lease, "tiny", 64)


def test_callers_name_models_and_not_folders(shelf: Shelf, weights: Path) -> None:
    with shelf.lease() as lease:
        for name in (str(weights / "tiny"), "../weights/tiny", "./tiny", ""):
            with pytest.raises(ModelError):
                lease.bundle(name)


@given(
    shape=st.tuples(st.integers(1, 9000), st.integers(1, 9000)),
    overlap=st.integers(0, 300),
    multiple=st.sampled_from([32, 64]),
)
def test_tiles_are_of_few_sizes_and_large_enough(
    shape: tuple[int, int], overlap: int, multiple: int
) -> None:
    tile = Lease.tile_shape(shape, overlap, multiple, LIMITS)
    assert all(side % multiple == 0 for side in tile)
    Grid(shape=shape, tile_shape=tile, overlap_px=overlap)  # which refuses what does not fit
    if shape[0] * shape[1] < OWN_NETWORK_PX:
        assert tile[0] == tile[1] <= 768
        if max(shape) <= 768:
            assert tile[0] >= max(shape)


def test_models_can_be_chosen_listed_and_reloaded(
    make_service: Callable[..., TestClient], weights: Path, scene: Path
) -> None:
    service = make_service(weights=weights)
    listed = service.get("/models").json()
    assert listed["default"] == "tiny"
    assert [one["name"] for one in listed["models"]] == ["other", "tiny"]
    assert [one["threshold"] for one in listed["models"]] == [0.7, 0.5]

    def buildings(model: str) -> int:
        files = {"file": scene.read_bytes()}
        answer = service.post("/predict", params={"model": model}, files=files).json()
        return int(answer["class_px"]["building"])

    assert buildings("other") < buildings("tiny")
    shutil.copytree(weights / "tiny", weights / "third")
    card = json.loads((weights / "third" / "card.json").read_text())
    card["threshold"] = 0.7
    (weights / "third" / "card.json").write_text(json.dumps(card))
    assert service.post("/models/reload").json()["changed"] == ["third"]
    assert buildings("third") == buildings("other")


def test_requests_go_on_while_models_are_reloaded(
    make_service: Callable[..., TestClient], weights: Path, scene: Path
) -> None:
    service = make_service(weights=weights)
    codes: list[int] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            answer = service.post("/predict", files={"file": scene.read_bytes()})
            codes.append(answer.status_code)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    original = open_bundle(weights / "tiny").card
    for index in range(8):
        replace_card(weights / "tiny", dataclasses.replace(original, threshold=0.3 + index / 20))
        assert service.post("/models/reload").status_code == 200
    ended.set()
    for thread in threads:
        thread.join()
    assert codes
    assert set(codes) == {200}
