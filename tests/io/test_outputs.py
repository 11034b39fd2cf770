"""A target is absent or whole, and never replaced unasked."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from geotiler.cli.main import main
from geotiler.errors import OutputError
from geotiler.io.outputs import check_output, replacing


def _entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_good_end_leaves_the_target_alone_in_its_folder(tmp_path: Path) -> None:
    target = tmp_path / "mask.tif"
    with replacing(target, overwrite=False) as temporary:
        assert temporary.suffix == ".tif"
        assert temporary.parent.parent == tmp_path  # one file system, so that a rename is one step
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert _entries(tmp_path) == ["mask.tif"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_a_bad_end_leaves_everything_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "mask.tif"
    target.write_text("old")

    def stop_half_way() -> None:
        with replacing(target, overwrite=True) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        stop_half_way()
    assert target.read_text() == "old"
    assert _entries(tmp_path) == ["mask.tif"]


def test_sidecars_come_along(tmp_path: Path) -> None:
    with replacing(tmp_path / "mask.png", overwrite=False) as temporary:
        temporary.write_text("pixels")
        temporary.with_name("mask.png.aux.xml").write_text("georeference")
    assert _entries(tmp_path) == ["mask.png", "mask.png.aux.xml"]


def test_an_existing_target_needs_to_be_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "mask.tif"
    target.write_text("old")
    with pytest.raises(OutputError, match="--overwrite"), replacing(target, overwrite=False):
        pass
    with replacing(target, overwrite=True) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_a_target_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "mask.tif"

    def be_overtaken() -> None:
        with replacing(target, overwrite=False) as temporary:
            temporary.write_text("new")
            target.write_text("another's")

    with pytest.raises(OutputError, match="exists already"):
        be_overtaken()
    assert target.read_text() == "another's"
    assert _entries(tmp_path) == ["mask.tif"]


def test_a_linked_folder_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    with replacing(tmp_path / "link" / "mask.tif", overwrite=False) as temporary:
        temporary.write_text("new")
    assert _entries(tmp_path / "real") == ["mask.tif"]


def test_the_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").write_text("")
    with replacing(tmp_path / "mask.tif", overwrite=False) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "mask.tif").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nowhere/mask.tif", "mkdir -p"), (".", "is a folder"), ("x" * 300, "cannot be written")],
)
def test_targets_that_cannot_be(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(OutputError, match=reason):
        check_output(tmp_path / name, overwrite=True)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        check_output(tmp_path / "file" / "mask.tif", overwrite=True)


def test_a_folder_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(OutputError, match="not writable"):
        check_output(tmp_path / "mask.tif", overwrite=False)


def test_a_disk_that_is_too_small(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="MB of disk"):
        check_output(tmp_path / "mask.tif", overwrite=False, needed_bytes=10**18)


def test_what_gdal_kept_beside_a_replaced_file_goes_with_it(tmp_path: Path) -> None:
    target = tmp_path / "mask.tif"
    for suffix in ("", ".aux.xml", ".ovr", ".qml"):
        (tmp_path / f"mask.tif{suffix}").write_text("old")
    with replacing(target, overwrite=True) as temporary:
        temporary.write_text("new")
    assert _entries(tmp_path) == ["mask.tif", "mask.tif.qml"]  # a style is the user's
    with replacing(target, overwrite=True) as temporary:
        temporary.write_text("new")
        temporary.with_name("mask.tif.aux.xml").write_text("new")
    assert (tmp_path / "mask.tif.aux.xml").read_text() == "new"


def test_two_writers_are_one_too_many(tmp_path: Path) -> None:
    target = tmp_path / "mask.tif"
    with replacing(target, overwrite=False) as temporary:
        with pytest.raises(OutputError, match="another run"), replacing(target, overwrite=False):
            pass
        temporary.write_text("new")
    assert _entries(tmp_path) == ["mask.tif"]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".mask.tif.part"
    left.mkdir()
    (left / "mask.tif.aux.xml").write_text("half")
    with replacing(tmp_path / "mask.tif", overwrite=False) as temporary:
        temporary.write_text("new")
    assert _entries(tmp_path) == ["mask.tif"]


@pytest.mark.parametrize(
    "target",
    ["s3://bucket/mask.tif", "https://me:Tops3cret@host/a.tif?sig=Tops3cret", "/vsis3/b/mask.tif"],
)
def test_an_address_is_refused_in_one_line_without_its_secrets(target: str) -> None:
    with pytest.raises(OutputError, match="is an address") as raised:
        check_output(Path(target), overwrite=False)
    assert "Tops3cret" not in str(raised.value)
    check_output(Path("s3.tif"), overwrite=False)


_PLACE = "https://me:Tops3cret@host/x{}?sig=Tops3cret"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["vectorize", "a.tif", "-o", _PLACE.format(".gpkg")], 4),
        (["segment", "a.tif", "-o", _PLACE.format(".tif")], 4),
        (["segment", "a.tif", "b.tif", "-o", _PLACE.format("")], 4),
        (["segment", "a.tif", "b.tif", "-o", "gs://me/bucket"], 4),
        (["classify", "a.tif", "-o", _PLACE.format(".tif")], 4),
        (["classify", "a.tif", "-o", _PLACE.format(".gpkg")], 4),
        (["render", _PLACE.format(".tif")], 4),
        (["demo", _PLACE.format("")], 4),
        (["preview", "a.tif", "-o", _PLACE.format(".png")], 2),
        (["export", "buildings", "-o", _PLACE.format(".onnx")], 2),
    ],
)
def test_no_command_says_the_secrets_of_an_output(
    command: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name in ("a.tif", "b.tif"):
        with rasterio.open(
            name, "w", driver="GTiff", count=3, height=64, width=64, dtype="uint8",
            crs="EPSG:32633", transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6),
        ) as out:  # fmt: skip
            out.write(np.ones((3, 64, 64), np.uint8))
    assert main(command) == code
    said = capsys.readouterr().err
    assert "Tops3cret" not in said
    assert ("is an address" in said) == (code == 4), said
    assert _entries(tmp_path) == ["a.tif", "b.tif"]
