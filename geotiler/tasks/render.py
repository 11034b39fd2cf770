"""An example scene with its true footprints, for trying geotiler where no imagery is at hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely

from geotiler.core.synthetic import CHUNK_PX, SyntheticScene
from geotiler.errors import SpecError
from geotiler.io.outputs import check_output, replacing
from geotiler.io.part_layout import raster_driver
from geotiler.io.scene_writer import SceneWriter, create_scene
from geotiler.io.vector import FeatureBatch, Layer, write_features
from geotiler.io.vector_formats import check_target
from geotiler.progress import Reporter, StageAdvanced, StageFinished, StageStarted, silent
from geotiler.reports import Report
from geotiler.specs import RenderSpec, Window

CRS = "EPSG:32632"
ORIGIN_M = (690_000.0, 5_340_000.0)
"""Easting and northing of the upper left corner: a place in Upper Bavaria, for want of a truth."""

_STAGE = "render"


@dataclass(frozen=True, kw_only=True)
class RenderReport(Report):
    """What was rendered."""

    output: Path
    truth: Path | None
    height: int
    width: int
    gsd_m: float
    seed: int
    footprints: int
    """Outlines written; 0 where no truth was asked for."""
    building_share: float
    """Of the valid pixels."""
    valid_share: float
    """Of all pixels."""
    seconds: float


@dataclass
class _Tally:
    """What has been rendered so far."""

    building_px: int = 0
    valid_px: int = 0
    footprints: int = 0


def render(spec: RenderSpec, *, report: Reporter = silent) -> RenderReport:
    """An example scene as GeoTIFF and, if asked for, its buildings as vector features.

    Memory depends on the width of the scene, not on its height. The same seed, size and GSD give
    the same files.

    Raises:
        SpecError: the suffix names no GeoTIFF, or that of the truth no vector format.
        OutputError: an output exists (without overwrite) or cannot be written.
    """
    check_output(spec.output, spec.overwrite)
    if raster_driver(spec.output) != "COG":
        raise SpecError(f"output {spec.output}: a scene is a GeoTIFF", hint="name it .tif")
    if spec.truth is not None:
        check_target(str(spec.truth), spec.overwrite)
    begin = time.perf_counter()
    tally = _Tally()
    with (
        replacing(spec.output, spec.overwrite) as target,
        create_scene(
            target,
            shape=(spec.height, spec.width),
            crs=CRS,
            transform=(spec.gsd_m, 0.0, ORIGIN_M[0], 0.0, -spec.gsd_m, ORIGIN_M[1]),
            tags={"GEOTILER_RENDERED": f"seed {spec.seed}, {spec.gsd_m:g} m"},
        ) as raster,
    ):
        batches = _painted(spec, raster, tally, report)
        if spec.truth is None:
            for _ in batches:
                pass
        else:
            layer = Layer(fields={"class": "text"}, crs=CRS)
            write_features(str(spec.truth), batches, layer, overwrite=spec.overwrite)
    return RenderReport(
        output=spec.output,
        truth=spec.truth,
        height=spec.height,
        width=spec.width,
        gsd_m=spec.gsd_m,
        seed=spec.seed,
        footprints=tally.footprints,
        building_share=tally.building_px / max(1, tally.valid_px),
        valid_share=tally.valid_px / (spec.height * spec.width),
        seconds=time.perf_counter() - begin,
    )


def _painted(
    spec: RenderSpec, raster: SceneWriter, tally: _Tally, report: Reporter
) -> Iterator[FeatureBatch]:
    """The outlines of one strip after the other; each strip's pixels are written on the way."""
    scene = SyntheticScene(seed=spec.seed, height=spec.height, width=spec.width, gsd_m=spec.gsd_m)
    scale = np.array([spec.gsd_m, -spec.gsd_m])
    report(StageStarted(stage=_STAGE, total=spec.height * spec.width / 1e6, unit="Mpx"))
    for row in range(0, spec.height, CHUNK_PX):
        height = min(CHUNK_PX, spec.height - row)
        strip = Window(row=row, col=0, height=height, width=spec.width)
        rgb, footprints, valid = scene.render(strip)
        raster.write(strip, rgb, valid)
        tally.building_px += int(np.count_nonzero(footprints))
        tally.valid_px += int(np.count_nonzero(valid))
        if spec.truth is not None:
            outlines = np.array(scene.footprints(strip), dtype=object)
            tally.footprints += len(outlines)
            yield FeatureBatch(
                geometries=shapely.transform(outlines, lambda p: p * scale + ORIGIN_M),
                attributes={"class": np.full(len(outlines), "building")},
            )
        report(StageAdvanced(stage=_STAGE, amount=height * spec.width / 1e6))
    report(StageFinished(stage=_STAGE))
