"""Each setting of `geotiler segment`, from the flag, the scene, the model card or the default."""

from __future__ import annotations

import math
from dataclasses import replace

from geotiler.core.grid import Grid, TileLimits, fitted_overlap
from geotiler.core.radiometry import PHOTOGRAPH, photograph_scale, told_scale
from geotiler.core.resample import Axis
from geotiler.errors import SpecError
from geotiler.io.raster import Scene
from geotiler.io.scene_values import bands_for, gsd_notice, measured_scale, no_crs_notice
from geotiler.models.bundle import Bundle
from geotiler.models.networks import Networks
from geotiler.models.predictor import largest_tile_px, used_precision
from geotiler.reports import Setting
from geotiler.specs import Precision, Scale, SegmentSpec

GSD_TOLERANCE = 1.25
"""A scene's GSD may differ from the model's by this factor before it is resampled: networks are
trained with zoom augmentation of that size, and resampling costs time and sharpness."""

COARSEST_RATIO = 4.0
"""Scenes coarser than the model's GSD by more than this are refused: what the model looks for is
not in them, and the work grows with the square of the factor."""


PANEL_PX = 16_384
"""Network columns of one sweep; wider scenes are swept in panels, which bounds memory."""

_WIDEST_PX = 3072
"""Of tiles, where a scene is one panel."""

_ROW_PX = 18_000_000
"""Pixels of a row of tiles beyond which tiles are made less tall: about a quarter of a gigabyte."""

_MUCH_SHARED = 2.0
"""Whoever has each pixel computed more often than that by tile and overlap is told."""


def bands_setting(
    spec: SegmentSpec, bundle: Bundle, scene: Scene, settings: dict[str, Setting]
) -> tuple[int, ...]:
    """Bands of the scene in the order that the model wants.

    Raises:
        SpecError: they have to be named, or do not fit.
        InputError: they hold no colours.
    """
    bands = bands_for(scene, bundle.card.bands, spec.bands, bundle.card.name)
    settings["bands"] = Setting(value=list(bands), origin="flag" if spec.bands else "scene")
    return bands


def scale_setting(
    spec: SegmentSpec,
    bundle: Bundle,
    scene: Scene,
    bands: tuple[int, ...],
    settings: dict[str, Setting],
    notices: list[str],
) -> Scale:
    """Raw range of the values, measured where neither flag nor card fixes it."""
    card_scale = bundle.card.scale
    is_eight_bit = all(scene.dtypes[band - 1] == "uint8" for band in bands)
    origin = "flag"
    if spec.scale is not None:
        scale = spec.scale
    elif spec.auto_scale or (not is_eight_bit and card_scale.maximum == 255):
        measured = measured_scale(scene, bands)
        is_photograph = card_scale.maximum == 255
        scale = told_scale(photograph_scale(measured) if is_photograph else measured)
        origin = "scene"
        low, high = (round(255 * share) for share in PHOTOGRAPH)
        place = f"{low} to {high} of 255" if is_photograph else "the model's whole range"
        notices.append(
            f"values {measured.minimum:g} to {measured.maximum:g} (scene-wide 2-98 %) are read as "
            f"{place}; fix the range with --scale {scale.minimum!r},{scale.maximum!r}"
        )
    else:
        scale = card_scale
        origin = "model card"
    settings["scale"] = Setting(value=[scale.minimum, scale.maximum], origin=origin)
    return scale


def axes_setting(
    spec: SegmentSpec,
    bundle: Bundle,
    scene: Scene,
    settings: dict[str, Setting],
    notices: list[str],
) -> tuple[Axis, Axis]:
    """(row, column) axes from the scene to the network's grid."""
    gsd_m, origin = spec.gsd_m, "flag"
    if gsd_m is None:
        gsd_m, origin = scene.gsd_m, "scene"
    wanted = bundle.card.gsd_m
    ratios = (1.0, 1.0)
    if gsd_m is not None and wanted is not None:
        x, y = (value / wanted for value in gsd_m)
        if max(x, y) > COARSEST_RATIO:
            raise SpecError(
                f"{scene.path} has {max(gsd_m):.3g} m per pixel, model {bundle.card.name!r} was "
                f"trained at {wanted:g} m: enlarging it {max(x, y):.3g} times shows nothing new",
                hint=f"--scene-gsd {wanted:g} runs it on the pixels as they are",
            )
        # A difference within the tolerance is left alone, but a hair of rounding is not a reason
        # to fall outside it.
        limit = GSD_TOLERANCE + 1e-3
        x, y = (1.0 if 1 / limit <= ratio <= limit else ratio for ratio in (x, y))
        ratios = (x, y)
    elif wanted is not None:
        origin = "model card"
        notices.append(no_crs_notice(scene, wanted, "--scene-gsd"))
    if told := gsd_notice(scene, spec.gsd_m, "--scene-gsd"):
        notices.append(f"{told}; areas stay those of the georeference")
    value = [round(v, 4) for v in gsd_m] if gsd_m else wanted
    settings["gsd_m"] = Setting(value=value, origin=origin)
    rows = Axis.scaled(scene.height, ratios[1])
    cols = Axis.scaled(scene.width, ratios[0])
    settings["network_px"] = Setting(value=[rows.target_px, cols.target_px], origin="scene")
    return rows, cols


