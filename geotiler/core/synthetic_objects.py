"""Things on the ground of a rendered example scene: roofs, trees, cars, pools, as flat polygons.

Geometry is in metres, x to the right and y downwards, one point being one complex number: a
rotation is a product and a normal is a product with 1j. Nothing here knows pixels.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

Points = Sequence[complex]
Colour = tuple[int, int, int, int]
"""Red, green, blue and the strength of the ground texture, 0 to 255 each."""


class Phase(enum.IntEnum):
    """Painting order of a scene; within a phase, later polygons cover earlier ones."""

    BASE = 0
    LAND = 1
    WALK = 2
    STREET = 3
    MARK = 4
    SHADOW = 5
    ROOF = 6
    TREE = 7


@dataclass(frozen=True, kw_only=True)
class Sun:
    """Where the light comes from, on the ground plane."""

    towards: complex
    """Unit vector from the ground towards the sun."""
    shadow_m: complex
    """Shadow of one metre of height."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """Polygons of one phase: points (n, 2) in metres, polygon k being starts[k]:starts[k + 1]."""

    points: NDArray[np.float64]
    starts: NDArray[np.int64]
    colours: NDArray[np.uint8]
    """(polygons, 4); an array, since tuples would be most of a block's memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """The outline of one building as a union of convex pieces."""

    pieces: tuple[tuple[complex, ...], ...]

    @property
    def anchor(self) -> complex:
        """Mean corner: the point by which a building belongs to one window of a partition."""
        corners = [z for piece in self.pieces for z in piece]
        return sum(corners) / len(corners)


def tone(colour: Sequence[int], factor: float, texture: int | None = None) -> Colour:
    """The colour, brighter (factor > 1) or darker, with another texture strength if given."""
    r, g, b, a = (*colour[:3], colour[3] if len(colour) > 3 else 8)
    return (
        max(0, min(255, int(r * factor))),
        max(0, min(255, int(g * factor))),
        max(0, min(255, int(b * factor))),
        a if texture is None else texture,
    )


def rect(centre: complex, along: complex, half_m: float, half_across_m: float) -> list[complex]:
    """Corners of a rectangle: half_m along the unit vector, half_across_m across it."""
    a, b = along * half_m, along * 1j * half_across_m
    return [centre - a - b, centre + a - b, centre + a + b, centre - a + b]


def bilinear(quad: Points, u: float, v: float) -> complex:
    """The point at (u, v) of a quadrilateral given as corners (0,0), (1,0), (1,1), (0,1)."""
    top = quad[0] + (quad[1] - quad[0]) * u
    return top + (quad[3] + (quad[2] - quad[3]) * u - top) * v


def sub_quad(quad: Points, u0: float, u1: float, v0: float, v1: float) -> list[complex]:
    """The part of a quadrilateral between two pairs of parameters."""
    return [bilinear(quad, u, v) for u, v in ((u0, v0), (u1, v0), (u1, v1), (u0, v1))]


def inset(quad: Points, left: float, right: float, top: float, bottom: float) -> list[complex]:
    """The quadrilateral less a margin in metres along each side (v = 0 is the top)."""
    wide = max(1e-6, (abs(quad[1] - quad[0]) + abs(quad[2] - quad[3])) / 2)
    high = max(1e-6, (abs(quad[3] - quad[0]) + abs(quad[2] - quad[1])) / 2)
    return sub_quad(quad, left / wide, 1 - right / wide, top / high, 1 - bottom / high)


def inside(quad: Points, point: complex, margin_m: float = 0.0) -> bool:
    """Whether a point lies in a convex polygon (as from rect), margin_m off its sides."""
    for here, there in zip(quad, (*quad[1:], quad[0]), strict=True):
        side = there - here
        offset = point - here
        if side.real * offset.imag - side.imag * offset.real < margin_m * abs(side):
            return False
    return True


def _blobs(count: int, corners: int) -> NDArray[np.complex128]:
    rng = np.random.default_rng(20240501)
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radius = 1 + 0.17 * rng.standard_normal((count, corners)).clip(-1.6, 1.6)
    return np.asarray(radius * np.exp(1j * (angle + rng.uniform(0, 6, (count, 1)))))


_CROWNS = _blobs(32, 11)
_TUFTS = 5
_FOLIAGE = np.array(
    [
        (58, 78, 46), (66, 88, 50), (50, 70, 44), (76, 92, 54),
        (84, 98, 60), (46, 62, 44), (92, 96, 58), (70, 84, 62),
    ],
    dtype=float,
)  # fmt: skip


