"""Refusals that several specifications share."""

from __future__ import annotations

import math

from geotiler.errors import SpecError


def at_least(name: str, value: float | None, minimum: float, hint: str) -> None:
    """Raises: SpecError: a number below its minimum, or not finite; None is neither."""
    if value is not None and not (math.isfinite(value) and value >= minimum):
        raise SpecError(f"{name} must be at least {minimum:g}, got {value:g}", hint=hint)


def check_gsd(gsd_m: tuple[float, float] | None) -> None:
    """Raises: SpecError: a ground sample distance that is no length."""
    for value in gsd_m or ():
        if not (math.isfinite(value) and value > 0):
            raise SpecError(
                f"gsd must be positive metres per pixel, got {value:g}",
                hint="try --scene-gsd 0.3",
            )


def check_bands(bands: tuple[int, ...] | None) -> None:
    """Raises: SpecError: no band, or one below 1."""
    if bands is None:
        return
    if not bands:
        raise SpecError("at least one band must be chosen", hint="try --bands 1,2,3")
    if min(bands) < 1:
        raise SpecError(f"bands are counted from 1, got {min(bands)}", hint="try --bands 1,2,3")
