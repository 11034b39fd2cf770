"""The plan of a rendered example scene: a bent street lattice, districts, and what fills a block.

Every block (i, j) is made from its own random stream seeded by (seed, i, j), so that it looks
the same whichever window asks for it. Geometry in metres as complex numbers, y downwards.
"""

from __future__ import annotations

import cmath
import enum
import functools
import math
from dataclasses import dataclass
from random import Random

from geotiler.core import synthetic_blocks as blocks
from geotiler.core.synthetic_objects import (
    Footprint,
    Layer,
    Phase,
    Points,
    Sketch,
    Sun,
    draw_car,
    inset,
    tone,
)
from geotiler.core.synthetic_site import Site

PITCH_M = 118.0
"""Mean distance of streets."""
_OFFSET = 1 << 24
"""Makes cell indices positive before they are mixed into a seed."""


class District(enum.Enum):
    """What a block is used for."""

    OLD_TOWN = "old town"
    SUBURB = "suburb"
    ESTATE = "estate"
    INDUSTRY = "industry"
    PARK = "park"
    FARMLAND = "farmland"
    FOREST = "forest"


_OPEN_LAND = (District.FARMLAND, District.FOREST)


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One finished block: what to paint, and its buildings. bounds_m: x0, y0, x1, y1."""

    layers: tuple[Layer, ...]
    footprints: tuple[Footprint, ...]
    bounds_m: tuple[float, float, float, float]


def mixed_seed(*parts: int) -> int:
    """One integer for a random stream out of several, negative ones allowed."""
    value = 0
    for part in parts:
        value = value * 1_000_003 + part + _OFFSET
    return value


class _Waves:
    """Smooth noise of about unit variance: a few plane waves of random direction and phase."""

    def __init__(self, rng: Random, lengths_m: tuple[float, ...]) -> None:
        self._waves = [
            (cmath.rect(2 * math.pi / length, rng.uniform(0, 2 * math.pi)), rng.uniform(0, 6.3))
            for length in lengths_m
        ]

    def __call__(self, z: complex) -> float:
        total = sum(math.sin(k.real * z.real + k.imag * z.imag + p) for k, p in self._waves)
        return total * math.sqrt(2 / len(self._waves))

    def rank(self, z: complex) -> float:
        """The noise mapped to about uniform in 0 to 1."""
        return 0.5 * (1 + math.erf(self(z) / math.sqrt(2)))


class Town:
    """Street lattice and blocks of one seed; blocks are made on demand and kept for a while."""

    def __init__(self, seed: int, gsd_m: float) -> None:
        """Args: seed: of everything. gsd_m: passed on to the sketches."""
        rng = Random(mixed_seed(seed, 1))
        self.seed = seed
        self.gsd_m = gsd_m
        self.turn = cmath.rect(1, rng.uniform(0, math.pi / 2))
        towards = cmath.rect(1, math.radians(rng.uniform(50, 130)))
        tall = math.tan(math.radians(rng.uniform(42, 60)))
        self.sun = Sun(towards=towards, shadow_m=-towards / tall)
        self._bend = (_Waves(rng, (1500.0, 900.0)), _Waves(rng, (1500.0, 900.0)))
        self._urban = _Waves(rng, (620.0, 900.0, 1300.0, 480.0))
        self._use = _Waves(rng, (450.0, 700.0, 1000.0, 380.0))
        self._shift = complex(rng.uniform(0, 5e3), rng.uniform(0, 5e3))
        self.river = _River(rng) if rng.random() < 0.75 else None
        self.vertex = functools.lru_cache(maxsize=20_000)(self._vertex)
        self.district = functools.lru_cache(maxsize=20_000)(self._district)
        self.block = functools.lru_cache(maxsize=1200)(self._block)

    def _warp(self, z: complex) -> complex:
        return complex(self._bend[0](z) * 36, self._bend[1](z) * 36)

    def _vertex(self, i: int, j: int) -> complex:
        rng = Random(mixed_seed(self.seed, 2, i, j))
        z = complex(i + rng.uniform(-0.14, 0.14), j + rng.uniform(-0.14, 0.14)) * PITCH_M
        return self._warp(z) + z * self.turn - self._shift

    def quad(self, i: int, j: int) -> list[complex]:
        """Corners of a block: the centres of the four crossings."""
        at = self.vertex
        return [at(i, j), at(i + 1, j), at(i + 1, j + 1), at(i, j + 1)]

    def cells(self, x0: float, y0: float, x1: float, y1: float) -> list[tuple[int, int]]:
        """Blocks whose content may touch a rectangle in metres, in painting order."""
        found = []
        for x in (x0, (x0 + x1) / 2, x1):
            for y in (y0, (y0 + y1) / 2, y1):
                z = goal = (complex(x, y) + self._shift) / self.turn
                for _ in range(8):
                    z = goal - self._warp(z) / self.turn
                found.append(z / PITCH_M)
        rows = range(
            math.floor(min(z.real for z in found)) - 2, math.ceil(max(z.real for z in found)) + 2
        )
        cols = range(
            math.floor(min(z.imag for z in found)) - 2, math.ceil(max(z.imag for z in found)) + 2
        )
        cells = []
        for i in rows:
            for j in cols:
                quad = self.quad(i, j)
                xs, ys = [z.real for z in quad], [z.imag for z in quad]
                # 26 m: the longest shadow and the widest street that leave a block
                beside = min(xs) > x1 + 26 or max(xs) < x0 - 26
                if not beside and min(ys) < y1 + 26 and max(ys) > y0 - 26:
                    cells.append((i, j))
        return cells

    def _district(self, i: int, j: int) -> District:
        centre = sum(self.quad(i, j)) / 4
        urban, use = self._urban.rank(centre), self._use.rank(centre)
        rng = Random(mixed_seed(self.seed, 3, i, j))
        if urban < 0.2:
            return District.FOREST if use < 0.4 else District.FARMLAND
        if urban < 0.26 or rng.random() < 0.05:
            return District.PARK
        if urban < 0.62:
            return District.SUBURB
        if urban < 0.8:
            return District.ESTATE if use < 0.5 else District.INDUSTRY
        return District.OLD_TOWN if use < 0.75 else District.SUBURB

    def street_m(self, i: int, j: int, across: bool) -> tuple[float, bool]:
        """Half width of the street from vertex (i, j) along i (or across), and whether paved."""
        line = Random(mixed_seed(self.seed, 4, j if not across else i, int(across)))
        main = line.random() < 0.22
        other = self.district(i - 1, j) if across else self.district(i, j - 1)
        if main:
            return 6.2, True
        if self.district(i, j) in _OPEN_LAND and other in _OPEN_LAND:
            return 1.7, False
        return 3.4, True

    def _block(self, i: int, j: int) -> Block:
        rng = Random(mixed_seed(self.seed, 5, i, j))
        sketch = Sketch(self.sun, self.gsd_m)
        quad = self.quad(i, j)
        district = self.district(i, j)
        self._streets(sketch, rng, i, j)
        walk = 0.5 if district in _OPEN_LAND else 2.6
        inner = inset(
            quad,
            left=self.street_m(i, j, True)[0] + walk,
            right=self.street_m(i + 1, j, True)[0] + walk,
            top=self.street_m(i, j, False)[0] + walk,
            bottom=self.street_m(i, j + 1, False)[0] + walk,
        )
        keep = self.river.clear if self.river is not None else _anywhere
        ground = blocks.GROUND[district.name]
        sketch.fill(Phase.BASE, quad, tone(ground, rng.uniform(0.93, 1.07)))
        blocks.FILLERS[district.name](Site(sketch=sketch, rng=rng, quad=inner, keep=keep))
        layers = sketch.layers(mixed_seed(self.seed, 6, i, j))
        xs, ys = [z.real for z in quad], [z.imag for z in quad]
        return Block(
            layers=layers,
            footprints=tuple(sketch.footprints),
            bounds_m=(min(xs), min(ys), max(xs), max(ys)),
        )

    def _streets(self, sketch: Sketch, rng: Random, i: int, j: int) -> None:
        here = self.vertex(i, j)
        for across in (False, True):
            there = self.vertex(i, j + 1) if across else self.vertex(i + 1, j)
            half, paved = self.street_m(i, j, across)
            along = (there - here) / abs(there - here)
            a, b = here - along * half * 0.6, there + along * half * 0.6
            if not paved:
                sketch.line(Phase.STREET, a, b, half * 2, tone((152, 138, 116, 34), 1.0))
                sketch.line(Phase.STREET, a, b, half * 0.5, tone((118, 122, 84, 40), 1.0))
                continue
            line = Random(mixed_seed(self.seed, 9, i if across else j, int(across)))
            grey = line.uniform(0.86, 1.2) * rng.uniform(0.96, 1.04)
            pave = tone((166, 162, 156, 16), 1.0)
            if self.district(i, j) not in _OPEN_LAND:
                sketch.line(Phase.WALK, a, b, half * 2 + 4.4, pave)
            sketch.line(Phase.STREET, a, b, half * 2, tone((104, 104, 106, 14), grey))
            self._traffic(sketch, rng, here, there, half)
            if rng.random() < 0.3 and self.district(i, j) not in _OPEN_LAND:
                self._avenue(sketch, rng, here, there, half)

    def _avenue(self, sketch: Sketch, rng: Random, a: complex, b: complex, half: float) -> None:
        """Street trees on the pavements of one stretch."""
        along = (b - a) / abs(b - a)
        kind, size = rng.randrange(8), rng.uniform(1.6, 3.0)
        for side in (-1, 1):
            t = 15.0
            while t < abs(b - a) - 15:
                spot = a + along * t + along * 1j * side * (half + 1.2)
                if rng.random() < 0.85:
                    radius = size * rng.uniform(0.75, 1.2)
                    sketch.tree(spot, radius, radius * 2.2, kind)
                t += rng.uniform(8, 12)

    def _traffic(self, sketch: Sketch, rng: Random, a: complex, b: complex, half: float) -> None:
        length = abs(b - a)
        along = (b - a) / length
        right = along * 1j
        t = 9.0
        if half > 5 or rng.random() < 0.25:
            while t < length - 11:
                centre = a + along * t
                sketch.line(Phase.MARK, centre, centre + along * 3, 0.2, (196, 196, 190, 6))
                t += 7.0
        if half > 5:
            for end, way in ((a, along), (b, -along)):
                for k in range(-4, 5):
                    spot = end + way * (half + 1.5) + right * k * 1.25
                    sketch.line(Phase.MARK, spot, spot + way * 2.6, 0.55, (200, 200, 196, 6))
        for _ in range(rng.randrange(0, 4 if half > 5 else 2)):
            side = 1 if rng.random() < 0.5 else -1
            spot = a + along * rng.uniform(12, length - 12) + right * side * half * 0.45
            draw_car(sketch, rng, spot, along * side)
        for side in (-1, 1):
            t = 14.0
            while t < length - 14 and half > 3 and rng.random() < 0.93:
                if rng.random() < 0.35:
                    draw_car(sketch, rng, a + along * t + right * side * (half - 1.1), along)
                t += rng.uniform(5.6, 9)


class _River:
    """A winding river: half_m either side of a line that wanders about an axis."""

    def __init__(self, rng: Random) -> None:
        self.axis = cmath.rect(1, rng.uniform(0, math.pi))
        self.half_m = rng.uniform(7, 22)
        # Through the first kilometre and a half, so that small scenes have a chance of it too.
        through = complex(rng.uniform(100, 1500), rng.uniform(100, 1500))
        self.middle_m = (through / self.axis).imag
        self._waves = [
            (rng.uniform(90, 240), rng.uniform(900, 1600), rng.uniform(0, 6.3)),
            (rng.uniform(15, 40), rng.uniform(280, 420), rng.uniform(0, 6.3)),
        ]
        self.colour = rng.choice(((66, 84, 82, 10), (82, 96, 86, 10), (58, 76, 86, 10)))

    def offset_m(self, along_m: float) -> float:
        """Distance of the river's middle from the axis."""
        wander = sum(h * math.sin(2 * math.pi * along_m / w + p) for h, w, p in self._waves)
        return self.middle_m + wander

    def clear(self, quad: Points) -> bool:
        """Whether all points keep off the water and its bank."""
        for z in quad:
            t = z / self.axis
            if abs(t.imag - self.offset_m(t.real)) < self.half_m * 1.25 + 9:
                return False
        return True

    def paint(self, sketch: Sketch, x0: float, y0: float, x1: float, y1: float) -> None:
        """Adds the stretch that may touch a rectangle, in steps that do not depend on it."""
        corners = [complex(x, y) / self.axis for x in (x0, x1) for y in (y0, y1)]
        low, high = min(z.imag for z in corners), max(z.imag for z in corners)
        step = 6.0
        first = math.floor(min(z.real for z in corners) / step) - 2
        last = math.ceil(max(z.real for z in corners) / step) + 2
        offsets = [self.offset_m(k * step) for k in range(first, last + 2)]
        near = self.half_m * 2 + 30
        for extra, colour in ((3.5, (124, 118, 92, 40)), (0.0, self.colour)):
            for n, k in enumerate(range(first, last + 1)):
                p, q = offsets[n], offsets[n + 1]
                if max(p, q) < low - near or min(p, q) > high + near:
                    continue
                half = self.half_m + extra
                ends = complex(k * step, p), complex((k + 1.1) * step, q)
                points = [ends[0] - 1j * half, ends[1] - 1j * half]
                points += [ends[1] + 1j * half, ends[0] + 1j * half]
                sketch.fill(Phase.LAND, [z * self.axis for z in points], colour)


def _anywhere(quad: Points) -> bool:
    return True
