"""Covering a scene with overlapping windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from geotiler.errors import SpecError
from geotiler.specs import Window
from geotiler.specs.checks import check_overlap

_LEAST_TALL_PX = 1152
"""Tiles are allowed to be that tall however wide a scene is."""


@dataclass(frozen=True, kw_only=True)
class TileLimits:
    """What bounds the tiles that are fitted to a scene."""

    largest_px: int
    """Most pixels of one tile, which the network's memory grows with."""
    row_px: int
    """Pixels of the row of tiles that is held beyond which tiles are made less tall."""
    widest_px: int = 2048
    """Tiles may be wider than tall, which are held across the scene; but the wider they are, the
    more of them reach over the sides of panels and are computed for both."""


def starts(length_px: int, tile_px: int, stride_px: int, multiple_px: int = 1) -> list[int]:
    """Offsets of tiles that cover [0, length_px); the last one is shifted inward.

    Args:
        length_px: what is covered.
        tile_px, stride_px: side of a tile, and offset between neighbours.
        multiple_px: the last offset is rounded up to a multiple, so that its tile may end less
            than that beyond `length_px`.
    """
    if length_px <= tile_px:
        return [0]
    before = range(0, length_px - tile_px, stride_px)
    last = -(-(length_px - tile_px) // multiple_px) * multiple_px
    return [*before, min(last, before[-1] + stride_px)]


def _count(length_px: int, tile_px: int, stride_px: int) -> int:
    """How many `starts` there are, without listing them."""
    return len(range(0, length_px - tile_px, stride_px)) + 1


def _candidates(length_px: int, overlap_px: int, multiple_px: int, longest_px: int) -> list[int]:
    """Tile sides that waste the least along one axis, each for some number of tiles."""
    sides = set()
    count = 1
    while True:
        exact = -(-(length_px + (count - 1) * overlap_px) // count)
        side = -(-exact // multiple_px) * multiple_px
        if side <= max(longest_px, multiple_px):
            sides.add(max(side, multiple_px))
        if side < 512 or side <= overlap_px + multiple_px:
            break
        count += 1
    shortest = -(-(overlap_px + 1) // multiple_px) * multiple_px
    return sorted(side for side in sides if side > overlap_px) or [shortest]


def fitted_overlap(overlap_px: int, side_px: int, multiple_px: int) -> int:
    """An overlap for tiles that were chosen without one: no more than a quarter of their side.

    A quarter shares each pixel among less than two tiles; the overlap of a larger tile would have a
    small one computed many times over. It is at least `multiple_px` where tiles are larger.

    Args:
        overlap_px: of the tiles that the model was made for; never exceeded.
        side_px: shorter side of a tile.
        multiple_px: what the network's strides ask of a side.
    """
    quarter_px = side_px // 4
    if side_px > multiple_px:
        quarter_px = max(multiple_px, quarter_px // multiple_px * multiple_px)
    return min(overlap_px, quarter_px)


def fitted_tile(
    shape: tuple[int, int],
    overlap_px: int,
    multiple_px: int,
    limits: TileLimits,
) -> tuple[int, int]:
    """Tile (height, width) that covers a scene while computing the fewest pixels twice.

    Each side is a multiple of `multiple_px`, chosen so that a whole number of tiles at the given
    overlap ends just past the scene's edge; snapping the last tile inward then wastes nothing.

    Args:
        shape: scene (height, width) in pixels of the network's grid.
        overlap_px: pixels shared by neighbours.
        multiple_px: what the network's strides ask of a side.
        limits: what memory allows.
    """
    largest_px = limits.largest_px
    tallest_px = min(2048, max(_LEAST_TALL_PX, limits.row_px // shape[1]))
    best: tuple[float, int, tuple[int, int]] | None = None
    widths = _candidates(shape[1], overlap_px, multiple_px, limits.widest_px)
    for height in _candidates(shape[0], overlap_px, multiple_px, tallest_px):
        rows = _count(shape[0], height, height - overlap_px)
        for width in widths:
            if height * width > largest_px:
                continue
            cols = _count(shape[1], width, width - overlap_px)
            # Among nearly equal amounts of work the smaller tile needs less memory.
            cost = rows * height * cols * width * (1 + 0.02 * height * width / largest_px)
            choice = (cost, height * width, (height, width))
            if best is None or choice < best:
                best = choice
    if best is None:  # sides that each fit, but not together
        side = max(multiple_px, int(largest_px**0.5) // multiple_px * multiple_px)
        return side, side
    return best[2]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Row-major windows of one size that cover a scene; no two are the same.

    Windows that begin at multiples of a network's stride see each pixel in one phase: a network
    that is asked twice about the same pixel otherwise differs from itself by where its pooling
    cells lie. The last windows then end a few pixels beyond the scene.
    """

    shape: tuple[int, int]
    """Scene (height, width)."""
    tile_shape: tuple[int, int]
    """Window (height, width); larger than the scene where the scene is smaller than a tile."""
    overlap_px: int
    multiple_px: int = 1
    """What window offsets are multiples of, where tile and overlap are."""

    def __post_init__(self) -> None:
        """Raises: SpecError: empty scene, or an overlap that leaves no stride."""
        if min(self.shape) < 1:
            raise SpecError(f"a scene needs at least one pixel, got shape {self.shape}")
        check_overlap(self.overlap_px, min(self.tile_shape))

    @property
    def rows(self) -> list[int]:
        """First rows of the windows."""
        height = self.tile_shape[0]
        return starts(self.shape[0], height, height - self.overlap_px, self.multiple_px)

    @property
    def cols(self) -> list[int]:
        """First columns of the windows."""
        width = self.tile_shape[1]
        return starts(self.shape[1], width, width - self.overlap_px, self.multiple_px)

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)

    def __iter__(self) -> Iterator[Window]:
        height, width = self.tile_shape
        for row in self.rows:
            for col in self.cols:
                yield Window(row=row, col=col, height=height, width=width)

    @property
    def computed_share(self) -> float:
        """Pixels of all windows over pixels of the scene; at least 1."""
        windows = len(self) * self.tile_shape[0] * self.tile_shape[1]
        return windows / (self.shape[0] * self.shape[1])

    @property
    def overlapped_share(self) -> float:
        """As `computed_share`, of a scene without end: what the overlap alone costs."""
        height, width = self.tile_shape
        return height * width / ((height - self.overlap_px) * (width - self.overlap_px))
