"""What tells files apart in provenance, and what must not be in it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from geotiler.io import identity as module
from geotiler.io.identity import identity, shown_name


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("scenes/town.tif", "scenes/town.tif"),
        ("/home/someone/town.tif", "town.tif"),
        ("../elsewhere/town.tif", "town.tif"),
        ("https://host/a/town.tif?signature=secret", "town.tif"),
        ("/vsis3/bucket/town.tif", "town.tif"),
    ],
)
def test_names_tell_nothing_of_the_machine(path: str, shown: str) -> None:
    assert shown_name(path) == shown


def test_the_digest_is_of_the_content_not_of_place_or_time(tmp_path: Path) -> None:
    one, other = tmp_path / "a.tif", tmp_path / "b.tif"
    for path in (one, other):
        path.write_bytes(b"pixels")
    os.utime(other, (0, 0))
    assert identity(str(one))["sha256"] == identity(str(other))["sha256"]
    assert identity(str(one))["bytes"] == 6
    other.write_bytes(b"pixelz")
    assert identity(str(one))["sha256"] != identity(str(other))["sha256"]


def test_both_ends_of_a_large_file_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WHOLE_BYTES", 30)
    monkeypatch.setattr(module, "_PART_BYTES", 10)
    path = tmp_path / "large.tif"
    path.write_bytes(b"a" * 40)
    first = identity(str(path))["sha256_of_ends"]
    inner = hashlib.sha256(b"a" * 10 + b"a" * 10).digest()
    assert first == hashlib.sha256(inner).hexdigest()
    for place in (0, 39):
        data = bytearray(b"a" * 40)
        data[place] = ord("b")
        path.write_bytes(data)
        assert identity(str(path))["sha256_of_ends"] != first


def test_attributes_of_a_shapefile_belong_to_it(tmp_path: Path) -> None:
    shapes = tmp_path / "houses.shp"
    shapes.write_bytes(b"outlines")
    before = identity(str(shapes))
    shapes.with_suffix(".dbf").write_bytes(b"attributes")
    assert identity(str(shapes)) != before


def test_what_is_no_local_file_has_its_name_only() -> None:
    assert identity("https://host/town.tif?key=1") == {"name": "town.tif"}
