"""Refusals that several specifications share.

A message has the name of a setting in backticks: a command line shows the flag in its place.
"""

from __future__ import annotations

import math

from geotiler.errors import SpecError


def at_least(name: str, value: float | None, minimum: float, hint: str) -> None:
    """Raises: SpecError: a number below its minimum, or not finite; None is neither."""
    if value is not None and not (math.isfinite(value) and value >= minimum):
        raise SpecError(f"`{name}` must be at least {minimum:g}, got {value:g}", hint=hint)


def check_overlap(overlap_px: int, tile_px: int | None) -> None:
    """Raises: SpecError: an overlap below 0, or that leaves nothing of a tile for the next one."""
    at_least("overlap_px", overlap_px, 0, "try --overlap 64")
    if tile_px is not None and overlap_px >= tile_px:
        raise SpecError(
            f"`overlap_px` must be smaller than the tile, {tile_px}, got {overlap_px}",
            hint=f"try --overlap {min(64, tile_px // 4)}",
        )


def check_gsd(gsd_m: tuple[float, float] | None, name: str = "gsd_m") -> None:
    """Raises: SpecError: a ground sample distance that is no length."""
    for value in gsd_m or ():
        if not (math.isfinite(value) and value > 0):
            raise SpecError(
                f"`{name}` must be positive metres per pixel, got {value:g}",
                hint="as 0.3, or 0.3,0.25 for x and y",
            )


def check_min_valid(share: float) -> None:
    """Raises: SpecError: a share of valid pixels that is none."""
    if not 0.0 <= share <= 1.0:
        raise SpecError(
            f"`min_valid` must lie in 0 to 1, got {share:g}", hint="try --min-valid 0.5"
        )


def check_area(
    aoi: str | None, bounds: tuple[float, float, float, float] | None, bounds_crs: str | None
) -> None:
    """Raises: SpecError: two areas, bounds that enclose none, or a CRS of none."""
    if aoi is not None and bounds is not None:
        raise SpecError("--aoi and --bounds exclude each other", hint="give one of them")
    check_bounds(bounds, bounds_crs)


def check_bounds(bounds: tuple[float, float, float, float] | None, bounds_crs: str | None) -> None:
    """Raises: SpecError: bounds that enclose no area, or a CRS of none."""
    if bounds is not None:
        left, bottom, right, top = bounds
        if not all(map(math.isfinite, bounds)) or left == right or bottom == top:
            raise SpecError(
                f"`bounds` must enclose an area, got {','.join(f'{v:g}' for v in bounds)}",
                hint="--bounds LEFT,BOTTOM,RIGHT,TOP in the scene's CRS, or --bounds-crs",
            )
    elif bounds_crs is not None:
        raise SpecError(
            f"`bounds_crs` is given ({bounds_crs}), and `bounds` are not",
            hint="--bounds LEFT,BOTTOM,RIGHT,TOP",
        )


def check_bands(bands: tuple[int, ...] | None) -> None:
    """Raises: SpecError: no band, or one below 1."""
    if bands is None:
        return
    if not bands:
        raise SpecError("at least one band must be chosen", hint="try --bands 1,2,3")
    if min(bands) < 1:
        raise SpecError(f"`bands` are counted from 1, got {min(bands)}", hint="try --bands 1,2,3")
