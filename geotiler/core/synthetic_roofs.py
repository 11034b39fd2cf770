"""Buildings of a rendered example scene: outline, roof faces lit by the sun, fittings, shadow."""

from __future__ import annotations

from random import Random

from geotiler.core.synthetic_objects import (
    Colour,
    Footprint,
    Phase,
    Points,
    Sketch,
    rect,
    tone,
)

TILED: tuple[Colour, ...] = (
    (150, 92, 74, 26), (166, 104, 82, 26), (132, 84, 70, 26), (120, 96, 84, 24),
    (104, 98, 96, 22), (88, 86, 88, 22), (142, 112, 94, 26), (112, 80, 70, 26),
    (74, 74, 78, 20), (158, 122, 104, 24), (128, 124, 120, 22), (96, 84, 76, 22),
)  # fmt: skip
"""Pitched roofs: clay red and brown, slate and concrete grey."""

FLAT: tuple[Colour, ...] = (
    (168, 166, 162, 16), (196, 195, 191, 14), (126, 124, 122, 18), (92, 92, 94, 18),
    (214, 214, 212, 10), (148, 156, 166, 14), (176, 168, 154, 18), (112, 128, 148, 14),
    (62, 62, 66, 14), (142, 132, 122, 18), (124, 138, 122, 26), (186, 190, 196, 12),
)  # fmt: skip
"""Flat and sheet-metal roofs: gravel, membrane, bitumen, blueish and white metal, planted."""


def _lit(sketch: Sketch, normal: complex, steepness: float) -> float:
    facing = (normal * sketch.sun.towards.conjugate()).real
    return 0.9 + steepness * facing


def _register(sketch: Sketch, pieces: list[list[complex]], height_m: float) -> None:
    sketch.footprints.append(Footprint(pieces=tuple(tuple(piece) for piece in pieces)))
    for piece in pieces:
        sketch.shadow(piece, height_m)


def _ridge(sketch: Sketch, a: complex, b: complex, colour: Colour) -> None:
    sketch.line(Phase.ROOF, a, b, 0.35, tone(colour, 1.13))


def _pitched(
    sketch: Sketch, c: complex, a: complex, hw: float, hh: float, colour: Colour, steep: float,
    hip: float,
) -> None:  # fmt: skip
    """Paints a gable (hip = 0) to fully hipped (hip = 1) roof with its ridge along a."""
    b = a * 1j
    draw_in = 0.2 * sketch.gsd_m
    hw, hh = hw - draw_in, hh - draw_in
    end = hw - hip * hh
    low = [c - a * hw - b * hh, c + a * hw - b * hh, c + a * hw + b * hh, c - a * hw + b * hh]
    left, right = c - a * end, c + a * end
    fill = sketch.fill
    fill(Phase.ROOF, [low[0], low[1], right, left], tone(colour, _lit(sketch, -b, steep)))
    fill(Phase.ROOF, [low[2], low[3], left, right], tone(colour, _lit(sketch, b, steep)))
    if hip > 0:
        fill(Phase.ROOF, [low[1], low[2], right], tone(colour, _lit(sketch, a, steep)))
        fill(Phase.ROOF, [low[3], low[0], left], tone(colour, _lit(sketch, -a, steep)))
    _ridge(sketch, left, right, colour)


def _fittings(sketch: Sketch, rng: Random, c: complex, a: complex, hw: float, hh: float) -> None:
    """Paints chimney, roof windows and solar panels on a pitched roof."""
    b = a * 1j
    if rng.random() < 0.6:
        spot = c + a * rng.uniform(-0.6, 0.6) * hw + b * rng.uniform(-0.3, 0.3) * hh
        shade = sketch.sun.shadow_m
        sketch.line(Phase.ROOF, spot, spot + shade * 1.3, 0.7, (50, 48, 50, 8))
        sketch.fill(Phase.ROOF, rect(spot, a, 0.45, 0.4), (118, 92, 84, 8))
    side = 1 if rng.random() < 0.5 else -1
    pick = rng.random()
    if pick < 0.22 and hw > 4:
        width = rng.uniform(0.3, 0.7) * hw
        spot = c + a * rng.uniform(-0.2, 0.2) * hw + b * side * hh * 0.5
        sketch.fill(Phase.ROOF, rect(spot, a, width, hh * 0.32), (42, 50, 70, 6))
        sketch.line(Phase.ROOF, spot - a * width, spot + a * width, 0.15, (86, 94, 110, 6))
    elif pick < 0.6:
        for _ in range(rng.randrange(1, 4)):
            spot = c + a * rng.uniform(-0.75, 0.75) * hw + b * side * hh * rng.uniform(0.4, 0.6)
            sketch.fill(Phase.ROOF, rect(spot, a, 0.5, 0.6), (70, 84, 98, 6))


