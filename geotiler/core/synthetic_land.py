"""How open land of a rendered example scene looks: parks, farmland, forest."""

from __future__ import annotations

import math
from itertools import pairwise

from geotiler.core.synthetic_objects import (
    Colour,
    Phase,
    Points,
    bilinear,
    inset,
    inside,
    rect,
    sub_quad,
    tone,
)
from geotiler.core.synthetic_roofs import (
    draw_house,
)
from geotiler.core.synthetic_site import (
    LAWNS,
    Site,
    fits,
    plant,
    scatter,
    sides,
    turned,
    unit,
)

CROPS: tuple[Colour, ...] = (
    (150, 136, 98, 34), (112, 122, 70, 36), (128, 108, 82, 34), (172, 156, 112, 30),
    (92, 108, 60, 36), (142, 124, 96, 38), (134, 138, 86, 34),
)  # fmt: skip


def fill_park(site: Site) -> None:
    """Lawn, paths, groups of trees, and one of: pond, playing field, courts, allotments."""
    sketch, rng = site.sketch, site.rng
    quad = site.quad
    sketch.fill(Phase.LAND, quad, tone(LAWNS[rng.randrange(len(LAWNS))], rng.uniform(0.92, 1.08)))
    for _ in range(3):
        ends = [bilinear(quad, rng.random(), rng.choice((0.0, 1.0))) for _ in range(2)]
        sketch.line(Phase.LAND, ends[0], ends[1], 2.2, (176, 168, 148, 18))
    pick, centre, along = rng.random(), sum(quad) / 4, unit(quad[1] - quad[0])
    if pick < 0.3:
        _pond(site, centre)
    elif pick < 0.55:
        _pitch(site, centre, along)
    elif pick < 0.8:
        _courts(site, centre, along)
    for _ in range(rng.randrange(3, 9)):
        spot = bilinear(quad, rng.random(), rng.random())
        for _ in range(rng.randrange(2, 9)):
            tree = spot + complex(rng.gauss(0, 7), rng.gauss(0, 7))
            if abs(tree - centre) > 26 and inside(quad, tree):
                plant(site, tree, 2.5, 5.5)


def _pond(site: Site, centre: complex) -> None:
    rng = site.rng
    water = tone((62, 82, 84, 10), rng.uniform(0.85, 1.2))
    lobes = [(complex(rng.gauss(0, 7), rng.gauss(0, 7)), rng.uniform(8, 15)) for _ in range(5)]
    for extra, colour in ((2.0, (128, 122, 98, 40)), (0.0, water)):
        for shift, radius in lobes:
            # Regular polygons: a pond's shore is smoother than a tree's crown.
            ring = [
                centre + shift + (radius + extra) * complex(math.cos(k / 4), math.sin(k / 4))
                for k in range(25)
            ]
            site.sketch.fill(Phase.LAND, ring, colour)


def _pitch(site: Site, centre: complex, along: complex) -> None:
    sketch = site.sketch
    hw, hh = 38.0, 24.0
    sketch.fill(Phase.LAND, rect(centre, along, hw + 3, hh + 3), (98, 120, 66, 22))
    for k in range(8):
        stripe = rect(centre + along * hw * ((2 * k + 1) / 8 - 1), along, hw / 8, hh)
        sketch.fill(Phase.LAND, stripe, tone((100, 124, 66, 22), 1.06 if k % 2 else 0.96))
    frame = rect(centre, along, hw, hh)
    for k in range(4):
        sketch.line(Phase.LAND, frame[k], frame[(k + 1) % 4], 0.3, (206, 210, 196, 4))
    across = along * 1j * hh
    sketch.line(Phase.LAND, centre - across, centre + across, 0.3, (206, 210, 196, 4))


