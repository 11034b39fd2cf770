"""From stored pixel values to what a network was trained on.

Scaling is one linear map per data set, never per tile: a stretch that depends on the tile's own
values is itself a seam. Invalid pixels enter the network as the training mean, which is 0 after
normalisation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geotiler.specs import Scale


def normalise(
    raw: NDArray[np.generic],
    valid: NDArray[np.bool_],
    *,
    scale: Scale,
    mean: Sequence[float],
    std: Sequence[float],
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Network input: (clip((raw - minimum) / (maximum - minimum), 0, 1) - mean) / std.

    Args:
        raw: (band, row, col), any real dtype; may hold NaN where invalid.
        valid: (row, col), True = valid.
        scale: raw values that become 0 and 1; values beyond are clipped to it.
        mean: per band, of scaled values.
        std: per band, of scaled values.
        out: (band, row, col), where the answer is put and given back; None: a new array.

    Returns:
        (band, row, col) float32; exactly 0 at invalid pixels.
    """
    if out is None:
        out = np.empty(raw.shape, np.float32)
    span = scale.maximum - scale.minimum
    # Integers of up to 16 bits are exact in float32; wider types are subtracted in float64.
    minimum = np.result_type(raw.dtype, np.float32).type(scale.minimum)
    invalid = None if valid.all() else ~valid
    for band, plane in enumerate(out):
        with np.errstate(over="ignore"):  # becomes infinite, and is clipped like any other
            np.subtract(raw[band], minimum, out=plane, casting="unsafe")
            plane *= np.float32(1.0 / (span * std[band]))
        plane -= np.float32(mean[band] / std[band])
        low, high = -mean[band] / std[band], (1.0 - mean[band]) / std[band]
        np.clip(plane, np.float32(low), np.float32(high), out=plane)
        if invalid is not None:
            np.copyto(plane, np.float32(0), where=invalid)
    return out


def finite_float32(raw: NDArray[np.generic]) -> NDArray[np.float32]:
    """Values as float32, those beyond its range at its ends; NaN stays."""
    limit = np.finfo(np.float32).max
    if raw.dtype == np.float64:
        raw = np.clip(raw, -limit, limit)
    return raw.astype(np.float32)


def percentile_scale(sample: NDArray[np.generic], low: float = 2.0, high: float = 98.0) -> Scale:
    """Range between two percentiles of a sample of valid values, one for all bands.

    Raises:
        SpecError: the sample is empty or constant.
    """
    values = np.asarray(sample, dtype=np.float64).ravel()
    values = values[np.isfinite(values)]
    if values.size == 0:
        return Scale(minimum=0.0, maximum=0.0)  # refused by Scale with its own message
    minimum, maximum = np.percentile(values, [low, high])
    return Scale(minimum=float(minimum), maximum=float(maximum))


PHOTOGRAPH = (35 / 255, 213 / 255)
"""Where 2 and 98 % of the values of a photograph of 8 bits lie, as shares of its range.

Source: all valid values of the 683 training tiles of the building models, pooled.
"""


def photograph_scale(measured: Scale) -> Scale:
    """The range within which measured values lie as those of a photograph of 8 bits do.

    A picture whose 2 and 98 % are black and white has more contrast than what networks are
    trained on.

    Args:
        measured: the 2-98 % range of a scene.
    """
    low, high = PHOTOGRAPH
    span = (measured.maximum - measured.minimum) / (high - low)
    minimum = measured.minimum - low * span
    return Scale(minimum=minimum, maximum=minimum + span)


def told_scale(scale: Scale) -> Scale:
    """The scale rounded to a ten-thousandth of its span or finer, so that it can be told and typed.

    A model of 8 bits cannot tell the two apart.
    """
    span = scale.maximum - scale.minimum
    digits = 4 - math.floor(math.log10(span))
    return Scale(minimum=round(scale.minimum, digits), maximum=round(scale.maximum, digits))


def border_nodata(
    image: NDArray[np.uint8], *, darkest: int = 12, min_px: int = 64
) -> NDArray[np.bool_]:
    """Valid mask of an image whose nodata is only known as black bands along its border.

    Lossy compression turns black into nearly black, and black roofs are not nodata: only dark
    pixels connected to the border, in regions that survive a 5 px opening, count as nodata.

    Args:
        image: (row, col, band) uint8.
        darkest: largest value, in every band, of a pixel that may be nodata.
        min_px: smaller regions stay valid.

    Returns:
        (row, col), True = valid.
    """
    import cv2  # 15 MB that inference does without

    dark = (image.max(axis=2) <= darkest).astype(np.uint8)
    if not dark.any():
        return np.ones(dark.shape, bool)
    # Outside the image counts as dark, or the opening would keep a seam of dark border pixels.
    padded = cv2.copyMakeBorder(dark, 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=1)
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    count, labels = cv2.connectedComponents(opened, connectivity=4)
    outside = labels[0, 0] if count > 1 else 0
    invalid = ((labels == outside) & (opened > 0))[3:-3, 3:-3]
    if int(invalid.sum()) < min_px:
        return np.ones(dark.shape, bool)
    grown = cv2.dilate(invalid.astype(np.uint8), np.ones((5, 5), np.uint8))  # lossy edge
    return np.asarray(grown == 0)


_SENTINEL_2 = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir"}
"""Two digits, as Sentinel-2 and HLS write them: a plain B4 is another colour on each Landsat."""


def spectral_name(text: str) -> str:
    """Lower-case name of a band; the colour where it is called B02, B03, B04 or B08."""
    return _SENTINEL_2.get(text.strip().upper(), text.strip().lower())


def chosen_bands(names: Sequence[str | None], wanted: Sequence[str]) -> tuple[int, ...] | None:
    """Bands of a scene, counted from 1, that a model wants; None if only the analyst can know.

    By name where the scene names them all, else in the order of the file where it has exactly as
    many (an alpha band is not counted).

    Args:
        names: name of each band of the scene, None where it has none.
        wanted: names of the model's bands, in its order.
    """
    if all(name in names for name in wanted):
        return tuple(names.index(name) + 1 for name in wanted)
    colours = [index for index, name in enumerate(names, start=1) if name != "alpha"]
    return tuple(colours) if len(colours) == len(wanted) else None