def draw_house(
    sketch: Sketch, rng: Random, c: complex, a: complex, hw: float, hh: float, *,
    wing_m: float = 0.0, wing_towards: complex = 1, floors: int = 2,
) -> None:  # fmt: skip
    """Adds a pitched house, ridge along the longer side, with a wing of wing_m (L or T shape).

    wing_towards is the unit vector, across the longer side, in which the wing grows.
    """
    if hh > hw:
        a, hw, hh = a * 1j, hh, hw
    pieces = [rect(c, a, hw, hh)]
    colour = tone(TILED[rng.randrange(len(TILED))], rng.uniform(0.88, 1.16))
    steep = rng.uniform(0.14, 0.34)
    wing = None
    if wing_m > 1.0:
        narrow = hh * rng.uniform(0.7, 0.95)
        off = (hw - narrow) * (rng.choice((-1.0, 1.0)) if rng.random() < 0.7 else 0.15)
        d = wing_towards
        foot = c + a * off
        tip = foot + d * (hh + wing_m)
        pieces.append([foot - a * narrow, foot + a * narrow, tip + a * narrow, tip - a * narrow])
        wing = (foot, d, narrow, tip)
    _register(sketch, pieces, floors * 2.8 + hh * 0.45)
    hip = rng.choice((0.0, 0.0, 0.0, 0.9, 0.9, 0.45))
    _pitched(sketch, c, a, hw, hh, colour, steep, hip)
    if wing is not None:
        foot, d, narrow, tip = wing
        meet = foot + d * (hh - narrow)
        for sign in (-1, 1):
            side = a * sign * (narrow - 0.2 * sketch.gsd_m)
            face = [tip + side, foot + d * hh + side, meet, tip]
            sketch.fill(Phase.ROOF, face, tone(colour, _lit(sketch, a * sign, steep)))
        _ridge(sketch, meet, tip, colour)
    _fittings(sketch, rng, c, a, hw, hh)


def draw_flat(sketch: Sketch, rng: Random, pieces: list[list[complex]], height_m: float) -> None:
    """Adds a flat roof over convex pieces (rect order), with parapet, stains and machinery."""
    _register(sketch, pieces, height_m)
    colour = tone(FLAT[rng.randrange(len(FLAT))], rng.uniform(0.88, 1.12))
    rim = tone(colour, rng.choice((0.82, 1.14, 1.2)), 6)
    for piece in pieces:
        sketch.fill(Phase.ROOF, piece, rim)
    for piece in pieces:
        sketch.fill(Phase.ROOF, _shrunk(piece, 0.55), colour)
    for piece in pieces:
        area = abs(piece[1] - piece[0]) * abs(piece[3] - piece[0])
        for _ in range(min(14, int(area / rng.uniform(60, 160)))):
            _machine(sketch, rng, piece, colour)


def _shrunk(quad: Points, margin_m: float) -> list[complex]:
    centre = sum(quad) / len(quad)
    return [z + (centre - z) * min(0.9, 1.41 * margin_m / max(1e-6, abs(centre - z))) for z in quad]


def _machine(sketch: Sketch, rng: Random, quad: Points, colour: Colour) -> None:
    u, v = rng.uniform(0.12, 0.88), rng.uniform(0.12, 0.88)
    side = quad[1] - quad[0]
    spot = quad[0] + side * u + (quad[3] - quad[0]) * v
    along = side / max(1e-6, abs(side))
    pick = rng.random()
    if pick < 0.35:
        half = rng.uniform(1.0, 3.5)
        sketch.fill(Phase.ROOF, rect(spot, along, half, half * 0.6), tone(colour, 0.94))
    elif pick < 0.8:
        half, across = rng.uniform(0.5, 1.4), rng.uniform(0.4, 1.0)
        shift = sketch.sun.shadow_m * 1.2
        for part in (0.5, 1.0):
            cast = rect(spot + shift * part, along, half, across)
            sketch.fill(Phase.ROOF, cast, tone(colour, 0.55))
        sketch.fill(Phase.ROOF, rect(spot, along, half, across), (188, 190, 190, 6))
    else:
        sketch.fill(Phase.ROOF, rect(spot, along, 0.8, 0.8), (206, 214, 220, 4))


