"""A rendered example scene: an invented town seen from the air, with exact building outlines.

Any part of a scene of any size can be rendered alone; it equals the same part of the whole. The
scene is rendered in fixed chunks, and every block, noise value and outline depends on the seed
and its own place only. Objects are sized in metres, so one seed shows the same town at any GSD.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from random import Random

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from geotiler.core.synthetic_objects import Footprint, Layer, Phase, Sketch
from geotiler.core.synthetic_town import Town, mixed_seed
from geotiler.specs import Window

CHUNK_PX = 512
"""Side of the squares that are rendered at a time; windows aligned to it are the cheapest."""
_HALO_PX = 4
_SUPER = 2
"""Canvas pixels per scene pixel: downsampling is what smooths the outlines."""
_FRACTION_BITS = 4
_TILE_PX = 1024

Rendered = tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]


@dataclass(frozen=True, kw_only=True)
class SyntheticScene:
    """An invented scene: what it shows follows from the seed, how finely from the GSD."""

    seed: int
    height: int
    """Rows."""
    width: int
    """Columns."""
    gsd_m: float = 0.5

    def render(self, window: Window) -> Rendered:
        """The pixels of a window: rgb (3, h, w) uint8, footprints (h, w), valid (h, w).

        Equals the same crop of a rendering of the whole scene. rgb is 0 exactly where valid is
        False; footprints is True at valid pixels whose centre lies in a building.

        Raises:
            ValueError: the window leaves the scene.
        """
        if (
            window.row < 0
            or window.col < 0
            or (window.row_stop > self.height or window.col_stop > self.width)
        ):
            raise ValueError(f"{window} leaves the scene of {self.height} x {self.width} pixels")
        rgb = np.zeros((3, *window.shape), np.uint8)
        footprints = np.zeros(window.shape, np.bool_)
        valid = np.zeros(window.shape, np.bool_)
        for row in range(window.row // CHUNK_PX, (window.row_stop - 1) // CHUNK_PX + 1):
            for col in range(window.col // CHUNK_PX, (window.col_stop - 1) // CHUNK_PX + 1):
                chunk = Window(
                    row=row * CHUNK_PX, col=col * CHUNK_PX, height=CHUNK_PX, width=CHUNK_PX
                )
                part = chunk.intersection(window)
                if part is None:
                    continue
                pixels, inside, known = _chunk(self, row, col)
                to, of = _within(part, window), _within(part, chunk)
                rgb[:, to[0], to[1]] = pixels[:, of[0], of[1]]
                footprints[to] = inside[of]
                valid[to] = known[of]
        return rgb, footprints, valid

    def footprints(self, window: Window) -> list[shapely.Polygon]:
        """Outlines of the buildings that belong to a window, in pixels (x, y) of the scene.

        A building belongs to the window that holds its anchor, moved into the scene where it
        lies outside; outlines are not cut at the window, but at the edge of the valid area.
        """
        town = _town(self.seed, self.gsd_m)
        # Half a block: how far an anchor outside the scene may be moved to get into it.
        margin = 110.0
        cells = town.cells(
            window.col * self.gsd_m - margin,
            window.row * self.gsd_m - margin,
            window.col_stop * self.gsd_m + margin,
            window.row_stop * self.gsd_m + margin,
        )
        area = _valid_area(self)
        found: list[shapely.Polygon] = []
        for cell in cells:
            for footprint in town.block(*cell).footprints:
                anchor = footprint.anchor / self.gsd_m
                col = min(max(math.floor(anchor.real), 0), self.width - 1)
                row = min(max(math.floor(anchor.imag), 0), self.height - 1)
                if window.row <= row < window.row_stop and window.col <= col < window.col_stop:
                    found.extend(_outline(footprint, self.gsd_m, area))
        return found


def _within(part: Window, whole: Window) -> tuple[slice, slice]:
    row, col = part.row - whole.row, part.col - whole.col
    return slice(row, row + part.height), slice(col, col + part.width)


@functools.lru_cache(maxsize=4)
def _town(seed: int, gsd_m: float) -> Town:
    return Town(seed, gsd_m)


def _outline(footprint: Footprint, gsd_m: float, area: shapely.Polygon) -> list[shapely.Polygon]:
    pieces = [
        shapely.Polygon([(z.real / gsd_m, z.imag / gsd_m) for z in piece])
        for piece in footprint.pieces
    ]
    whole = pieces[0] if len(pieces) == 1 else shapely.union_all(pieces)
    if shapely.contains_properly(area, whole):
        return [whole]
    parts = shapely.get_parts(shapely.intersection(whole, area))
    return [part for part in parts if isinstance(part, shapely.Polygon) and _has_a_pixel(part)]


def _has_a_pixel(outline: shapely.Polygon) -> bool:
    """Whether any pixel centre lies in an outline: a splinter without one is not an object."""
    if outline.is_empty or outline.area > 4:
        return not outline.is_empty
    x0, y0, x1, y1 = (math.floor(v) for v in outline.bounds)
    x, y = np.meshgrid(np.arange(x0, x1 + 1) + 0.5, np.arange(y0, y1 + 1) + 0.5)
    return bool(shapely.contains_xy(outline, x.ravel(), y.ravel()).any())


@functools.lru_cache(maxsize=8)
def _nodata(scene: SyntheticScene) -> list[NDArray[np.float64]]:
    """Convex areas without data, in pixels: the slanted edge of the swath, and a small gap."""
    rng = Random(mixed_seed(scene.seed, 7))
    height, width = float(scene.height), float(scene.width)
    reach = rng.uniform(0.12, 0.22) * width, rng.uniform(0.3, 0.6) * height
    corner = [(-1.0, -1.0), (reach[0], -1.0), (-1.0, reach[1])]
    if rng.random() < 0.5:
        corner = [(width - x, y) for x, y in corner]
    x, y = rng.uniform(0.35, 0.65) * width, rng.uniform(0.55, 0.85) * height
    size = min(height, width) * 0.012 + 2
    gap = [(x, y), (x + 3 * size, y + 0.6 * size), (x + 2.8 * size, y + 1.5 * size), (x, y + size)]
    return [np.array(corner), np.array(gap)]


@functools.lru_cache(maxsize=8)
def _valid_area(scene: SyntheticScene) -> shapely.Polygon:
    area = shapely.box(0, 0, scene.width, scene.height)
    holes = [shapely.Polygon(points) for points in _nodata(scene)]
    area = shapely.difference(area, shapely.union_all(holes))
    shapely.prepare(area)
    return area


def _mark_convex(mask: NDArray[np.bool_], points: NDArray[np.float64], row: int, col: int) -> None:
    """Sets the pixels of mask, whose origin is (row, col), with centres in a convex polygon."""
    height, width = mask.shape
    x0 = max(0, math.ceil(points[:, 0].min() - col - 0.5))
    x1 = min(width, math.floor(points[:, 0].max() - col - 0.5) + 1)
    y0 = max(0, math.ceil(points[:, 1].min() - row - 0.5))
    y1 = min(height, math.floor(points[:, 1].max() - row - 0.5) + 1)
    if x0 >= x1 or y0 >= y1:
        return
    x = np.arange(x0, x1) + (col + 0.5)
    y = np.arange(y0, y1)[:, None] + (row + 0.5)
    nxt = np.roll(points, -1, axis=0)
    area = float(np.sum(points[:, 0] * nxt[:, 1] - nxt[:, 0] * points[:, 1]))
    sign = 1.0 if area >= 0 else -1.0
    hit: NDArray[np.bool_] | None = None
    for (px, py), (qx, qy) in zip(points.tolist(), nxt.tolist(), strict=True):
        side = (sign * (qx - px)) * (y - py) >= (sign * (qy - py)) * (x - px)
        hit = side if hit is None else hit & side
    assert hit is not None
    mask[y0:y1, x0:x1] |= hit


@functools.lru_cache(maxsize=24)
def _chunk(scene: SyntheticScene, row: int, col: int) -> Rendered:
    """One chunk of the scene, all CHUNK_PX² pixels of it even at the edge."""
    town = _town(scene.seed, scene.gsd_m)
    top, left = row * CHUNK_PX, col * CHUNK_PX
    reach = CHUNK_PX + _HALO_PX
    bounds = [scene.gsd_m * v for v in (left - _HALO_PX, top - _HALO_PX, left + reach, top + reach)]
    blocks = [town.block(*cell) for cell in town.cells(*bounds)]
    footprints = np.zeros((CHUNK_PX, CHUNK_PX), np.bool_)
    for block in blocks:
        for footprint in block.footprints:
            for piece in footprint.pieces:
                points = np.array(piece).view(np.float64).reshape(-1, 2) / scene.gsd_m
                _mark_convex(footprints, points, top, left)
    missing = np.zeros((CHUNK_PX, CHUNK_PX), np.bool_)
    for points in _nodata(scene):
        _mark_convex(missing, points, top, left)
    valid = ~missing
    extra = []
    if town.river is not None:
        sketch = Sketch(town.sun, scene.gsd_m)
        town.river.paint(sketch, bounds[0], bounds[1], bounds[2], bounds[3])
        extra.append(sketch.layers(0))
    canvas = _paint([block.layers for block in blocks] + extra, scene.gsd_m, top, left)
    rgb = _exposed(scene, canvas, row, col)
    rgb[:, missing] = 0
    for array in (rgb, footprints, valid):
        array.flags.writeable = False
    return rgb, footprints & valid, valid


def _paint(stacks: list[tuple[Layer, ...]], gsd_m: float, top: int, left: int) -> NDArray[np.uint8]:
    """The chunk with its halo at _SUPER resolution: red, green, blue, texture strength."""
    side = (CHUNK_PX + 2 * _HALO_PX) * _SUPER
    canvas = np.zeros((side, side, 4), np.uint8)
    shade = np.zeros((side, side), np.uint8)
    origin = np.array([left - _HALO_PX, top - _HALO_PX], dtype=np.float64)
    for phase in Phase:
        target = shade if phase is Phase.SHADOW else canvas
        for stack in stacks:
            _fill(target, stack[phase], gsd_m, origin)
        if phase is Phase.SHADOW:
            dark = cv2.LUT(canvas, _SHADE)
            cv2.copyTo(dark, shade, canvas)
    return canvas


def _shade_table() -> NDArray[np.uint8]:
    level = np.arange(256)[:, None]
    table = level * np.array([0.44, 0.47, 0.54]) + np.array([2, 4, 8])
    return np.hstack([table, level * 0.55]).round().astype(np.uint8).reshape(1, 256, 4)


_SHADE = _shade_table()
"""Shadow is darker and bluer than light, since the sky still reaches it."""


def _fill(
    target: NDArray[np.uint8], layer: Layer, gsd_m: float, origin: NDArray[np.float64]
) -> None:
    if not len(layer.colours):
        return
    # OpenCV counts from pixel centres, geotiler from pixel corners: hence the half.
    place = (layer.points / gsd_m - origin) * _SUPER - 0.5
    points = np.rint(place * (1 << _FRACTION_BITS)).astype(np.int32)
    starts = layer.starts
    low = np.minimum.reduceat(points, starts[:-1], axis=0)
    high = np.maximum.reduceat(points, starts[:-1], axis=0)
    limit = target.shape[0] << _FRACTION_BITS
    seen = np.flatnonzero((low.max(axis=1) < limit) & (high.min(axis=1) > 0))
    bounds = starts.tolist()
    colours = layer.colours[seen].tolist()
    for k, colour in zip(seen.tolist(), colours, strict=True):
        outline = points[bounds[k] : bounds[k + 1]]
        cv2.fillConvexPoly(target, outline, colour, cv2.LINE_8, _FRACTION_BITS)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """How camera and air render a scene; levels in 8-bit steps."""

    gain: tuple[float, float, float]
    contrast: float
    haze: tuple[float, float, float]
    blur_px: float
    noise: float


@functools.lru_cache(maxsize=16)
def _look(seed: int) -> _Look:
    rng = Random(mixed_seed(seed, 11))
    exposure = rng.uniform(0.95, 1.22)
    haze = rng.uniform(0, 26) if rng.random() < 0.7 else rng.uniform(26, 46)
    return _Look(
        gain=(
            exposure * rng.gauss(1, 0.035), exposure * rng.gauss(1, 0.02),
            exposure * rng.gauss(1, 0.045),
        ),
        contrast=1.04 - haze / 160,
        haze=(haze * 0.85, haze * 0.95, haze * 1.1),
        blur_px=rng.uniform(0.45, 0.8),
        noise=rng.uniform(1.0, 2.4),
    )  # fmt: skip


@functools.lru_cache(maxsize=4)
def _textures(gsd_m: float) -> NDArray[np.float32]:
    """Three periodic noise tiles (3, n, n) of unit variance: brightness, hue, sensor.

    They are repeated once downwards and to the right for a chunk and its halo, so that a part
    that starts anywhere in the first n rows and columns is a plain slice.
    """
    rng = np.random.default_rng(99)
    rows, cols = np.fft.fftfreq(_TILE_PX)[:, None], np.fft.rfftfreq(_TILE_PX)
    frequency = np.hypot(rows, cols)
    tiles = []
    for mix in (((0.25, 0.75), (1.2, 0.55), (6.0, 0.5)), ((0.8, 0.5), (5.0, 0.8)), ((0.0, 1.0),)):
        total = np.zeros((_TILE_PX, _TILE_PX))
        for size_m, share in mix:
            spectrum = np.fft.rfft2(rng.standard_normal((_TILE_PX, _TILE_PX)))
            smooth = np.exp(-2 * (np.pi * frequency * size_m / gsd_m) ** 2)
            field = np.fft.irfft2(spectrum * smooth, s=total.shape)
            total += share * field / field.std()
        tiles.append(total / total.std())
    more = CHUNK_PX + 2 * _HALO_PX
    return np.pad(np.asarray(tiles, dtype=np.float32), ((0, 0), (0, more), (0, more)), mode="wrap")


def _exposed(
    scene: SyntheticScene, canvas: NDArray[np.uint8], row: int, col: int
) -> NDArray[np.uint8]:
    """The photograph (3, n, n) of a painted chunk: texture, light that varies, lens, noise."""
    side = CHUNK_PX + 2 * _HALO_PX
    small = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)
    top, left = row * CHUNK_PX - _HALO_PX, col * CHUNK_PX - _HALO_PX
    textures = _textures(scene.gsd_m)
    at, to = top % _TILE_PX, left % _TILE_PX
    amount = small[..., 3].astype(np.float32) * np.float32(0.3)
    grain = amount * textures[0, at : at + side, to : to + side]
    hue = amount * textures[1, at : at + side, to : to + side]
    light = _light(scene, np.arange(top, top + side), np.arange(left, left + side))
    look = _look(scene.seed)
    rng = Random(mixed_seed(scene.seed, 10, row, col))
    core = slice(_HALO_PX, _HALO_PX + CHUNK_PX)
    pixels = np.empty((3, CHUNK_PX, CHUNK_PX), np.uint8)
    for band, lean in enumerate((0.3, 0.05, -0.2)):
        plane = small[..., band].astype(np.float32)
        plane += grain
        plane += hue * np.float32(lean)
        plane *= light
        sharp = cv2.GaussianBlur(plane, (5, 5), look.blur_px)[core, core]
        y, x = rng.randrange(_TILE_PX), rng.randrange(_TILE_PX)
        seen = sharp * np.float32(look.contrast * look.gain[band]) + look.haze[band]
        seen += textures[2, y : y + CHUNK_PX, x : x + CHUNK_PX] * np.float32(look.noise)
        # At least 1: a black pixel that was seen is not the same as one that was not.
        pixels[band] = np.clip(seen, 1, 255)
    return pixels


def _light(
    scene: SyntheticScene, rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Brightness factor (rows, cols), about 1, that drifts over hundreds of metres."""
    rng = Random(mixed_seed(scene.seed, 8))
    total = np.ones((rows.size, cols.size), np.float32)
    for length_m, height in ((900.0, 0.05), (350.0, 0.04), (140.0, 0.03)):
        k = 2 * math.pi * scene.gsd_m / length_m
        wave_y = np.sin(k * rows * rng.uniform(0.7, 1.3) + rng.uniform(0, 6.3))
        wave_x = np.sin(k * cols * rng.uniform(0.7, 1.3) + rng.uniform(0, 6.3))
        total += np.outer((height * wave_y).astype(np.float32), wave_x.astype(np.float32))
    return total
