"""Imports point one way, and every heavy library has one home. Read from the source with `ast`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "geotiler"

BASE = {"errors", "specs", "progress", "reports", "resources", "machine", "spelling"}
"""Standard library only (and psutil, which knows the machine); anyone may import them."""

BELOW: dict[str, set[str]] = {
    **{module: set() for module in BASE},
    "core": set(),
    "io": {"core"},
    "models": {"core"},
    "engines": {"core"},
    "training": {"core", "models"},
    "tasks": {"core", "io", "models", "engines", "training"},
    "cli": {"core", "io", "models", "engines", "training", "tasks", "service"},
    "service": {"core", "io", "models", "engines", "training", "tasks"},
}
"""Layer → the layers that it may import, besides itself and the base modules."""

CORE_MAY_IMPORT = {"numpy", "scipy", "cv2", "shapely", "pyproj", "affine"}

HOMES: dict[str, set[str]] = {
    library: set(layers.split())
    for layers, libraries in {
        "models training": "torch torchvision segmentation_models_pytorch timm safetensors",
        "models": "onnx onnxscript onnxruntime openvino pystac stac_model",
        "io": "rasterio rio_cogeo geopandas pyogrio pyarrow obstore",
        "io service": "filelock",
        "io models service": "pandas",  # beside io: what MLflow takes as an example, and gives
        "core io training": "cv2",
        "core io": "affine",
        "engines": "dask distributed",
        "training": "hydra omegaconf lightning torchmetrics",
        "training io": "matplotlib",
        "training models": "wandb comet_ml",
        "training models service": "mlflow",
        "cli": "typer rich tqdm dotenv pydantic_settings",
        "service": "fastapi uvicorn starlette prometheus_client sqlalchemy anyio",
        "service cli": "pydantic",
        # Nowhere: typer brings its own click, rasterio and pyogrio bring GDAL, weights are
        # safetensors and ONNX.
        "": "click osgeo fiona pickle",
    }.items()
    for library in libraries.split()
}
"""Library → the layers that may import it."""

VAGUE_NAMES = {"utils", "util", "helpers", "helper", "manager", "process", "common", "misc"}


@dataclass(frozen=True)
class Source:
    """A parsed module of the package."""

    path: Path
    tree: ast.Module

    @property
    def name(self) -> str:
        """Path below the package, for messages."""
        return self.path.relative_to(PACKAGE).as_posix()

    @property
    def layer(self) -> str:
        """First folder below the package, or the stem of a base module."""
        return Path(self.name).parts[0].removesuffix(".py")

    @property
    def package(self) -> list[str]:
        """Dotted parts of the package that holds the module: what relative imports start from."""
        return ["geotiler", *Path(self.name).parts[:-1]]


def _sources() -> list[Source]:
    return [
        Source(path, ast.parse(path.read_text(encoding="utf-8"), filename=str(path)))
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


SOURCES = _sources()
LAYERED = [source for source in SOURCES if source.name != "__init__.py"]


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below, except what stands under `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _is_type_checking(child.test):
            for other in child.orelse:
                yield other
                yield from _running(other)
            continue
        yield child
        yield from _running(child)


def imports(source: Source, *, running: bool = False) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, `importlib.import_module("name")` included."""
    for node in _running(source.tree) if running else ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            parts = source.package[: len(source.package) - node.level + 1] if node.level else []
            stem = ".".join([*parts, node.module] if node.module else parts)
            for alias in node.names:
                yield node.lineno, f"{stem}.{alias.name}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield node.lineno, first.value


def _ids(sources: list[Source]) -> list[str]:
    return [source.name for source in sources]


@pytest.mark.parametrize("source", LAYERED, ids=_ids(LAYERED))
def test_imports_point_one_way(source: Source) -> None:
    assert source.layer in BELOW, f"{source.layer} has no place among the layers"
    allowed = BELOW[source.layer] | BASE | {source.layer, "__version__"}
    for line, name in imports(source):
        first, _, rest = name.partition(".")
        if first == "geotiler" and rest:
            target = rest.split(".")[0]
            assert target in allowed, f"{source.name}:{line} imports geotiler.{target}"


@pytest.mark.parametrize("source", LAYERED, ids=_ids(LAYERED))
def test_heavy_libraries_stay_at_home(source: Source) -> None:
    for line, name in imports(source):
        library = name.split(".")[0]
        if library in HOMES:
            assert source.layer in HOMES[library], (
                f"{source.name}:{line} imports {library}, at home in {sorted(HOMES[library])}"
            )


PURE = [source for source in LAYERED if source.layer in BASE | {"core"}]


