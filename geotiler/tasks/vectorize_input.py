"""What `geotiler vectorize` reads: class ids strip by strip, and probabilities where asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import dropwhile

import numpy as np
import numpy.typing as npt

from geotiler.core.sieve import Sieve
from geotiler.errors import SpecError
from geotiler.io.labels import Labels, check_few_classes, chosen_classes, label_rule
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
        self.sieved: int | None = None
        """Patches that were too small, once all strips were taken; None: not all of them were
        looked at, or nothing was sieved."""
        self._labels: Labels | None = None
        self._own: Probabilities | None = None
        is_own = is_probability(self.scene)
        if is_own and spec.outlines_from is OutlinesFrom.MASK:
            raise SpecError(
                f"--outlines-from mask needs class ids, {self.scene.path} holds probabilities",
                hint="leave it out, or name the mask of the same run",
            )
        if spec.outlines_from is OutlinesFrom.PROBABILITY and spec.probability is None:
            is_own = True
        self.is_own = is_own
        """Whether the raster itself holds probabilities."""
        if is_own:
            self._own = Probabilities(self.scene, spec.threshold, is_told=True)
        else:
            rule = label_rule(self.scene)
            is_told = spec.probability is not None or spec.outlines_from is OutlinesFrom.MASK
            if spec.classes is None and not is_told:
                check_few_classes(self.scene)
            self.note = rule.note
            self._labels = Labels(self.scene, rule)
            if spec.threshold is not None:
                raise SpecError(
                    f"--threshold is for probabilities, {self.scene.path} holds class ids",
                    hint="leave it out",
                )
        self.kept = self._kept_classes()
        self.probabilities = probability_sampler(spec, self.scene, is_own=is_own)
        if self.probabilities is not None:
            stack.callback(self.probabilities.close)
        if spec.separate:
            self._check_separate()

    def _check_separate(self) -> None:
        """Raises: SpecError: nothing tells where to part patches."""
        ids = np.unique(self.kept[self.kept > 0]).tolist()
        if self.probabilities is None:
            hint = "geotiler segment --probability p.tif writes them; then add --probability p.tif"
            if not self.scene.class_names:
                hint += ", or --outlines-from probability if these are some"
            raise SpecError(
                f"--separate needs probabilities, {self.scene.path} is taken for class ids",
                hint=hint,
            )
        if not self.probabilities.has_any(ids):
            told = self._spec.probability or self.scene.path
            raise SpecError(
                f"{told} has no band of a class that is vectorized, which --separate needs",
                hint="--class chooses another one",
            )

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
        tells = self.probabilities.count == 1 or self.probabilities.tells_classes
        return tells and not self._spec.eight_connected

    @property
    def why_nothing(self) -> str:
        """A line for when no patch was found in what was read."""
        path = self.scene.path
        if self._own is None or self._own.count > 1:
            return f"{path} shows nothing that is drawn: no pixel is of a class that was asked for"
        told = f"{path} shows nothing above the threshold of {self._own.threshold:g}"
        if not is_probability(self.scene) and self.scene.dtypes[0] == "uint8":
            told += ": 8 bits that do not say so are read as 0 to 255"
        return told

    def classes(self, window: Window) -> npt.NDArray[np.uint8]:
        """Class ids (row, col) of a window; 0 background, 255 unknown."""
        if self._own is not None:
            return self._own.classes(window)
        assert self._labels is not None
        return self._labels.read(window)

    def strips(self, row: int = 0) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """First row and classes (row, col) to be polygonized, top to bottom; all others are 0.

        Args:
            row: that the first strip begins with.
        """
        # What a sieve does to a row depends on no more rows above it.
        first = max(0, row - 2 * self._spec.sieve_px)
        windows = dropwhile(lambda window: window.row_stop <= first, self.scene.strips())
        at: int | None = None
        for window, classes in self._sieved(windows):
            at = window.row if at is None else at
            skipped = max(0, row - at)
            if len(classes) > skipped:
                yield at + skipped, self.kept[classes[skipped:]]
            at += len(classes)
        if first:  # an earlier run has sieved the rows above, and counts were not kept
            self.sieved = None

    def _sieved(self, windows: Iterable[Window]) -> Iterator[tuple[Window, npt.NDArray[np.uint8]]]:
        """The windows' rows without small patches, some of which come with a later window."""
        window, sieve = None, None
        if self._spec.sieve_px > 1:
            eight = self._spec.eight_connected
            sieve = Sieve(self.scene.width, self._spec.sieve_px, eight_connected=eight)
        for window in windows:
            rows = self.classes(window)
            yield window, rows if sieve is None else sieve.add_rows(rows)
        if sieve is not None and window is not None:
            yield window, sieve.finish()
            self.sieved = sieve.replaced

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


def probability_sampler(
    spec: VectorizeSpec, scene: Scene, *, is_own: bool
) -> ProbabilitySampler | None:
    """The probabilities that belong to a raster, to be closed by the caller, if there are any.

    Args:
        spec: what to do.
        scene: the raster.
        is_own: it holds probabilities itself.

    Raises:
        InputError: not the probabilities that were asked for.
    """
    path = spec.probability or (spec.mask if is_own else None)
    if path is None:
        return None
    is_told = is_own or spec.outlines_from is OutlinesFrom.PROBABILITY
    return ProbabilitySampler(path, spec.threshold, scene, is_told=is_told)