def grid_setting(
    spec: SegmentSpec,
    bundle: Bundle,
    axes: tuple[Axis, Axis],
    settings: dict[str, Setting],
    networks: Networks,
    notices: list[str],
) -> Grid:
    """Windows that cover the scene at the network's resolution.

    Args:
        spec: what to do.
        bundle: the model.
        axes: (rows, columns): scene pixels to network pixels.
        settings: where tile and overlap are noted.
        networks: what knows a tile for the scene.
        notices: where tiles that share most of their pixels are told.

    Raises:
        DeviceError, MissingExtraError, ModelError: the model cannot be run as asked for.
    """
    shape = (axes[0].target_px, axes[1].target_px)
    is_resampled = any(axis.ratio != 1.0 for axis in axes)
    overlap_px, origin = bundle.card.overlap_px, "model card"
    # Both the specification's multiple of 32 and what the network asks for.
    multiple_px = math.lcm(32, bundle.card.stride_of_network)
    tile = spec.tile_px
    if spec.overlap_px is not None:
        overlap_px, origin = spec.overlap_px, "flag"
    elif tile is not None:
        fitted_px = fitted_overlap(overlap_px, min(tile), multiple_px)
        overlap_px, origin = fitted_px, origin if fitted_px == overlap_px else "tile"
    if tile is None:
        limits = TileLimits(
            largest_px=largest_tile_px(bundle, spec.backend, spec.device, spec.batch),
            row_px=_ROW_PX,
            widest_px=_WIDEST_PX if shape[1] <= PANEL_PX else 2048,
        )
        if is_resampled:  # rows are held as float32
            smaller = limits.largest_px * 2 // 3
            limits = replace(limits, largest_px=smaller, row_px=limits.row_px // 2)
        tile = networks.tile_shape(shape, overlap_px, multiple_px, limits)
    settings["tile_px"] = Setting(value=list(tile), origin="flag" if spec.tile_px else "scene")
    settings["overlap_px"] = Setting(value=overlap_px, origin=origin)
    grid = Grid(shape=shape, tile_shape=tile, overlap_px=overlap_px, multiple_px=multiple_px)
    if (spec.tile_px or spec.overlap_px is not None) and (told := _shared(grid)):
        notices.append(told)
    return grid


def _shared(grid: Grid) -> str | None:
    """A line about tiles that overlap by so much that the work is several times the scene's.

    None where it is not; a scene hardly larger than a tile is not the overlap's fault.
    """
    if min(grid.computed_share, grid.overlapped_share) <= _MUCH_SHARED or len(grid) == 1:
        return None
    sides = "×".join(str(side) for side in dict.fromkeys(grid.tile_shape))
    return (
        f"tiles of {sides} px that overlap by {grid.overlap_px} compute each pixel "
        f"{grid.computed_share:.1f} times; a larger --tile or a smaller --overlap does it less"
    )


def precision_setting(spec: SegmentSpec, settings: dict[str, Setting]) -> None:
    """What the network computes in: masks in different precisions differ along their borders.

    Raises:
        DeviceError: the device is not there.
    """
    used = used_precision(spec.precision, spec.backend, spec.device)
    origin = "default" if spec.precision is Precision.AUTO else "flag"
    settings["precision"] = Setting(value=used.value, origin=origin)


def tta_setting(spec: SegmentSpec, settings: dict[str, Setting]) -> None:
    """Notes test-time augmentation that was asked for."""
    if spec.tta > 1:
        settings["tta"] = Setting(value=spec.tta, origin="flag")


def threshold_setting(
    spec: SegmentSpec, bundle: Bundle, settings: dict[str, Setting]
) -> float | None:
    """Probability from which a pixel belongs to the one class; None: the likeliest class."""
    if bundle.card.activation != "sigmoid":
        if spec.threshold is not None:
            raise SpecError(
                f"model {bundle.card.name!r} has several classes and takes the likeliest",
                hint="leave --threshold out",
            )
        return None
    threshold = bundle.card.threshold if spec.threshold is None else spec.threshold
    origin = "model card" if spec.threshold is None else "flag"
    settings["threshold"] = Setting(value=threshold, origin=origin)
    return threshold
