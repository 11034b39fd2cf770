"""What geotiler parses, under a fuzzer that looks for new paths: never anything but its errors."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris is not installed (pip install 'geotiler[fuzz]')",
)

TARGETS = ["card", "journal", "area", "raster", "vrt", "item", "list", "address"]


def _fuzz(target: str, seconds: int, folder: Path) -> None:
    script = Path(__file__).with_name("run.py")
    done = subprocess.run(
        [sys.executable, str(script), target, f"-max_total_time={seconds}", "-rss_limit_mb=4096",
         "-timeout=60", f"-artifact_prefix={folder}/"],
        capture_output=True, text=True, check=False, timeout=seconds + 600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.soak
@pytest.mark.parametrize("target", TARGETS)
def test_a_minute_of(target: str, tmp_path: Path) -> None:
    _fuzz(target, 60, tmp_path)
