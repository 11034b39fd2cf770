"""What a task is asked to do: frozen, keyword-only, validated before any file is opened.

Only the standard library is imported here, so that the command line can build and refuse a
specification without loading numpy. Units are part of the names; `None` means "decide from the
model card or the scene".
"""

from __future__ import annotations

from geotiler.specs.classify import (
    VECTOR_SUFFIXES,
    BackendSpec,
    ClassifyImagesSpec,
    ClassifySpec,
    RadiometrySpec,
)
from geotiler.specs.data import (
    EurosatSpec,
    RenderSpec,
)
from geotiler.specs.evaluate import (
    EvaluateSpec,
)
from geotiler.specs.export import (
    ExportSpec,
    ExportTarget,
)
from geotiler.specs.preview import (
    PreviewSpec,
)
from geotiler.specs.segment import (
    SegmentSpec,
)
from geotiler.specs.tile import (
    LARGEST_CLASS,
    SPLITS,
    ClassRule,
    SplitBy,
    TileSpec,
)
from geotiler.specs.values import (
    MASK_NODATA,
    PROBABILITY_STEPS,
    SMALLEST_HOLE_M2,
    SMALLEST_M2,
    Backend,
    Engine,
    Precision,
    Scale,
    Window,
)
from geotiler.specs.vectorize import (
    OutlinesFrom,
    Regularize,
    VectorizeSpec,
)

__all__ = [
    "LARGEST_CLASS",
    "MASK_NODATA",
    "PROBABILITY_STEPS",
    "SMALLEST_HOLE_M2",
    "SMALLEST_M2",
    "SPLITS",
    "VECTOR_SUFFIXES",
    "Backend",
    "BackendSpec",
    "ClassRule",
    "ClassifyImagesSpec",
    "ClassifySpec",
    "Engine",
    "EurosatSpec",
    "EvaluateSpec",
    "ExportSpec",
    "ExportTarget",
    "OutlinesFrom",
    "Precision",
    "PreviewSpec",
    "RadiometrySpec",
    "Regularize",
    "RenderSpec",
    "Scale",
    "SegmentSpec",
    "SplitBy",
    "TileSpec",
    "VectorizeSpec",
    "Window",
]