def _courts(site: Site, centre: complex, along: complex) -> None:
    sketch, rng = site.sketch, site.rng
    clay = rng.choice(((158, 98, 74, 14), (84, 118, 98, 12), (84, 104, 138, 12)))
    count = rng.randrange(1, 4)
    for k in range(count):
        spot = centre + along * 19 * (k - (count - 1) / 2)
        sketch.fill(Phase.LAND, rect(spot, along, 9, 18.3), clay)
        inner = rect(spot, along, 5.5, 11.9)
        for n in range(4):
            sketch.line(Phase.LAND, inner[n], inner[(n + 1) % 4], 0.25, (222, 220, 214, 4))
        sketch.line(Phase.LAND, spot - along * 6, spot + along * 6, 0.3, (60, 60, 60, 4))


def fill_farmland(site: Site) -> None:
    """Fields with rows, a farm now and then, trees along the edges."""
    rng = site.rng
    quad = turned(site.quad, rng.randrange(2))
    farm = rng.random() < 0.16
    cuts = sorted([0.0, 1.0, *(rng.uniform(0.25, 0.75) for _ in range(rng.randrange(0, 2)))])
    for u0, u1 in pairwise(cuts):
        _field(site, sub_quad(quad, u0, u1, 0, 1))
    if rng.random() < 0.35:
        for k in range(rng.randrange(8, 20)):
            plant(site, bilinear(quad, 0.01, k / 20 + rng.uniform(0, 0.03)), 2, 4.5)
    if farm:
        _farm(site, quad)


def _field(site: Site, field: Points) -> None:
    sketch, rng = site.sketch, site.rng
    crop = tone(CROPS[rng.randrange(len(CROPS))], rng.uniform(0.9, 1.1))
    sketch.fill(Phase.LAND, field, crop)
    wide = sides(field)[0]
    step = rng.choice((1.6, 2.4, 3.2, 6.0, 9.0))
    contrast = rng.uniform(0.88, 0.97)
    rows = int(wide / step)
    for k in range(rows):
        u = (k + 0.5) / rows
        stripe = tone(crop, contrast * rng.uniform(0.98, 1.02))
        ends = bilinear(field, u, 0.02), bilinear(field, u, 0.98)
        sketch.line(Phase.LAND, *ends, step * 0.45 if step < 5 else 0.7, stripe)


def _farm(site: Site, quad: Points) -> None:
    sketch, rng = site.sketch, site.rng
    yard = sub_quad(quad, 0.08, 0.62, 0.05, 0.5)
    sketch.fill(Phase.LAND, yard, (156, 146, 126, 36))
    along = unit(yard[1] - yard[0])
    for u, v in ((0.25, 0.27), (0.75, 0.27), (0.3, 0.76), (0.78, 0.78)):
        lot = sub_quad(yard, u - 0.22, u + 0.2, v - 0.22, v + 0.2)
        wide, deep = sides(lot)
        hw, hh = wide / 2 * rng.uniform(0.55, 0.85), deep / 2 * rng.uniform(0.5, 0.8)
        centre = sum(lot) / 4
        if rng.random() < 0.85 and fits(site, lot, rect(centre, along, hw, hh), 0.4):
            draw_house(sketch, rng, centre, along, hw, hh)
    scatter(site, yard, 8, 2, 4.5)


def fill_forest(site: Site) -> None:
    """A closed wood, sometimes with a clearing."""
    rng = site.rng
    quad = inset(site.quad, -3, -3, -3, -3)
    wide, deep = sides(quad)
    step = rng.uniform(5.6, 7.0)
    clearing = bilinear(quad, rng.random(), rng.random()) if rng.random() < 0.4 else None
    for col in range(int(wide / step)):
        for row in range(int(deep / step)):
            u = (col + 0.5 + rng.uniform(-0.45, 0.45)) * step / wide
            v = (row + 0.5 + rng.uniform(-0.45, 0.45)) * step / deep
            spot = bilinear(quad, u, v)
            if clearing is None or abs(spot - clearing) > 22:
                plant(site, spot, 2.6, 4.6)
