"""Probabilities along outlines and within them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from geotiler.core.contour import PixelSides, pixel_sides, row_sums
from geotiler.core.outlines import Outlines
from geotiler.errors import InputError
from geotiler.io.probabilities import DEFAULT_THRESHOLD, Probabilities
from geotiler.io.raster import Scene, open_scene
from geotiler.specs import MASK_NODATA, Window

WINDOW_PX = 4_000_000
"""Probabilities are read by windows of about this size."""

ONE = 1 << 20
"""Probabilities are added up as whole numbers of this fraction: in any order, the same sum."""


class ProbabilitySampler:
    """Probabilities along outlines and within them, read by windows."""

    def __init__(
        self, path: str, threshold: float | None, mask: Scene, *, is_told: bool = False
    ) -> None:
        """Open it.

        Args:
            path: of the raster.
            threshold: see `Probabilities`.
            mask: whose outlines are asked about.
            is_told: see `Probabilities`.

        Raises:
            InputError: no probabilities, or not on the mask's pixels.
        """
        self.scene = open_scene(path)
        try:
            self._probabilities = Probabilities(self.scene, threshold, is_told=is_told)
            self._probabilities.check_grid(mask)
            self._band = _positions(self._probabilities, mask)
        except InputError:
            self.scene.close()
            raise
        self.count = self._probabilities.count
        """Number of classes that have a band."""
        ids = set(mask.class_names) - {MASK_NODATA}
        self.tells_classes = is_told or (bool(ids) and all(self._band[list(ids)] >= 0))
        """Whether the likeliest of its bands is the mask's class, background included."""

    def close(self) -> None:
        """Close the file."""
        self.scene.close()

    @property
    def threshold(self) -> float:
        """What a pixel of a patch is above; 0.5 where there are several bands, which have none."""
        return self._probabilities.threshold if self.count == 1 else DEFAULT_THRESHOLD

    def has_any(self, class_ids: Sequence[int]) -> bool:
        """Whether one of these classes has a band."""
        return bool((self._band[list(class_ids)] >= 0).any())

    def within(self, window: Window, class_id: int) -> npt.NDArray[np.float32]:
        """Probabilities (row, col) of a class that has a band; NaN where they are not known."""
        values, valid = self._probabilities.read(window, int(self._band[class_id]) + 1)
        found: npt.NDArray[np.float32] = np.where(valid, values[0], np.float32(np.nan))
        return found

    def sample(
        self, outlines: Outlines
    ) -> tuple[PixelSides, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Sides (side) of the outlines, how far (side, 2) the pixels inside and outside each are
        above the threshold, and the mean (feature) of the probability of each feature's class;
        NaN where the class has no band.

        Of several bands, what is told is by how much the likeliest class of the pixel inside is
        likelier than that of the pixel outside.
        """
        sides = pixel_sides(outlines)
        above = np.full((len(sides.ring), 2), np.nan)
        summed = np.zeros(len(sides.ring), np.int64)
        feature = outlines.ring_feature[sides.ring]
        starts = np.searchsorted(feature, np.arange(len(outlines) + 1))
        bounds = outlines.bounds_px()
        for members in window_groups(bounds):
            index = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in members])
            self._sample_group(sides, index, outlines.class_id[feature[index]], above, summed)
        # Whole numbers below 2^53 in float64: the sums are exact.
        total = row_sums(sides, len(outlines.ring_part), summed.astype(np.float64))
        mean = np.bincount(outlines.ring_feature, total, len(outlines)) / ONE / outlines.area_px()
        mean[self._band[outlines.class_id] < 0] = np.nan
        return sides, above, mean

    def _sample_group(
        self,
        sides: PixelSides,
        index: npt.NDArray[np.intp],
        class_id: npt.NDArray[np.uint8],
        above: npt.NDArray[np.float64],
        summed: npt.NDArray[np.int64],
    ) -> None:
        """Enters what the sides at `index` need, from as many windows as they lie in."""
        both = np.stack([sides.inside[index], sides.outside[index]], axis=1)
        has_band = self._band[class_id] >= 0
        index, class_id, both = index[has_band], class_id[has_band], both[has_band]
        if not len(index):
            return
        low = np.maximum(both.min(axis=(0, 1)), 0)
        high = np.minimum(both.max(axis=(0, 1)) + 1, self.scene.shape)
        bands = self._band[class_id]
        step = max(1, WINDOW_PX // max(1, int(high[1] - low[1])))
        for row in range(int(low[0]), int(high[0]), step):
            stop = min(row + step, int(high[0]))
            mine = (both[:, 0, 0] >= row) & (both[:, 0, 0] < stop)
            # One row more above and below: the pixels outside may lie there.
            top, bottom = max(row - 1, int(low[0])), min(stop + 1, int(high[0]))
            window = Window(
                row=top, col=int(low[1]), height=bottom - top, width=int(high[1] - low[1])
            )
            values, valid = self._probabilities.read(window)
            place = both[mine] - [window.row, window.col]
            above[index[mine]] = self._above(values, valid, place, bands[mine])
            whole = np.rint(np.where(valid, values, 0).astype(np.float64) * ONE).astype(np.int64)
            left_of = np.zeros((*whole.shape[:2], window.width + 1), np.int64)
            np.cumsum(whole, axis=2, out=left_of[:, :, 1:])
            col = place[:, :, 1].max(axis=1)
            summed[index[mine]] = left_of[bands[mine], place[:, 0, 0], col]

    def _above(
        self,
        values: npt.NDArray[np.float32],
        valid: npt.NDArray[np.bool_],
        place: npt.NDArray[np.int64],
        bands: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.float32]:
        """(side, 2): what `sample` tells of the pixels inside and outside; NaN if not known.

        Args:
            values: (band, row, col).
            valid: (row, col).
            place: (side, 2, 2): row and column of the pixel inside, then of that outside.
            bands: (side): of the outline's class.
        """
        there = ((place >= 0) & (place < valid.shape)).all(axis=2)
        row, col = np.where(there[..., None], place, 0).transpose(2, 0, 1)
        there &= valid[row, col]
        if self.count == 1:
            found = values[bands[:, None], row, col] - np.float32(self._probabilities.threshold)
        else:
            leader = values[:, row, col].argmax(axis=0)
            inside, outside = leader[:, :1], leader[:, 1:]
            found = values[inside, row, col] - values[outside, row, col]
        return np.where(there, found, np.float32(np.nan))


def _positions(probabilities: Probabilities, mask: Scene) -> npt.NDArray[np.int64]:
    """(256): class id → position of its band; -1: it has none."""
    bands = probabilities.bands_of(mask.class_names) or probabilities.own_bands()
    positions = np.full(256, -1)
    positions[list(bands)] = np.array(list(bands.values())) - 1
    return positions


def window_groups(bounds: npt.NDArray[np.int64]) -> Iterator[list[int]]:
    """Features whose common bounds are small enough to be read at once."""
    members: list[int] = []
    box = np.zeros(4, np.int64)
    for i in np.argsort(bounds[:, 0], kind="stable").tolist():
        joint = np.concatenate(
            [np.minimum(box[:2], bounds[i, :2]), np.maximum(box[2:], bounds[i, 2:])]
        )
        if members and (joint[2] - joint[0]) * (joint[3] - joint[1]) <= WINDOW_PX:
            members.append(i)
            box = joint
            continue
        if members:
            yield members
        members, box = [i], bounds[i]
    if members:
        yield members
