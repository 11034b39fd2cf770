"""A block of a rendered example scene that is to be filled, and what all fillings share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from geotiler.core.synthetic_objects import Colour, Points, Sketch, bilinear, inside

LAWNS: tuple[Colour, ...] = (
    (104, 116, 72, 42), (120, 124, 84, 46), (94, 108, 66, 42), (134, 130, 94, 46),
    (110, 122, 76, 38), (126, 118, 88, 50),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A block to be filled: quad is the buildable part, keep tells what stays off the river."""

    sketch: Sketch
    rng: Random
    quad: Points
    keep: Callable[[Points], bool]


def sides(quad: Points) -> tuple[float, float]:
    """Lengths in metres of the first side and of the last."""
    return abs(quad[1] - quad[0]), abs(quad[3] - quad[0])


def unit(z: complex) -> complex:
    """The direction of a vector."""
    return z / max(1e-9, abs(z))


def turned(quad: Points, turns: int) -> list[complex]:
    """The same quadrilateral, its corners counted from another one."""
    return [quad[(k + turns) % 4] for k in range(4)]


def plant(site: Site, spot: complex, low_m: float, high_m: float) -> None:
    """Adds a tree of a random size, unless it would stand in the river."""
    radius = site.rng.uniform(low_m, high_m)
    if site.keep([spot]):
        height = radius * site.rng.uniform(1.8, 2.8)
        site.sketch.tree(spot, radius, height, site.rng.randrange(8))


def scatter(site: Site, quad: Points, count: int, low_m: float, high_m: float) -> None:
    """Adds count trees anywhere in a quadrilateral."""
    for _ in range(count):
        plant(site, bilinear(quad, site.rng.random(), site.rng.random()), low_m, high_m)


def fits(site: Site, parcel: Points, outline: Points, margin_m: float) -> bool:
    """Whether an outline keeps margin_m off the sides of a parcel, and off the river."""
    return all(inside(parcel, z, margin_m) for z in outline) and site.keep(outline)
