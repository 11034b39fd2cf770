"""From a raster of any size to buildings and land use on a map.

The names below are loaded on first use, so that `import geotiler` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from geotiler import errors, specs
    from geotiler.tasks.classify import classify
    from geotiler.tasks.describe import describe
    from geotiler.tasks.evaluate import evaluate
    from geotiler.tasks.preview import preview
    from geotiler.tasks.render import render
    from geotiler.tasks.segment import segment
    from geotiler.tasks.tile import tile
    from geotiler.tasks.train import train
    from geotiler.tasks.vectorize import vectorize

_TASKS = frozenset(
    {
        "classify",
        "describe",
        "evaluate",
        "preview",
        "render",
        "segment",
        "tile",
        "train",
        "vectorize",
    }
)

__all__ = [
    "classify",
    "describe",
    "errors",
    "evaluate",
    "preview",
    "render",
    "segment",
    "specs",
    "tile",
    "train",
    "vectorize",
]


def __getattr__(name: str) -> Any:
    if name in _TASKS:
        return getattr(importlib.import_module(f"geotiler.tasks.{name}"), name)
    if name in ("errors", "specs"):
        return importlib.import_module(f"geotiler.{name}")
    raise AttributeError(f"module 'geotiler' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