class Sketch:
    """What one city block contributes: polygons by phase, trees and building outlines."""

    def __init__(self, sun: Sun, gsd_m: float) -> None:
        """Args: sun: light of the scene. gsd_m: decides only how far outlines are drawn in."""
        self.sun = sun
        self.gsd_m = gsd_m
        self.footprints: list[Footprint] = []
        self._points: list[list[complex]] = [[] for _ in Phase]
        self._counts: list[list[int]] = [[] for _ in Phase]
        self._colours: list[list[Colour]] = [[] for _ in Phase]
        self._trees: list[tuple[complex, float, float, int]] = []

    def fill(self, phase: Phase, points: Points, colour: Colour) -> None:
        """Adds a convex polygon."""
        self._points[phase].extend(points)
        self._counts[phase].append(len(points))
        self._colours[phase].append(colour)

    def line(self, phase: Phase, a: complex, b: complex, width_m: float, colour: Colour) -> None:
        """Adds a straight band of a given width."""
        length = abs(b - a)
        if length > 1e-6:
            along = (b - a) / length
            self.fill(phase, rect((a + b) / 2, along, length / 2, width_m / 2), colour)

    def blob(self, phase: Phase, rng: Random, centre: complex, r_m: float, colour: Colour) -> None:
        """Adds a roundish patch."""
        shape = _CROWNS[rng.randrange(len(_CROWNS))]
        self.fill(phase, (centre + r_m * shape).tolist(), colour)

    def shadow(self, quad: Points, height_m: float) -> None:
        """Adds the cast shadow of a convex prism on flat ground."""
        shift = self.sun.shadow_m * height_m
        for here, there in zip(quad, (*quad[1:], quad[0]), strict=True):
            self.fill(Phase.SHADOW, [here, there, there + shift, here + shift], (255, 0, 0, 0))
        self.fill(Phase.SHADOW, [z + shift for z in quad], (255, 0, 0, 0))

    def tree(self, centre: complex, radius_m: float, height_m: float, kind: int) -> None:
        """Adds a broad-leaved tree; kind chooses its foliage."""
        self._trees.append((centre, radius_m, height_m, kind))

    def layers(self, seed: int) -> tuple[Layer, ...]:
        """All phases as arrays; the looks of the trees come from seed."""
        layers = []
        for phase in Phase:
            points = np.array(self._points[phase], dtype=np.complex128)
            counts = np.array(self._counts[phase], dtype=np.int64)
            colours = self._colours[phase]
            if self._trees and phase in (Phase.SHADOW, Phase.TREE):
                more, looks = self._tree_shapes(phase, np.random.default_rng(seed))
                points = np.concatenate([points, more.reshape(-1)])
                counts = np.concatenate([counts, np.full(len(more), more.shape[1])])
                colours = colours + looks
            layers.append(
                Layer(
                    points=points.view(np.float64).reshape(-1, 2),
                    starts=np.concatenate([[0], np.cumsum(counts)]),
                    colours=np.array(colours, dtype=np.uint8).reshape(-1, 4),
                )
            )
        return tuple(layers)

    def _tree_shapes(
        self, phase: Phase, rng: np.random.Generator
    ) -> tuple[NDArray[np.complex128], list[Colour]]:
        centre = np.array([t[0] for t in self._trees])[:, None]
        radius = np.array([t[1] for t in self._trees])[:, None]
        height = np.array([t[2] for t in self._trees])[:, None]
        kind = np.array([t[3] for t in self._trees])
        count = len(kind)
        crown = _CROWNS[rng.integers(0, len(_CROWNS), count)]
        if phase is Phase.SHADOW:
            trunk = centre + self.sun.shadow_m * height * 0.65
            return trunk + radius * crown, [(255, 0, 0, 0)] * count
        sun = self.sun.towards
        angle = rng.uniform(0, 2 * np.pi, (count, _TUFTS))
        away = np.sqrt(rng.uniform(0, 1, (count, _TUFTS))) * 0.62 * np.exp(1j * angle)
        tufts = _CROWNS[rng.integers(0, len(_CROWNS), (count, _TUFTS))]
        size = rng.uniform(0.22, 0.4, (count, _TUFTS, 1))
        parts = np.concatenate(
            [
                (centre + radius * crown)[:, None],
                (centre + radius * (0.16 * sun + 0.78 * crown))[:, None],
                (centre + radius * (0.27 * sun + 0.52 * np.roll(crown, 3, axis=1)))[:, None],
                centre[:, :, None] + radius[:, :, None] * (away[:, :, None] + size * tufts),
            ],
            axis=1,
        )
        lit = (away * np.conj(sun)).real
        light = np.concatenate(
            [np.tile([0.66, 0.92, 1.12], (count, 1)), 0.98 + 0.42 * lit], axis=1
        ) * rng.normal(1, 0.09, (count, 3 + _TUFTS))
        base = _FOLIAGE[kind % len(_FOLIAGE)] * rng.normal(1, 0.07, (count, 3))
        rgb = np.clip(base[:, None] * light[:, :, None], 6, 250).astype(int)
        looks = [(r, g, b, 42) for r, g, b in rgb.reshape(-1, 3).tolist()]
        return parts.reshape(-1, parts.shape[2]), looks


