"""Coverage-guided fuzzing of what geotiler parses: `run.py TARGET [libFuzzer flags]`.

Each target takes bytes; whatever they are, it returns or raises an error of geotiler's own.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["geotiler"]):
    from geotiler.cli.scenes import named_scenes
    from geotiler.errors import GeotilerError
    from geotiler.io.area import area_of_file
    from geotiler.io.array_parts import ArrayPart
    from geotiler.io.journal import Journal
    from geotiler.io.parts import are_stored
    from geotiler.io.raster import open_scene
    from geotiler.io.remote import check_sources, redacted, shown
    from geotiler.io.stac import scene_of_item
    from geotiler.models.card import ModelCard
    from geotiler.tasks.segment_strips import Strip
    from geotiler.tasks.vectorize_work import Mark

FOLDER = Path(tempfile.mkdtemp(prefix="geotiler-fuzz-"))
SCENE = FOLDER / "scene.tif"


def _file(name: str, data: bytes) -> Path:
    path = FOLDER / name
    path.write_bytes(data)
    return path


def _journal(data: bytes) -> None:
    _, lines = Journal(_file("journal.jsonl", b'{"journal": 1, "made_from": {}}\n' + data)).read()
    for line in lines:
        for parse in (Strip.from_json, Mark.from_json, ArrayPart.from_json):
            try:
                parse(line)
            except ValueError:  # not a strip: it is computed again
                continue
        are_stored(line, lambda name: FOLDER / "none")


def _area(data: bytes) -> None:
    if not SCENE.exists():
        import numpy as np
        import rasterio
        from affine import Affine

        with rasterio.open(
            SCENE, "w", driver="GTiff", count=1, height=9, width=9, dtype="uint8",
            crs="EPSG:32633", transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6),
        ) as out:  # fmt: skip
            out.write(np.zeros((1, 9, 9), np.uint8))
    with open_scene(str(SCENE)) as scene:
        area_of_file(str(_file("area.geojson", data)), scene).window(scene.shape)


def _raster(data: bytes) -> None:
    with open_scene(str(_file("any.tif", data))) as scene:
        window = next(scene.strips())
        if window.width * window.height * scene.count < 2**22:
            scene.read_with_valid(window)


def _address(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    redacted(text)
    shown(text)


TARGETS: dict[str, Callable[[bytes], object]] = {
    "card": ModelCard.from_json,
    "journal": _journal,
    "area": _area,
    "raster": _raster,
    "vrt": lambda data: check_sources(str(_file("any.vrt", data))),
    "item": lambda data: scene_of_item(str(_file("item.json", data)), "visual"),
    "list": lambda data: named_scenes([], _file("list.txt", data)),
    "address": _address,
}

SEEDS = {
    "card": (Path(__file__).parents[2] / "weights" / "buildings" / "card.json").read_bytes(),
    "journal": b'{"mask": {"row": 0, "col": 0, "height": 1, "width": 1, "bytes": 1, "sha256": ""},'
    b' "probability": null, "class_px": {"1": 1}, "computed": 1, "skipped": 0,'
    b' "seam_sums": [[0, 0], [0, 0]]}\n',
    "area": b'{"type": "Polygon", "coordinates": [[[15, 45], [16, 45], [16, 46], [15, 45]]]}',
    "vrt": b'<VRTDataset><VRTRasterBand><SimpleSource><SourceFilename relativeToVRT="1">a.tif'
    b"</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>",
    "item": b'{"stac_version": "1.0.0", "assets": {"visual": {"href": "a.tif"}}}',
    "list": b"# scenes\na.tif\n*.tif\n",
    "address": b"/vsicurl/https://user:password@host:80/path?query#fragment",
}


def main() -> None:
    """Run the target that is named on the command line."""
    name = sys.argv.pop(1)
    target = TARGETS[name]

    def once(data: bytes) -> None:
        try:
            target(data)
        except (GeotilerError, MemoryError):
            return

    corpus = FOLDER / "corpus"
    corpus.mkdir()
    (corpus / "seed").write_bytes(SEEDS.get(name, b"{}"))
    atheris.Setup([*sys.argv, str(corpus)], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
