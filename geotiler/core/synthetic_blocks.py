"""How a built-up block of a rendered example scene is filled: parcels, houses, yards, halls."""

from __future__ import annotations

import cmath
from collections.abc import Callable
from itertools import pairwise

from geotiler.core.synthetic_land import fill_farmland, fill_forest, fill_park
from geotiler.core.synthetic_objects import (
    Colour,
    Phase,
    Points,
    bilinear,
    draw_car,
    draw_hedge,
    draw_parking,
    draw_pool,
    inset,
    rect,
    sub_quad,
    tone,
)
from geotiler.core.synthetic_roofs import (
    draw_court,
    draw_flat,
    draw_hall,
    draw_house,
    ell,
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

GROUND: dict[str, Colour] = {
    "OLD_TOWN": (148, 143, 136, 22),
    "SUBURB": (112, 116, 82, 44),
    "ESTATE": (106, 114, 78, 44),
    "INDUSTRY": (142, 139, 133, 26),
    "PARK": (98, 110, 70, 46),
    "FARMLAND": (122, 116, 80, 40),
    "FOREST": (54, 64, 44, 40),
}


def fill_suburb(site: Site) -> None:
    """Two strips of parcels on either side of a lane, or one strip where the block is shallow."""
    sketch, rng = site.sketch, site.rng
    quad = turned(site.quad, rng.randrange(2))
    deep = sides(quad)[1]
    strips = max(1, round(deep / 48))
    row_house = rng.random() < 0.15
    for strip in range(strips):
        lane = 2.6 if strip else 0.0
        part = sub_quad(quad, 0, 1, strip / strips, (strip + 1) / strips)
        if lane:
            sketch.line(Phase.STREET, part[0], part[1], 2 * lane, (116, 115, 114, 16))
        after = 2.6 if strip < strips - 1 else 0.0
        part = inset(part, 0, 0, lane + 0.6 if lane else 0, after + 0.6 if after else 0)
        for side in (0, 2):
            half = sub_quad(turned(part, side), 0, 1, 0, 0.5)
            if row_house:
                _rows(site, half)
            else:
                _parcels(site, half)


def _parcels(site: Site, half: Points) -> None:
    rng = site.rng
    wide = sides(half)[0]
    count = max(1, int(wide / rng.uniform(15, 22)))
    cuts = [0.0, *((k + rng.uniform(-0.13, 0.13)) / count for k in range(1, count)), 1.0]
    for u0, u1 in pairwise(cuts):
        _parcel(site, sub_quad(half, u0, u1, 0, 1))


def _parcel(site: Site, parcel: Points) -> None:
    """A garden with a house that faces v = 0, a drive, and what people put behind houses."""
    sketch, rng = site.sketch, site.rng
    sketch.fill(Phase.LAND, parcel, tone(LAWNS[rng.randrange(len(LAWNS))], rng.uniform(0.9, 1.1)))
    wide, deep = sides(parcel)
    along = unit(parcel[1] - parcel[0])
    inward = unit(bilinear(parcel, 0.5, 1) - bilinear(parcel, 0.5, 0))
    if rng.random() < 0.09 or wide < 10 or deep < 13:
        scatter(site, parcel, rng.randrange(1, 6), 1.5, 4)
        if rng.random() < 0.3:
            sketch.fill(Phase.LAND, inset(parcel, 2, 2, 2, 4), (150, 136, 112, 46))
        return
    _garden(site, parcel, along)
    turn = along * cmath.rect(1, rng.gauss(0, 0.04))
    for shrink in (1.0, 0.86, 0.72):
        hw = min(rng.uniform(5.0, 8.2), wide / 2 - 1.6) * shrink
        hh = min(rng.uniform(4.2, 6.4), deep / 2 - 2.5) * shrink
        setback = rng.uniform(2.0, max(2.1, min(7.5, deep - 2 * hh - 4)))
        sideways = rng.uniform(-1, 1) * max(0.0, wide / 2 - hw - 1.6) * 0.7
        centre = bilinear(parcel, 0.5, 0) + inward * (setback + hh) + along * sideways
        if fits(site, parcel, rect(centre, turn, hw, hh), 0.9):
            _drive(site, centre, along, inward, setback + hh, hw)
            terrace = rect(centre + inward * (hh + 1.2), turn, hw * rng.uniform(0.4, 0.9), 2.2)
            sketch.fill(Phase.LAND, terrace, tone((170, 160, 146, 16), rng.uniform(0.85, 1.1)))
            _house(site, parcel, centre, turn, hw, hh)
            return


def _drive(
    site: Site, house: complex, along: complex, inward: complex, back_m: float, hw: float
) -> None:
    """A drive from the street to one end of the house, back_m behind the parcel's front."""
    sketch, rng = site.sketch, site.rng
    end = house + along * (hw - 2) * (1 if rng.random() < 0.5 else -1)
    gate = end - inward * (back_m + 3.2)
    grey = tone((164, 160, 152, 14), rng.uniform(0.75, 1.12))
    sketch.line(Phase.LAND, gate, end, rng.uniform(2.8, 5.0), grey)
    if rng.random() < 0.5 and back_m > 10:
        draw_car(sketch, rng, gate + inward * 5.5, inward)


def _house(
    site: Site, parcel: Points, centre: complex, turn: complex, hw: float, hh: float
) -> None:
    sketch, rng = site.sketch, site.rng
    wing = rng.uniform(2.5, 5) if rng.random() < 0.6 else 0.0
    towards = (turn if hh > hw else turn * 1j) * rng.choice((-1, 1))
    if not fits(site, parcel, [z + towards * wing for z in rect(centre, turn, hw, hh)], 0.8):
        towards = -towards
        if not fits(site, parcel, [z + towards * wing for z in rect(centre, turn, hw, hh)], 0.8):
            wing = 0.0
    if rng.random() < 0.1:
        draw_flat(sketch, rng, [rect(centre, turn, hw, hh)], rng.uniform(3.2, 6.5))
    else:
        floors = rng.choice((1, 2))
        draw_house(
            sketch, rng, centre, turn, hw, hh, wing_m=wing, wing_towards=towards, floors=floors
        )
    _outhouse(site, parcel, turn, centre, max(hw, hh) + wing)


def _outhouse(site: Site, parcel: Points, along: complex, house: complex, reach_m: float) -> None:
    rng = site.rng
    if rng.random() < 0.45:
        spot = bilinear(parcel, rng.choice((0.2, 0.8)), rng.uniform(0.7, 0.86))
        hw, hh = rng.uniform(1.4, 3.4), rng.uniform(1.3, 2.8)
        # 3.5 m: no corner of the two can touch whatever their turn
        if abs(spot - house) > reach_m * 1.25 + 3.5 and fits(
            site, parcel, rect(spot, along, hw, hh), 0.8
        ):
            if rng.random() < 0.5:
                draw_flat(site.sketch, rng, [rect(spot, along, hw, hh)], 2.6)
            else:
                draw_house(site.sketch, rng, spot, along, hw, hh, floors=1)


def _garden(site: Site, parcel: Points, along: complex) -> None:
    sketch, rng = site.sketch, site.rng
    for k in (1, 2, 3):
        if rng.random() < 0.4 and site.keep([parcel[k], parcel[(k + 1) % 4]]):
            draw_hedge(sketch, rng, parcel[k], parcel[(k + 1) % 4])
        elif rng.random() < 0.6:
            sketch.line(Phase.LAND, parcel[k], parcel[(k + 1) % 4], 0.35, (96, 90, 78, 10))
    spot = bilinear(parcel, rng.uniform(0.3, 0.7), rng.uniform(0.74, 0.84))
    pick = rng.random()
    if pick < 0.14 and site.keep([spot]):
        draw_pool(sketch, rng, spot, along)
    elif pick < 0.32:
        bed = rect(spot, along, rng.uniform(1.5, 4), rng.uniform(1, 2.4))
        sketch.fill(Phase.LAND, bed, tone((120, 100, 78, 44), rng.uniform(0.85, 1.15)))
    for _ in range(rng.randrange(0, 6)):
        u = rng.choice((rng.uniform(0.02, 0.2), rng.uniform(0.8, 0.98), rng.uniform(0.2, 0.8)))
        plant(site, bilinear(parcel, u, rng.uniform(0.55, 0.98)), 1.0, 3.6)
    if rng.random() < 0.3:
        plant(site, bilinear(parcel, rng.uniform(0.05, 0.95), rng.uniform(0.05, 0.25)), 1.2, 3.2)


def _rows(site: Site, half: Points) -> None:
    """Terraced houses: one long roof per row, a strip of gardens behind."""
    sketch, rng = site.sketch, site.rng
    wide, deep = sides(half)
    sketch.fill(Phase.LAND, half, tone(LAWNS[rng.randrange(len(LAWNS))], rng.uniform(0.9, 1.1)))
    along = unit(half[1] - half[0])
    rows = max(1, int(wide // 42))
    for k in range(rows):
        part = sub_quad(half, k / rows, (k + 1) / rows, 0, 1)
        hw, hh = sides(part)[0] / 2 - 3.2, min(5.2, deep / 2 - 2.5)
        centre = bilinear(part, 0.5, 0) + unit(part[3] - part[0]) * (hh + 4.5)
        if hw > 6 and hh > 3 and fits(site, half, rect(centre, along, hw, hh), 0.8):
            draw_house(sketch, rng, centre, along, hw, hh)
            for plot in range(1, int(hw / 3)):
                u = plot / int(hw / 3)
                draw_hedge(sketch, rng, bilinear(part, u, 0.72), bilinear(part, u, 0.98))
        scatter(site, sub_quad(part, 0, 1, 0.7, 1), rng.randrange(1, 6), 1, 2.6)


def fill_old_town(site: Site) -> None:
    """Perimeter blocks round courtyards, between narrow lanes, with a square now and then."""
    sketch, rng = site.sketch, site.rng
    sketch.fill(Phase.LAND, site.quad, tone(GROUND["OLD_TOWN"], rng.uniform(0.9, 1.08)))
    cols, rows = (2, 2) if rng.random() < 0.6 else ((2, 1) if rng.random() < 0.5 else (1, 2))
    mid = rng.uniform(0.42, 0.58), rng.uniform(0.42, 0.58)
    us = [0.0, mid[0], 1.0] if cols == 2 else [0.0, 1.0]
    vs = [0.0, mid[1], 1.0] if rows == 2 else [0.0, 1.0]
    for u0, u1 in pairwise(us):
        for v0, v1 in pairwise(vs):
            lane = 2.4
            part = inset(
                sub_quad(site.quad, u0, u1, v0, v1),
                lane if u0 else 0, lane if u1 < 1 else 0,
                lane if v0 else 0, lane if v1 < 1 else 0,
            )  # fmt: skip
            _town_block(site, part)


def _town_block(site: Site, part: Points) -> None:
    sketch, rng = site.sketch, site.rng
    if rng.random() < 0.1:
        _square(site, part)
        return
    if not site.keep(part):
        sketch.fill(Phase.LAND, part, tone(LAWNS[0], 1.0))
        scatter(site, part, 8, 2, 4.5)
        return
    depth = min(rng.uniform(9.5, 13.5), min(sides(part)) * 0.32)
    open_side = rng.randrange(4) if rng.random() < 0.4 else None
    court = inset(part, depth, depth, depth, depth)
    if rng.random() < 0.6:
        sketch.fill(Phase.LAND, court, tone(LAWNS[rng.randrange(len(LAWNS))], 0.9))
    draw_court(sketch, rng, part, depth, open_side)
    yard = inset(court, 4, 4, 4, 4)
    if min(sides(court)) > 19 and rng.random() < 0.6:
        hw, hh = rng.uniform(3.5, 6.5), rng.uniform(3, 4.5)
        spot, along = bilinear(yard, 0.5, 0.5), unit(part[1] - part[0])
        if fits(site, yard, rect(spot, along, hw, hh), 0.2):
            if rng.random() < 0.5:
                draw_flat(sketch, rng, [rect(spot, along, hw, hh)], 4.0)
            else:
                draw_house(sketch, rng, spot, along, hw, hh)
    scatter(site, court, rng.randrange(0, 6), 1.5, 3.6)


def _square(site: Site, part: Points) -> None:
    sketch, rng = site.sketch, site.rng
    if rng.random() < 0.5:
        draw_parking(sketch, rng, part, rng.uniform(0.4, 0.9))
        return
    sketch.fill(Phase.LAND, part, tone((172, 164, 152, 20), rng.uniform(0.85, 1.1)))
    for k in range(4):
        count = max(2, int(abs(part[(k + 1) % 4] - part[k]) / 8))
        edge = inset(part, 4, 4, 4, 4)
        for n in range(count):
            plant(site, edge[k] + (edge[(k + 1) % 4] - edge[k]) * n / count, 2.2, 3.4)
    sketch.blob(Phase.LAND, rng, sum(part) / 4, 3.5, (96, 122, 124, 8))


def fill_estate(site: Site) -> None:
    """Slabs of flats with flat roofs on lawn, car parks between them."""
    sketch, rng = site.sketch, site.rng
    quad = turned(site.quad, rng.randrange(4))
    deep = sides(quad)[1]
    sketch.fill(Phase.LAND, quad, tone(LAWNS[rng.randrange(len(LAWNS))], rng.uniform(0.92, 1.08)))
    rows = max(1, int(deep // rng.uniform(28, 38)))
    height = rng.uniform(9, 20)
    for row in range(rows):
        strip = sub_quad(quad, 0, 1, row / rows, (row + 1) / rows)
        parking = rng.random() < 0.5
        if parking:
            lot = sub_quad(strip, rng.uniform(0.05, 0.25), rng.uniform(0.6, 0.95), 0.66, 0.98)
            if site.keep(lot):
                draw_parking(sketch, rng, lot, rng.uniform(0.3, 0.9))
        path = bilinear(strip, 0, 0.6), bilinear(strip, 1, 0.6)
        sketch.line(Phase.LAND, *path, 2.0, (168, 164, 156, 14))
        _slab(site, sub_quad(strip, 0.03, 0.97, 0.06, 0.58), height)
        low = 0.58 if not parking else 0.0
        scatter(site, sub_quad(strip, 0, 1, low, low + 0.4), rng.randrange(3, 10), 2, 4.6)
    scatter(site, quad, 4, 2, 4)


def _slab(site: Site, strip: Points, height_m: float) -> None:
    sketch, rng = site.sketch, site.rng
    wide, deep = sides(strip)
    along = unit(strip[1] - strip[0])
    hh = min(rng.uniform(5.2, 7.2), deep / 2 - 1)
    parts = 1 if rng.random() < 0.4 else 2
    for part in range(parts):
        lot = sub_quad(strip, part / parts, (part + 1) / parts, 0, 1)
        hw = (wide / parts / 2 - 2.5) * rng.uniform(0.75, 1.0)
        centre = sum(lot) / 4
        outline = rect(centre, along, hw, hh)
        if hh < 4 or hw < 6 or not fits(site, lot, outline, 0.3):
            continue
        pieces = [outline]
        if hh < deep / 2 - 3 and rng.random() < 0.5:
            pieces = ell(rng, centre, along, hw, deep / 2 - 1)
        elif rng.random() < 0.35:
            stair = rect(
                centre + along * hw * rng.uniform(-0.5, 0.5) + along * 1j * hh, along, 3.0, 2.0
            )
            if fits(site, lot, stair, 0.3):
                pieces.append(stair)
        if len(pieces) == 1 and rng.random() < 0.4:
            draw_house(sketch, rng, centre, along, hw, hh, floors=4)
        else:
            draw_flat(sketch, rng, pieces, height_m)


def fill_industry(site: Site) -> None:
    """Halls on concrete, lorry yards, car parks, stacks of containers."""
    sketch, rng = site.sketch, site.rng
    quad = turned(site.quad, rng.randrange(4))
    cut = rng.uniform(0.45, 0.7)
    lots = [sub_quad(quad, 0, cut, 0, 1), sub_quad(quad, cut, 1, 0, 1)]
    if rng.random() < 0.5:
        lots = [lots[0], sub_quad(lots[1], 0, 1, 0, 0.5), sub_quad(lots[1], 0, 1, 0.5, 1)]
    for k, lot in enumerate(lots):
        lot = inset(lot, 1.5, 1.5, 1.5, 1.5)
        yard = rng.choice(((150, 147, 140, 26), (128, 127, 126, 24), (158, 148, 128, 34)))
        sketch.fill(Phase.LAND, lot, tone(yard, rng.uniform(0.9, 1.12)))
        wide, deep = sides(lot)
        if k and rng.random() < 0.22:
            if rng.random() < 0.5:
                draw_parking(sketch, rng, lot, rng.uniform(0.2, 0.9))
            else:
                _containers(site, lot)
            continue
        hw, hh = wide / 2 * rng.uniform(0.6, 0.86), deep / 2 * rng.uniform(0.45, 0.8)
        along = unit(lot[1] - lot[0])
        centre = bilinear(lot, 0.5, rng.uniform(0.44, 0.56))
        for shrink in (1.0, 0.85, 0.7):
            if fits(site, lot, rect(centre, along, hw * shrink, hh * shrink), 1.5):
                if hh > hw:
                    draw_hall(sketch, rng, centre, along * 1j, hh * shrink, hw * shrink)
                else:
                    draw_hall(sketch, rng, centre, along, hw * shrink, hh * shrink)
                break
        _lorries(site, lot, hh)
    scatter(site, quad, rng.randrange(0, 5), 1.5, 3.5)


def _lorries(site: Site, lot: Points, hh: float) -> None:
    sketch, rng = site.sketch, site.rng
    across = unit(lot[3] - lot[0])
    for _ in range(rng.randrange(0, 7)):
        spot = bilinear(lot, rng.uniform(0.1, 0.9), rng.choice((0.06, 0.95)))
        if rng.random() < 0.5:
            draw_car(sketch, rng, spot, across)
        else:
            box = rect(spot, across, rng.uniform(4, 6.5), 1.25)
            sketch.fill(Phase.MARK, [z + sketch.sun.shadow_m * 3 for z in box], (64, 64, 68, 6))
            sketch.fill(Phase.MARK, box, rng.choice(((222, 222, 220, 6), (96, 108, 140, 6))))


def _containers(site: Site, lot: Points) -> None:
    sketch, rng = site.sketch, site.rng
    along = unit(lot[1] - lot[0])
    paints = ((132, 72, 58, 8), (72, 98, 122, 8), (150, 140, 120, 8), (88, 110, 92, 8))
    for _ in range(rng.randrange(6, 22)):
        box = rect(bilinear(lot, rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9)), along, 3.0, 1.2)
        sketch.fill(Phase.MARK, [z + sketch.sun.shadow_m * 2.6 for z in box], (66, 66, 70, 6))
        sketch.fill(Phase.MARK, box, paints[rng.randrange(4)])


FILLERS: dict[str, Callable[[Site], None]] = {
    "OLD_TOWN": fill_old_town,
    "SUBURB": fill_suburb,
    "ESTATE": fill_estate,
    "INDUSTRY": fill_industry,
    "PARK": fill_park,
    "FARMLAND": fill_farmland,
    "FOREST": fill_forest,
}
