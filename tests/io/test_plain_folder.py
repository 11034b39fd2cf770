"""Plain folders of images and masks: what the lists say is what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from geotiler.errors import InputError
from geotiler.io.plain_folder import is_plain_folder, read_plain_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for name in ("a", "b", "c", "d"):
        (tmp_path / "images" / f"{name}.jpg").touch()
        (tmp_path / "masks" / f"{name}.png").touch()
    (tmp_path / "images" / "notes.txt").touch()
    return tmp_path


def test_lists_decide_what_belongs_where(folder: Path) -> None:
    (folder / "val.txt").write_text("c\n\n")
    (folder / "train.txt").write_text("b\na\n")
    found = read_plain_folder(str(folder))
    assert [Path(path).name for path in found.images] == ["b.jpg", "a.jpg", "c.jpg"]
    assert [Path(path).name for path in found.masks] == ["b.png", "a.png", "c.png"]
    assert found.splits == ("train", "train", "val")


def test_without_lists_all_images_count(folder: Path) -> None:
    found = read_plain_folder(str(folder))
    assert len(found.images) == len(found.masks) == 4
    assert found.splits == ()
    for path in (folder / "masks").iterdir():
        path.unlink()
    assert read_plain_folder(str(folder)).masks == ()


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": "a\nz\n"}, "images has no file named 'z'"),
        ({"train": "a\n", "test": "b\na\n"}, "lists 'a' in train and in test"),
        ({"train": "a\na\n"}, "lists 'a' in train and in train"),
        ({"train": "\n"}, "has no images"),
        ({"train": "d\n"}, "masks has no file named 'd'"),
    ],
)
def test_lists_that_cannot_be_followed(folder: Path, lists: dict[str, str], message: str) -> None:
    (folder / "masks" / "d.png").unlink()
    for name, text in lists.items():
        (folder / f"{name}.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        read_plain_folder(str(folder))


def test_other_folders_are_none(tmp_path: Path) -> None:
    assert not is_plain_folder(str(tmp_path))
    (tmp_path / "images").touch()
    assert not is_plain_folder(str(tmp_path))
