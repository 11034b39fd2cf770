"""torchvision and segmentation-models-pytorch, importable beside any build of torch.

torchvision's Linux wheels are compiled against a CUDA torch. Beside a CPU-only torch the compiled
operators do not load, and the import dies on `operator torchvision::nms does not exist` although
models, transforms and data sets need none of them. Declaring the operators' schemas lets it pass.
Every import of torchvision or segmentation_models_pytorch in geotiler goes through this module.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []  # a Library's definitions live as long as it does


def _compiled_operators_load() -> bool:
    """True if torchvision's compiled operators fit this torch, or there are none to look for."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return True
    folder = Path(spec.submodule_search_locations[0])
    libraries = [*folder.glob("_C*.so"), *folder.glob("_C*.pyd")]
    if not libraries:
        return False
    try:
        torch.ops.load_library(str(libraries[0]))  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return True


def _declare_missing_operators() -> None:
    if _declared or hasattr(torch.ops.torchvision, "nms") or _compiled_operators_load():
        return
    fragment = torch.library.Library(  # type: ignore[no-untyped-call]
        "torchvision", "FRAGMENT"
    )
    for schema in _SCHEMAS:
        fragment.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(fragment)


def torchvision() -> ModuleType:
    """The torchvision package."""
    _declare_missing_operators()
    return importlib.import_module("torchvision")


def segmentation_models() -> ModuleType:
    """The segmentation_models_pytorch package."""
    _declare_missing_operators()
    return importlib.import_module("segmentation_models_pytorch")
