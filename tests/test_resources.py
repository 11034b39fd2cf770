"""The files that ship are found beside the package in a checkout, inside it when installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import geotiler.resources as resources


def test_a_checkout_has_them_beside_the_package() -> None:
    root = Path(resources.__file__).parents[1]
    if (root / "pyproject.toml").is_file():
        assert resources.weights_dir() == root / "weights"
        assert resources.configs_dir() == root / "configs"


def test_an_installed_package_looks_inside_itself_only(tmp_path: Path) -> None:
    package = tmp_path / "geotiler"
    package.mkdir()
    shutil.copy(resources.__file__, package / "resources.py")
    (package / "__init__.py").touch()
    (tmp_path / "weights").mkdir()  # another package's
    code = "from geotiler.resources import weights_dir; print(weights_dir())"
    run = [sys.executable, "-c", code]
    for _ in range(2):  # without the folder, then with it
        found = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert Path(found.stdout.strip()).resolve() == (package / "weights").resolve()
        (package / "weights").mkdir(exist_ok=True)
