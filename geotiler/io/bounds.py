"""A rectangle of coordinates on a scene: what `--bounds` ask for, and what may be wrong with it."""

from __future__ import annotations

import numpy as np
import pyproj
import shapely

from geotiler.errors import GeotilerError, InputError, SpecError
from geotiler.io.area import Area, moved, on_scene
from geotiler.io.raster import Scene
from geotiler.io.scene_extent import coordinates_told, crs_of, extent, told_numbers, without_crs
from geotiler.specs import Window

_FEW_PX = 32
"""Bounds of less than that on each side are told: in other units they mean something else."""

_DEGREES = "EPSG:4326"


def area_of_bounds(
    bounds: tuple[float, float, float, float], scene: Scene, crs: str | None = None
) -> Area:
    """The rectangle (left, bottom, right, top), or that of the scene's CRS which holds it.

    Args:
        bounds: in a CRS. Degrees whose left is larger than their right cross the antimeridian.
        scene: open.
        crs: of the bounds; None: the scene's.

    Raises:
        SpecError: no such CRS, or bounds whose ends are reversed.
        InputError: the scene has none, or one of no known place, or they are less than a pixel.
        OutsideError: it lies beside the scene.
    """
    box = _box(bounds, crs, scene)
    _check_order(bounds, crs, scene)
    name = f"--bounds {told_numbers(bounds)}" + ("" if crs is None else f" in {crs}")
    area = on_scene(box, scene, name, hint=lambda: _elsewhere(bounds, crs, scene))
    share_px = box.area * abs((~scene.transform).determinant)
    if share_px < 1 - 1e-6:
        raise InputError(
            f"{name} cover {share_px:.2g} of one pixel of {scene.path}, whose extent is "
            f"{told_numbers(extent(scene))} in {coordinates_told(scene)}",
            hint=without_crs(scene)
            if scene.crs is None
            else "LEFT,BOTTOM,RIGHT,TOP, or --bounds-crs",
        )
    return area


def few_pixels(window: Window, scene: Scene) -> str | None:
    """A line about bounds that cover so little that it may be a mistake; None: they do not."""
    if max(window.shape) >= _FEW_PX:
        return None
    told = f"--bounds cover {window.height} × {window.width} pixels of {scene.path}"
    return told if scene.crs is not None else f"{told}: {without_crs(scene)}"


def _box(
    bounds: tuple[float, float, float, float], crs: str | None, scene: Scene
) -> shapely.Geometry:
    """The rectangle that bounds are, or that holds them, in the scene's coordinates.

    Raises: as `area_of_bounds`, but for a place beside the scene.
    """
    left, bottom, right, top = bounds
    source = _crs_of_bounds(crs, scene)
    if _crosses_antimeridian(bounds, source):
        halves = [shapely.box(left, bottom, 180, top), shapely.box(-180, bottom, right, top)]
    else:
        halves = [
            shapely.box(min(left, right), min(bottom, top), max(left, right), max(bottom, top))
        ]
    if source is None or scene.crs is None:
        return halves[0]
    target = crs_of(scene)
    with np.errstate(invalid="ignore"):  # coordinates of no place there are told later
        found = shapely.union_all(
            [shapely.envelope(moved(half, source, target)) for half in halves]
        )
    if len(halves) == 1:
        return found
    if target.is_geographic:
        return found
    whole = shapely.envelope(found)
    # In a projection of the whole world they lie at its two ends.
    return whole if whole.area < 2 * found.area else found


def _crs_of_bounds(crs: str | None, scene: Scene) -> pyproj.CRS | None:
    """What bounds are in; None: neither they nor the scene have a CRS.

    Raises:
        SpecError: no such CRS.
        InputError: the scene has none.
    """
    if crs is None:
        return None if scene.crs is None else crs_of(scene)
    if scene.crs is None:
        raise InputError(
            f"{scene.path} has no CRS, so that bounds in {crs} have no place on it",
            hint="leave out --bounds-crs: --bounds takes coordinates of the scene",
        )
    try:
        return pyproj.CRS.from_user_input(crs)
    except pyproj.exceptions.CRSError as error:
        raise SpecError(f"no such CRS: {crs!r}", hint="as --bounds-crs EPSG:4326") from error


def _crosses_antimeridian(
    bounds: tuple[float, float, float, float], source: pyproj.CRS | None
) -> bool:
    """Whether bounds go from a longitude in the east to one in the west, as RFC 7946 writes them.

    Not beyond half of the world: that is more likely a mistake.
    """
    left, _, right, _ = bounds
    is_far = source is not None and source.is_geographic and -180 <= right < left <= 180
    return is_far and right + 360 - left < 180


def _check_order(bounds: tuple[float, float, float, float], crs: str | None, scene: Scene) -> None:
    """Raises: SpecError: left and right are reversed, or bottom and top.

    Where y goes down, as rows do, the bottom is the larger one: either order says what is meant.
    """
    left, bottom, right, top = bounds
    wrong = []
    if left > right and not _crosses_antimeridian(bounds, _crs_of_bounds(crs, scene)):
        wrong.append(f"left {left:.10g} is larger than right {right:.10g}")
    if bottom > top and (scene.crs is not None or scene.transform.e < 0):
        wrong.append(f"bottom {bottom:.10g} is larger than top {top:.10g}")
    if wrong:
        ordered = left, min(bottom, top), right, max(bottom, top)
        if any(text.startswith("left") for text in wrong):
            ordered = right, ordered[1], left, ordered[3]
        raise SpecError(
            f"`bounds` are reversed: {', '.join(wrong)}",
            hint=f"in order they are --bounds {told_numbers(ordered)}",
        )


def _elsewhere(bounds: tuple[float, float, float, float], crs: str | None, scene: Scene) -> str:
    """What to do about bounds that lie beside a scene: what would lie on it is told."""
    if scene.crs is None:
        return without_crs(scene)
    left, bottom, right, top = bounds
    swapped = bottom, left, top, right
    if crs is None and _lie_on(bounds, _DEGREES, scene):
        return f"in degrees they lie on it: --bounds-crs {_DEGREES}"
    if crs is not None and _lie_on(bounds, None, scene):
        return "in the scene's own CRS they lie on it: leave out --bounds-crs"
    if _lie_on(swapped, crs, scene):
        return f"x and y are swapped: --bounds {told_numbers(swapped)} lie on it"
    if crs is None and _lie_on(swapped, _DEGREES, scene):
        return (
            "as degrees with longitude first they lie on it: "
            f"--bounds {told_numbers(swapped)} --bounds-crs {_DEGREES}"
        )
    return "LEFT,BOTTOM,RIGHT,TOP in the same coordinates, or --bounds-crs"


def _lie_on(bounds: tuple[float, float, float, float], crs: str | None, scene: Scene) -> bool:
    try:
        on_scene(_box(bounds, crs, scene), scene, "")
    except GeotilerError:
        return False
    return True
