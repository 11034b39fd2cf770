"""What `geotiler vectorize` reads: class ids strip by strip, and probabilities where asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt

from geotiler.core.sieve import HALO, sieved
from geotiler.errors import SpecError
from geotiler.io.labels import Labels, chosen_classes, label_rule
from geotiler.io.probabilities import Probabilities, is_probability
from geotiler.io.probability_sampler import ProbabilitySampler
from geotiler.io.raster import Scene, open_scene
from geotiler.specs import MASK_NODATA, OutlinesFrom, VectorizeSpec, Window


class VectorizeInput:
    """The raster to vectorize, whatever its kind, and the probabilities that belong to it."""

    def __init__(self, spec: VectorizeSpec, stack: ExitStack) -> None:
        """Args: spec: what to do. stack: closes what is opened here.

        Raises:
            InputError: not a mask, or not the probabilities that were asked for.
            SpecError: settings that do not go together.
        """
        self._spec = spec
        self.scene: Scene = stack.enter_context(open_scene(spec.mask))
        self.note: str | None = None
        self._labels: Labels | None = None
        self._own: Probabilities | None = None
        is_own = is_probability(self.scene) and spec.outlines_from is not OutlinesFrom.MASK
        if spec.outlines_from is OutlinesFrom.PROBABILITY and spec.probability is None:
            is_own = True
        if is_own:
            self._own = Probabilities(self.scene, spec.threshold, is_told=True)
        else:
            rule = label_rule(self.scene)
            self.note = rule.note
            self._labels = Labels(self.scene, rule)
            if spec.threshold is not None:
                raise SpecError(
                    f"--threshold is for probabilities, {self.scene.path} holds class ids",
                    hint="leave it out",
                )
        self.kept = self._kept_classes()
        self.probabilities = self._sampler(stack)

    @property
    def is_several(self) -> bool:
        """Whether features may be of more than one class."""
        kept = set(np.flatnonzero(self.kept).tolist())
        if self._own is not None:
            return len(kept & set(self._own.own_bands())) > 1
        return len(kept) > 1 and self._has_two()

    def _has_two(self) -> bool:
        """Whether two classes occur; reads on until they do."""
        found: set[int] = set()
        for window in self.scene.strips():
            counts = np.bincount(self.kept[self.classes(window)].ravel(), minlength=1)
            found |= set(np.flatnonzero(counts).tolist()) - {0}
            if len(found) > 1:
                return True
        return False

    @property
    def contours(self) -> bool:
        """Whether outlines run between the pixels."""
        if self._spec.outlines_from is OutlinesFrom.MASK or self.probabilities is None:
            return False
        return self.probabilities.count == 1 and not self._spec.eight_connected

    def classes(self, window: Window) -> npt.NDArray[np.uint8]:
        """Class ids (row, col) of a window; 0 background, 255 unknown."""
        if self._own is not None:
            return self._own.classes(window)
        assert self._labels is not None
        return self._labels.read(window)

    def strips(self, row: int = 0) -> Iterator[tuple[Window, npt.NDArray[np.uint8]]]:
        """The classes to be polygonized, from top to bottom; all others are 0.

        Args:
            row: that the first strip holds.
        """
        size = self._spec.sieve_px
        for window in self.scene.strips():
            if window.row_stop <= row:
                continue
            if size < 2:
                yield window, self.kept[self.classes(window)]
                continue
            top = max(0, window.row - HALO * size)
            stop = min(self.scene.height, window.row_stop + HALO * size)
            wide = Window(row=top, col=0, height=stop - top, width=window.width)
            clean = sieved(self.classes(wide), size, eight_connected=self._spec.eight_connected)
            yield window, self.kept[clean[window.row - top : window.row_stop - top]]

    def _kept_classes(self) -> npt.NDArray[np.uint8]:
        """(256): class id → the same id if it is to be polygonized, else 0."""
        spec, scene = self._spec, self.scene
        table = np.arange(MASK_NODATA + 1, dtype=np.uint8)
        table[MASK_NODATA] = 0
        if spec.classes is not None:
            names = {key: name for key, name in scene.class_names.items() if 0 < key < MASK_NODATA}
            # Only a mask that does not name its classes has to be searched for them.
            present: set[int] = set()
            if self._own is not None:
                present = set(self._own.own_bands())
            elif not names and self._labels is not None:
                present = self._labels.present()
            chosen = chosen_classes(spec.classes, names, present, scene.path)
            table[~np.isin(table, list(chosen))] = 0
        return table

    def _sampler(self, stack: ExitStack) -> ProbabilitySampler | None:
        path = self._spec.probability
        if path is None:
            if self._own is None:
                return None
            path = self._spec.mask
        sampler = ProbabilitySampler(
            path, self._spec.threshold, self.scene, is_told=self._own is not None
        )
        stack.callback(sampler.close)
        return sampler