CARS: tuple[Colour, ...] = (
    (214, 216, 218, 4), (168, 172, 176, 4), (60, 62, 66, 4), (36, 38, 44, 4),
    (126, 40, 38, 4), (48, 66, 112, 4), (236, 236, 234, 4), (110, 114, 118, 4),
)  # fmt: skip


def draw_car(sketch: Sketch, rng: Random, centre: complex, along: complex) -> None:
    """Adds a parked or driving car of about 4.3 by 1.8 m."""
    colour = CARS[rng.randrange(len(CARS))]
    half = rng.uniform(2.0, 2.4)
    shade = sketch.sun.shadow_m * 1.1
    sketch.fill(Phase.MARK, [z + shade for z in rect(centre, along, half, 0.9)], (46, 48, 54, 4))
    sketch.fill(Phase.MARK, rect(centre, along, half, 0.9), colour)
    glass = rect(centre + along * half * 0.32, along, 0.42, 0.75)
    sketch.fill(Phase.MARK, glass, (38, 44, 52, 4))
    sketch.fill(Phase.MARK, rect(centre - along * half * 0.6, along, 0.3, 0.7), (44, 50, 58, 4))


def draw_pool(sketch: Sketch, rng: Random, centre: complex, along: complex) -> None:
    """Adds a swimming pool with its paving."""
    half, across = rng.uniform(2.5, 5.0), rng.uniform(1.5, 2.4)
    blue = rng.uniform(0.9, 1.1)
    sketch.fill(Phase.LAND, rect(centre, along, half + 1.2, across + 1.2), (190, 184, 172, 14))
    if rng.random() < 0.3:
        sketch.blob(Phase.LAND, rng, centre, across + 0.3, tone((92, 172, 190, 6), blue))
    else:
        sketch.fill(Phase.LAND, rect(centre, along, half, across), tone((92, 172, 190, 6), blue))


def draw_hedge(sketch: Sketch, rng: Random, a: complex, b: complex) -> None:
    """Adds a clipped hedge with its shadow."""
    width = rng.uniform(0.9, 1.6)
    shift = sketch.sun.shadow_m * 1.3
    sketch.fill(Phase.SHADOW, [a, b, b + shift, a + shift], (255, 0, 0, 0))
    sketch.line(Phase.TREE, a, b, width, tone((62, 80, 48, 40), rng.uniform(0.85, 1.2)))


def draw_parking(sketch: Sketch, rng: Random, quad: Points, filled: float) -> None:
    """Adds a parking lot: asphalt or concrete, stall lines, cars on a share of the stalls."""
    grey = rng.uniform(0.85, 1.25)
    sketch.fill(Phase.LAND, quad, tone((118, 117, 116, 20), grey))
    wide, deep = abs(quad[1] - quad[0]), abs(quad[3] - quad[0])
    if wide < 8 or deep < 10:
        return
    rows = max(1, int(deep // 16))
    stalls = max(1, int((wide - 2) // 2.7))
    for row in range(rows):
        for side in (-1, 1):
            v = (row + 0.5 + side * 0.33) / rows
            across = bilinear(quad, 0.5, min(1, v + 0.02)) - bilinear(quad, 0.5, v - 0.02)
            across /= abs(across)
            for stall in range(stalls):
                u = (1 + 2.7 * (stall + 0.5)) / wide
                spot = bilinear(quad, u, v)
                edge = bilinear(quad, u - 1.35 / wide, v)
                white = (196, 196, 192, 8)
                sketch.line(Phase.MARK, edge - across * 2.4, edge + across * 2.4, 0.16, white)
                if rng.random() < filled:
                    draw_car(sketch, rng, spot, across * (1 if rng.random() < 0.5 else -1))
