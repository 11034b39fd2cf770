"""Damaged and lying rasters give a result or one clear line, in bounded memory and time."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.shutil import copy as copy_raster

from geotiler.errors import InputError
from geotiler.io.raster import open_scene
from geotiler.specs import Window

OUTCOMES = {"read", "refused", "large", "memory"}

READ = """
import resource, sys
from pathlib import Path
sys.path[:0] = [sys.argv[4]]
resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))
from test_hostile import damaged, outcome
source, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
content = source.read_bytes()
victim = source.with_name("victim" + source.suffix)
found = {}
for seed in range(first, first + count):
    victim.write_bytes(damaged(content, seed))
    print("seed", seed, file=sys.stderr, flush=True)
    kind = outcome(str(victim))
    found[kind] = found.get(kind, 0) + 1
print(found)
"""


def damaged(content: bytes, seed: int) -> bytes:
    """The content cut off, or with some bits, bytes or a block changed; headers more often."""
    chance = random.Random(seed)
    values = bytearray(content)
    kind = chance.choice(["cut", "bits", "bytes", "block", "number"])
    reach = len(values) if chance.random() < 0.4 else min(len(values), 400)
    if kind == "cut":
        return bytes(values[: chance.randrange(len(values))])
    for _ in range(chance.randint(1, 12)):
        place = chance.randrange(reach)
        if kind == "bits":
            values[place] ^= 1 << chance.randrange(8)
        elif kind == "bytes":
            values[place] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])
        elif kind == "block":
            values[place : place + chance.randrange(64)] = bytes(chance.randrange(64))
        else:
            number = struct.pack("<I", chance.choice([0, 1, 2**16 - 1, 2**31 - 1, 2**32 - 1]))
            values[place : place + 4] = number
    return bytes(values)


def outcome(path: str) -> str:
    """What became of reading the first strips of a raster; anything but these is an error."""
    try:
        with open_scene(path) as scene:
            _ = scene.gsd_m, scene.band_names, scene.class_names
            scene.coarse_valid([1], side_px=16) if scene.is_cheap_to_overlook else None
            for number, window in enumerate(scene.strips()):
                if number == 4 or window.width * window.height * scene.count > 2**26:
                    return "large"
                scene.read_with_valid(window)
        return "read"
    except InputError as error:
        return "several lines" if "\n" in str(error) else "refused"
    except MemoryError:
        return "memory"


def _image(count: int, dtype: str) -> np.ndarray:
    values = np.random.default_rng(2).integers(0, 200, (count, 200, 260))
    return (values // 30 * 30).astype(dtype)


def _tiff(path: Path, image: np.ndarray, **profile: Any) -> Path:
    count, height, width = image.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=image.dtype,
        crs="EPSG:32633", transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6), **profile,
    ) as out:  # fmt: skip
        out.write(image)
    return path


def _cog(path: Path) -> Path:
    plain = _tiff(path.with_name("plain.tif"), _image(3, "uint8"), nodata=0)
    copy_raster(plain, path, driver="COG", compress="deflate", blocksize=128, strict=False)
    return path


def _with(driver: str) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        plain = _tiff(path.with_name("plain.tif"), _image(3, "uint8"))
        copy_raster(plain, path, driver=driver)
        return path

    return make


KINDS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "striped": (".tif", lambda p: _tiff(p, _image(3, "uint16"), compress="lzw")),
    "tiled": (
        ".tif",
        lambda p: _tiff(p, _image(4, "uint8"), tiled=True, blockxsize=64, blockysize=64),
    ),
    "float": (".tif", lambda p: _tiff(p, _image(1, "float32"), compress="deflate", predictor=3)),
    "jpeg in tiff": (".tif", lambda p: _tiff(p, _image(3, "uint8"), compress="jpeg")),
    "cog": (".tif", _cog),
    "png": (".png", _with("PNG")),
    "jpeg": (".jpg", _with("JPEG")),
    "vrt": (".vrt", _with("VRT")),
}


def _read_many(source: Path, first: int, count: int) -> dict[str, int]:
    """Outcomes of damaged copies, read in a process with bounded memory and time."""
    command = [sys.executable, "-c", READ, str(source), str(first), str(count)]
    done = subprocess.run(
        [*command, str(Path(__file__).parent)], capture_output=True, text=True, check=False,
        timeout=120 + 2 * count,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1500:]
    said = [line for line in done.stderr.splitlines() if not line.startswith("seed ")]
    assert said == [], "GDAL writes past us to standard error"
    found: dict[str, int] = eval(done.stdout.splitlines()[-1], {})
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on memory")
@pytest.mark.parametrize("kind", ["striped", "cog"])
def test_some_damaged_rasters(tmp_path: Path, kind: str) -> None:
    suffix, make = KINDS[kind]
    found = _read_many(make(tmp_path / f"good{suffix}"), 0, 150)
    assert found.keys() <= OUTCOMES
    assert found["refused"] > 20
    assert found["read"] > 0


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_damaged_rasters(tmp_path: Path, kind: str) -> None:
    suffix, make = KINDS[kind]
    source = make(tmp_path / f"good{suffix}")
    for first in range(0, 2000, 250):
        assert _read_many(source, first, 250).keys() <= OUTCOMES


def _sizes(path: Path, width: int, height: int) -> Path:
    """A TIFF of a few bytes whose header promises more."""
    entries = [
        (256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8),
        (277, 3, 1), (278, 4, height), (279, 4, 16),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries
    )
    path.write_bytes(b"II*\0" + struct.pack("<I", 24) + bytes(16) + directory + bytes(4))
    return path


@pytest.mark.parametrize("size", [(2**31 - 1, 2**31 - 1), (10, 2**31 - 1), (2**31 - 1, 3)])
def test_dimensions_that_lie(tmp_path: Path, size: tuple[int, int]) -> None:
    path = _sizes(tmp_path / "scene.tif", *size)
    corner = Window(row=0, col=0, height=min(4, size[1]), width=min(4, size[0]))
    with pytest.raises(InputError, match=r"scene\.tif"):
        _read_window(path, corner)


def _read_window(path: Path, window: Window) -> None:
    with open_scene(str(path)) as scene:
        next(scene.strips())
        scene.read(window)


def test_very_many_bands(tmp_path: Path) -> None:
    """65,535 bands of one pixel, written by hand since GDAL takes minutes."""
    count = 65_535
    path = tmp_path / "scene.tif"
    entries = [
        (256, 4, 1, 1), (257, 4, 1, 1), (258, 3, count, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, 8 + 2 * count), (277, 3, 1, count), (278, 4, 1, 1), (279, 4, 1, count),
        (284, 3, 1, 1),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", *entry) for entry in entries
    )
    values = np.arange(count, dtype=np.uint8)
    depths = struct.pack(f"<{count}H", *[8] * count)
    place = struct.pack("<I", 8 + 3 * count)
    path.write_bytes(b"II*\0" + place + depths + values.tobytes() + directory + bytes(4))
    with open_scene(str(path)) as scene:
        assert scene.count == count
        part = scene.read(Window(row=0, col=0, height=1, width=1), [1, 2, count])
        assert part.ravel().tolist() == [0, 1, values[-1]]


def test_a_bomb_is_read_strip_by_strip(tmp_path: Path) -> None:
    """A million times more pixels than bytes: only what is asked for is unpacked."""
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=100_000, width=100_000, dtype="uint8",
        tiled=True, blockxsize=512, blockysize=512, compress="deflate", sparse_ok=True,
    ):  # fmt: skip
        pass
    assert path.stat().st_size < 10_000_000
    with open_scene(str(path)) as scene:
        window = next(scene.strips())
        assert window.width * window.height <= 100_000 * 512
        assert not scene.read(Window(row=99_000, col=99_000, height=500, width=500)).any()


@pytest.mark.parametrize(
    "name",
    ["with space.tif", "new\nline.tif", "-leading.tif", "ünïcödé 屋根.tif", "per%20cent.tif",
     "quote'\".tif", "a;b&c$(d).tif", "[1].tif"],
)  # fmt: skip
def test_any_name_of_a_file(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _tiff(Path(name), _image(1, "uint8"))
    with open_scene(name) as scene:
        assert scene.shape == (200, 260)
    Path(name).write_bytes(b"II*\0")
    with pytest.raises(InputError, match="cannot be opened"):
        open_scene(name)


@pytest.mark.parametrize("name", ["", "\0", "a\0b.tif", "x" * 5000, "/", ".", "//", "a" * 300])
def test_names_of_nothing(name: str) -> None:
    with pytest.raises(InputError):
        open_scene(name)
