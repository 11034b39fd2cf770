"""The example notebooks run from top to bottom, in an empty folder, as they are but smaller."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
SMALLER = {"SIDE_PX = 768": "SIDE_PX = 384", "STEPS = 24": "STEPS = 2"}

# Chips of a scene of 384 px are few; the kernel's own warnings are not the notebook's.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def _read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def _ran(path: Path, folder: Path) -> Any:
    """The notebook with its outputs, its parameters made small."""
    notebook = _read(path)
    (parameters,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    for value, smaller in SMALLER.items():
        parameters.source = parameters.source.replace(value, smaller)
    assert "SIDE_PX = 384" in parameters.source
    client = NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    return notebook


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    """Every cell without an error; the last one is a picture, and nothing lies elsewhere."""
    cells = [cell for cell in _ran(path, tmp_path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    streams = [out.text for cell in cells for out in cell.outputs if out.get("name") == "stderr"]
    assert not [text for text in streams if "Error" in text], streams
    assert "image/png" in cells[-1].outputs[-1].data
    assert [entry.name for entry in tmp_path.iterdir()] == [path.stem]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    notebook = _read(path)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["buildings", "own_labels"]
