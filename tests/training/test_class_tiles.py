"""Tiles of one class each: found at any depth, split without overlap, refused when not safe."""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geotiler.errors import InputError, SpecError
from geotiler.training.class_splits import (
    PARTS,
    first_of_each,
    list_name,
    random_split,
    spatial_split,
    split_names,
)
from geotiler.training.class_tiles import open_tiles
from geotiler.training.classification_config import ClassTilesConfig

CLASSES = ("Dry", "Wet")


def _folder(root: Path, per_class: int = 3) -> Path:
    for label, name in enumerate(CLASSES):
        (root / "deep" / name).mkdir(parents=True)
        for index in range(per_class):
            image = np.full((16, 16, 3), (10 * index, 60, 200 * label), np.uint8)
            cv2.imwrite(str(root / "deep" / name / f"{name}_{index}.png"), image[..., ::-1])
    return root


def _zipped(root: Path) -> Path:
    return Path(shutil.make_archive(str(root), "zip", root))


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_and_its_archive_hold_the_same_tiles(tmp_path: Path, packed: bool) -> None:
    root = _folder(tmp_path / "tiles")
    tiles = open_tiles(_zipped(root) if packed else root, CLASSES)
    assert tiles.counts() == {"Dry": 3, "Wet": 3}
    read = tiles.read(["Wet_2.png", "Dry_1.png"], 16)
    assert read.images[:, :, 5, 5].tolist() == [[20, 60, 200], [10, 60, 0]]  # RGB
    assert read.labels.tolist() == [1, 0]


def _no_class(root: Path) -> None:
    shutil.rmtree(root / "deep" / "Wet")


def _same_name(root: Path) -> None:
    shutil.copy(root / "deep/Wet/Wet_0.png", root / "deep/Dry/Wet_0.png")


@pytest.mark.parametrize(
    ("damage", "message"), [(_no_class, "no tiles of 1 of 2 classes: Wet"), (_same_name, "Wet_0")]
)
def test_a_folder_that_is_no_data_set_is_told(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    root = _folder(tmp_path / "tiles")
    damage(root)
    with pytest.raises(InputError, match=message):
        open_tiles(root, CLASSES)


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_a_tile_that_is_no_image_of_that_size_is_named(
    tmp_path: Path, content: bytes | None
) -> None:
    root = _folder(tmp_path / "tiles")
    path = root / "deep" / "Dry" / "Dry_0.png"
    if content is None:
        cv2.imwrite(str(path), np.zeros((16, 15, 3), np.uint8))
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"Dry_0\.png"):
        open_tiles(root, CLASSES).read(["Dry_0.png"], 16)


def test_what_is_not_there_or_no_archive(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no training data"):
        open_tiles(tmp_path / "nowhere", CLASSES)
    (tmp_path / "a.zip").write_bytes(b"PK no")
    with pytest.raises(InputError, match="neither a folder nor a zip"):
        open_tiles(tmp_path / "a.zip", CLASSES)


@pytest.mark.parametrize(
    "member", ["../Dry/Dry_9.png", "/Dry/Dry_9.png", "a/../../Dry/x.png", "C:/Dry/x.png", "..\\x"]
)
def test_an_archive_that_points_outside_is_refused(tmp_path: Path, member: str) -> None:
    archive = _zipped(_folder(tmp_path / "tiles"))
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(zipfile.ZipInfo(member), b"x")
    with pytest.raises(InputError, match="outside"):
        open_tiles(archive, CLASSES)


def test_an_archive_with_a_link_is_refused(tmp_path: Path) -> None:
    archive = _zipped(_folder(tmp_path / "tiles"))
    link = zipfile.ZipInfo("Dry/Dry_9.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(link, b"/etc/passwd")
    with pytest.raises(InputError, match="outside"):
        open_tiles(archive, CLASSES)


@given(
    sizes=st.lists(st.integers(1, 60), min_size=2, max_size=5),
    seed=st.integers(0, 5),
)
def test_the_random_split_is_a_partition_with_equal_shares(sizes: list[int], seed: int) -> None:
    labels = {f"{c}_{i}": c for c, size in enumerate(sizes) for i in range(size)}
    parts = random_split(labels, seed=seed)
    assert sorted(name for names in parts.values() for name in names) == sorted(labels)
    for label, size in enumerate(sizes):
        for part, share in zip(PARTS, (0.7, 0.15, 0.15), strict=True):
            found = sum(labels[name] == label for name in parts[part])
            assert abs(found - share * size) <= 1
    shuffled = dict(sorted(labels.items(), reverse=True))
    assert random_split(shuffled, seed=seed) == parts  # names and seed alone decide


def test_another_seed_is_another_split() -> None:
    labels = {f"0_{i}": 0 for i in range(40)}
    assert random_split(labels, seed=0) != random_split(labels, seed=1)


@pytest.mark.parametrize("fractions", [(0.7, 0.3), (0.7, 0.2, 0.2), (1.0, 0.0, 0.0)])
def test_fractions_that_are_none_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(SpecError, match="fractions"):
        random_split({"a": 0}, fractions)


def _lists(folder: Path, **parts: str) -> None:
    for part, text in parts.items():
        (folder / list_name("spatial", part)).write_text(text)


def test_lists_that_share_a_tile_lack_one_or_are_empty_are_refused(tmp_path: Path) -> None:
    _lists(tmp_path, train="a\nb\n", val="c\n")
    with pytest.raises(InputError, match=r"spatial-test\.txt cannot be read"):
        spatial_split(tmp_path)
    _lists(tmp_path, test="d\na\n")
    with pytest.raises(InputError, match="'a' is listed twice, in train and test"):
        spatial_split(tmp_path)
    _lists(tmp_path, test="\n")
    with pytest.raises(InputError, match="is empty"):
        spatial_split(tmp_path)


def test_lists_of_another_data_set_are_told(tmp_path: Path) -> None:
    root = _folder(tmp_path / "tiles")
    _lists(root, train="Dry_0.png\nWet_7.png\n", val="Dry_1.png\n", test="Wet_1.png\n")
    tiles = open_tiles(root, CLASSES)
    parts = split_names(ClassTilesConfig(root=str(root)), tiles.labels)
    assert parts["val"] == ["Dry_1.png"]
    with pytest.raises(InputError, match=r"1 of 2 listed tiles are not in .*Wet_7"):
        tiles.read(parts["train"], 16)


def test_a_limit_takes_the_first_of_each_class() -> None:
    names = ["a0", "b0", "a1", "b1", "a2"]
    labels = {name: "ab".index(name[0]) for name in names}
    assert first_of_each(names, labels, 2) == ["a0", "b0", "a1", "b1"]