def ell(rng: Random, c: complex, a: complex, hw: float, hh: float) -> list[list[complex]]:
    """Two rectangles that make an L or a T inside the rectangle (c, a, hw, hh)."""
    end = rng.choice((-1, 1)) * a
    deep = hh * rng.uniform(0.4, 0.6)
    shift = (hh - deep) * rng.choice((-1, 1, 0))
    part = rng.uniform(0.25, 0.55)
    return [
        rect(c - end * hw * (1 - part), a, hw * part, hh),
        # Half a metre into the other: edges that merely touch leave gaps of rounding errors.
        rect(c + end * (hw * part - 0.5) + a * 1j * shift, a, hw * (1 - part) + 0.5, deep),
    ]


def draw_hall(sketch: Sketch, rng: Random, c: complex, a: complex, hw: float, hh: float) -> None:
    """Adds an industrial hall: flat with skylight bands, sheet-metal gable, or saw-tooth."""
    height = rng.uniform(6.5, 12)
    pick = rng.random()
    if pick < 0.4:
        if rng.random() < 0.4:
            draw_flat(sketch, rng, ell(rng, c, a, hw, hh), height)
            return
        draw_flat(sketch, rng, [rect(c, a, hw, hh)], height)
        bands = int(hw * 2 // rng.uniform(9, 16)) if rng.random() < 0.6 else 0
        for k in range(bands):
            spot = c + a * hw * (2 * (k + 0.5) / bands - 1)
            sketch.fill(Phase.ROOF, rect(spot, a, 0.8, hh * 0.72), (206, 212, 216, 6))
        return
    _register(sketch, [rect(c, a, hw, hh)], height)
    colour = tone(FLAT[rng.randrange(len(FLAT))], rng.uniform(0.88, 1.1))
    if pick < 0.75:
        _pitched(sketch, c, a, hw, hh, colour, 0.1, 0.0)
        seams = int(hw * 2 // 5)
        for k in range(1, seams):
            spot = c + a * hw * (2 * k / seams - 1)
            across = a * 1j * (hh - 0.5)
            sketch.line(Phase.ROOF, spot - across, spot + across, 0.25, tone(colour, 0.93))
        return
    teeth = max(2, int(hw * 2 // rng.uniform(7, 12)))
    for k in range(teeth):
        half = hw / teeth
        spot = c + a * hw * (2 * (k + 0.5) / teeth - 1)
        sketch.fill(Phase.ROOF, rect(spot, a, half, hh), tone(colour, _lit(sketch, a, 0.16)))
        glass = rect(spot + a * half * 0.7, a, half * 0.3, hh)
        sketch.fill(Phase.ROOF, glass, tone((120, 132, 142, 6), _lit(sketch, -a, 0.3)))


def draw_court(
    sketch: Sketch, rng: Random, outer: Points, depth_m: float, open_side: int | None
) -> None:
    """Adds a perimeter block round a courtyard, one side missing (U shape) if open_side is set."""
    centre = sum(outer) / 4
    inner = [z + (centre - z) * min(0.8, 1.41 * depth_m / abs(centre - z)) for z in outer]
    pieces, faces = [], []
    height = rng.uniform(9, 15)
    colour = tone(TILED[rng.randrange(len(TILED))], rng.uniform(0.88, 1.14))
    steep = rng.uniform(0.14, 0.3)
    for k in range(4):
        if k == open_side:
            continue
        p, q = outer[k], outer[(k + 1) % 4]
        r, s = inner[(k + 1) % 4], inner[k]
        pieces.append([p, q, r, s])
        outward = -1j * (q - p) / abs(q - p)
        parts = max(1, int(abs(q - p) / rng.uniform(11, 20)))
        faces.append((p, q, r, s, outward, parts))
    _register(sketch, pieces, height)
    for p, q, r, s, outward, parts in faces:
        for part in range(parts):
            if rng.random() < 0.5:
                colour = tone(TILED[rng.randrange(len(TILED))], rng.uniform(0.88, 1.14))
            t0, t1 = part / parts, (part + 1) / parts
            o0, o1 = p + (q - p) * t0, p + (q - p) * t1
            i0, i1 = s + (r - s) * t0, s + (r - s) * t1
            m0, m1 = (o0 + i0) / 2, (o1 + i1) / 2
            lit = _lit(sketch, outward, steep), _lit(sketch, -outward, steep)
            sketch.fill(Phase.ROOF, [o0, o1, m1, m0], tone(colour, lit[0]))
            sketch.fill(Phase.ROOF, [m0, m1, i1, i0], tone(colour, lit[1]))
            _ridge(sketch, m0, m1, colour)
            along = (o1 - o0) / abs(o1 - o0)
            _fittings(sketch, rng, (m0 + m1) / 2, along, abs(o1 - o0) / 2, depth_m / 2)
