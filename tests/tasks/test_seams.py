"""No seam can be found in what the shipped network makes of a scene."""

from __future__ import annotations

from pathlib import Path

import pytest

from geotiler.io.raster import open_scene
from geotiler.specs import RenderSpec, SegmentSpec, Window
from geotiler.tasks.render import render
from geotiler.tasks.segment import segment

HEIGHT, WIDTH = 1300, 2300


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seams") / "scene.tif"
    render(RenderSpec(output=path, height=HEIGHT, width=WIDTH, seed=21))
    return path


def test_tile_lines_are_invisible_and_masks_hardly_depend_on_the_tiling(scene: Path) -> None:
    """Figures of the design: mean |Δp| across tile lines at most 1.1 times that elsewhere, and at
    most 0.3 % of the pixels of the default differ from a reference of large tiles and overlap.
    """
    whole = Window(row=0, col=0, height=HEIGHT, width=WIDTH)
    masks = {}
    for name, tile, overlap in (("small", 512, None), ("fitted", None, None), ("ref", 2048, 512)):
        target = scene.with_name(f"{name}.tif")
        report = segment(
            SegmentSpec(
                scene=str(scene),
                output=target,
                tile_px=(min(tile, 1312), tile) if tile else None,
                overlap_px=overlap,
            )
        )
        with open_scene(str(target)) as mask:
            masks[name] = mask.read(whole)
        if name == "small":  # the others have too few tile lines to average over
            assert report.seam_index is not None
            assert report.seam_index <= 1.1
    assert (masks["fitted"] != masks["ref"]).mean() <= 0.003
    assert (masks["small"] != masks["ref"]).mean() <= 0.006  # a third of the default's tile side
