"""Which files belong together by their names."""

from __future__ import annotations

from pathlib import PurePath

ENDINGS = (
    "_mask", "_masks", "_label", "_labels", "_truth", "_gt", "_buildings", "_pred", "_prediction",
    "_probability",
)  # fmt: skip
"""What the name of a mask, of labels or of probabilities may have beyond the scene's."""


def has_name_of(label: str, scene: str) -> bool:
    """Whether a label file is named after a scene: the same name, or with one of `ENDINGS`."""
    name, wanted = PurePath(label).stem.casefold(), PurePath(scene).stem.casefold()
    return name in (wanted, *(wanted + ending for ending in ENDINGS))


def bare_name(path: str) -> str:
    """A file's name without suffix and without an ending, in lower case."""
    name = PurePath(path).stem.casefold()
    for ending in ENDINGS:
        if name.endswith(ending) and name != ending:
            return name.removesuffix(ending)
    return name