@pytest.mark.parametrize("source", PURE, ids=_ids(PURE))
def test_core_is_pure_and_the_base_is_standard_library(source: Source) -> None:
    beyond = {"core": CORE_MAY_IMPORT, "machine": {"psutil"}}.get(source.layer, set())
    for line, name in imports(source):
        library = name.split(".")[0]
        known = library in sys.stdlib_module_names or library == "geotiler" or library in beyond
        assert known, f"{source.name}:{line} imports {library}"


TASKS = [source for source in LAYERED if source.layer == "tasks"]


@pytest.mark.parametrize("source", TASKS, ids=_ids(TASKS))
def test_tasks_never_call_tasks(source: Source) -> None:
    """A task may be laid out in several files, as segment.py and segment_plan.py."""
    verb = source.path.stem.split("_")[0]
    for line, name in imports(source):
        if name.startswith("geotiler.tasks"):
            target = name.split(".")[2]
            assert target.split("_")[0] == verb, f"{source.name}:{line} imports {name}"


def test_importing_the_package_or_the_command_line_loads_nothing_heavy() -> None:
    """What runs at import time, not inside functions, of `geotiler` and of every cli module."""
    light = set(sys.stdlib_module_names) | {"typer", "rich", "geotiler"}
    for source in SOURCES:
        if source.name != "__init__.py" and source.layer not in ("cli", *BASE):
            continue
        inside_functions = {
            inner.lineno
            for node in ast.walk(source.tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for inner in ast.walk(node)
            if isinstance(inner, ast.Import | ast.ImportFrom)
        }
        for line, name in imports(source, running=True):
            if line in inside_functions:
                continue
            assert name.split(".")[0] in light, f"{source.name}:{line} imports {name} at once"
            layers = set(name.split(".")[1:2]) if name.startswith("geotiler.") else set()
            heavy = layers & (BELOW.keys() - BASE - {"cli"})
            assert not heavy, f"{source.name}:{line} imports {name} at once"


FORBIDDEN_BELOW_CLI = {
    "print": "prints",
    "input": "asks",
    "exit": "exits",
    "quit": "exits",
    "sys.exit": "exits",
    "os._exit": "exits",
    "SystemExit": "exits",
    "os.getenv": "reads the environment",
    "os.environ": "reads the environment",
}


LOWER = [source for source in LAYERED if source.layer not in ("cli", "service")]


@pytest.mark.parametrize("source", LOWER, ids=_ids(LOWER))
def test_nothing_below_the_command_line_prints_exits_or_reads_the_environment(
    source: Source,
) -> None:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute):
            words = ast.unparse(node)
        elif isinstance(node, ast.Name):
            words = node.id
        else:
            continue
        assert words not in FORBIDDEN_BELOW_CLI, (
            f"{source.name}:{node.lineno} {FORBIDDEN_BELOW_CLI[words]}: {words}"
        )
    for line, name in imports(source):
        assert name not in ("os.environ", "os.getenv", "sys.exit"), f"{source.name}:{line} {name}"


@pytest.mark.parametrize("source", LAYERED, ids=_ids(LAYERED))
def test_modules_are_named_for_what_they_hold(source: Source) -> None:
    parts = {part.removesuffix(".py").strip("_") for part in Path(source.name).parts}
    assert not parts & VAGUE_NAMES, f"{source.name} says nothing about its content"


def _parsed(name: str, text: str) -> Source:
    return Source(PACKAGE / name, ast.parse(text))


def test_the_reader_sees_every_way_to_import() -> None:
    source = _parsed(
        "io/raster.py",
        "import a.b\nfrom c import d\nfrom . import e\nfrom ..core.grid import f\n"
        "import importlib\nimportlib.import_module('g.h')\ndef late():\n    import i\n",
    )
    assert [name for _, name in sorted(imports(source))] == [
        "a.b",
        "c.d",
        "geotiler.io.e",
        "geotiler.core.grid.f",
        "importlib",
        "g.h",
        "i",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("core/grid.py", "from geotiler.io.raster import open_scene"),
        ("io/raster.py", "from geotiler.models import card"),
        ("models/card.py", "from ..io import raster"),
        ("specs/tile.py", "from geotiler.core import grid"),
        ("tasks/segment.py", "from geotiler.cli import console"),
    ],
)
def test_an_import_against_the_stream_is_caught(name: str, text: str) -> None:
    with pytest.raises(AssertionError):
        test_imports_point_one_way(_parsed(name, text))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tasks/segment.py", "import rasterio.features"),
        ("engines/local.py", "def work():\n    import torch"),
        ("cli/main.py", "import click"),
        ("core/grid.py", "from rasterio.windows import Window"),
    ],
)
def test_a_library_away_from_home_is_caught(name: str, text: str) -> None:
    with pytest.raises(AssertionError):
        test_heavy_libraries_stay_at_home(_parsed(name, text))
