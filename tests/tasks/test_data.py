"""`geotiler data eurosat`: whole or absent, counted, split without overlap."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from geotiler.errors import InputError, OutputError
from geotiler.specs import EurosatSpec
from geotiler.tasks.data import eurosat
from geotiler.training.class_splits import PARTS, list_name, spatial_split
from geotiler.training.eurosat import COUNTS


def _listed(folder: Path, split: str) -> dict[str, set[str]]:
    return {part: set((folder / list_name(split, part)).read_text().split()) for part in PARTS}


@pytest.mark.parametrize("packed", [False, True])
def test_a_copy_holds_the_same_bytes_and_lists(
    landuse_tiles: Path, tmp_path: Path, packed: bool
) -> None:
    source = landuse_tiles
    if packed:
        source = Path(shutil.make_archive(str(tmp_path / "tiles"), "zip", landuse_tiles))
    done = eurosat(
        EurosatSpec(output=tmp_path / "out", source=source, lists=landuse_tiles, subset=True)
    )
    assert done.counts == dict.fromkeys(COUNTS, 10)
    for path in landuse_tiles.glob("*/*.jpg"):
        copied = tmp_path / "out" / path.relative_to(landuse_tiles)
        assert copied.read_bytes() == path.read_bytes()
    assert spatial_split(tmp_path / "out") == spatial_split(landuse_tiles)
    by_chance = _listed(tmp_path / "out", "random")
    assert sum(len(names) for names in by_chance.values()) == 100
    assert len(set.union(*by_chance.values())) == 100


def test_a_limit_takes_so_many_of_each_class_and_part(landuse_tiles: Path, tmp_path: Path) -> None:
    done = eurosat(EurosatSpec(output=tmp_path / "out", source=landuse_tiles, subset=True, limit=1))
    assert done.spatial == dict.fromkeys(PARTS, 10)
    assert done.counts == dict.fromkeys(COUNTS, 3)


def test_what_is_not_complete_is_refused_and_nothing_is_left(
    landuse_tiles: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="AnnualCrop 10 of 3000"):
        eurosat(EurosatSpec(output=tmp_path / "out", source=landuse_tiles))
    assert not list(tmp_path.iterdir())


def test_an_archive_that_points_outside_leaves_nothing(landuse_tiles: Path, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "tiles"), "zip", landuse_tiles))
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("../../River/River_99.jpg", b"x")
    with pytest.raises(InputError, match="outside"):
        eurosat(EurosatSpec(output=tmp_path / "data" / "out", source=archive, subset=True))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["tiles.zip"]


def test_only_its_own_folders_are_replaced(landuse_tiles: Path, tmp_path: Path) -> None:
    spec = EurosatSpec(output=tmp_path / "out", source=landuse_tiles, subset=True)
    eurosat(spec)
    with pytest.raises(OutputError, match="--overwrite"):
        eurosat(spec)
    again = EurosatSpec(
        output=tmp_path / "out", source=landuse_tiles, subset=True, limit=1, overwrite=True
    )
    assert eurosat(again).counts["River"] == 3
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="something else"):
        eurosat(
            EurosatSpec(output=tmp_path / "mine", source=landuse_tiles, subset=True, overwrite=True)
        )
    assert (tmp_path / "mine" / "thesis.txt").is_file()


def test_a_download_that_fails_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that is not there stands for a network that is not there."""
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=r"--from EuroSAT_RGB\.zip"):
        eurosat(EurosatSpec(output=tmp_path / "data" / "out"))
    assert not list(tmp_path.iterdir())


@pytest.mark.data
@pytest.mark.slow
def test_the_real_archive_is_complete_and_its_lists_cover_it(
    real_data: Path, tmp_path: Path
) -> None:
    source = real_data / "eurosat" / "EuroSAT_RGB.zip"
    done = eurosat(EurosatSpec(output=tmp_path / "out", source=source))
    assert done.counts == COUNTS
    assert done.spatial == {"train": 16200, "val": 5400, "test": 5400}
    assert done.random == {"train": 18900, "val": 4050, "test": 4050}
    spatial = _listed(tmp_path / "out", "spatial")
    assert len(set.union(*spatial.values())) == 27_000
