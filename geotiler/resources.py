"""Where the files that ship with geotiler lie: weights and configurations.

An installed wheel carries both inside the package; a checkout has them beside it.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def weights_dir() -> Path:
    """The folder of the shipped model folders; may not exist in a stripped installation."""
    return _shipped("weights")


def configs_dir() -> Path:
    """The folder of the shipped training configurations."""
    return _shipped("configs")


def pyfunc_source() -> Path:
    """The file that MLflow runs to serve an exported classifier."""
    return _PACKAGE / "service" / "pyfunc.py"


def _shipped(name: str) -> Path:
    inside, checkout = _PACKAGE / name, _PACKAGE.parent
    if not inside.is_dir() and (checkout / "pyproject.toml").is_file():
        return checkout / name
    return inside
