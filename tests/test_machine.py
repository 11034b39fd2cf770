"""What is asked of the C library."""

from __future__ import annotations

import subprocess
import sys

import pytest

_LEFT_BEHIND = """
import sys
import numpy as np
from geotiler.machine import return_large_blocks

if sys.argv[1] == "yes":
    return_large_blocks()

def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6

np.ones(30_000_000, np.uint8)  # freed at once: blocks of up to 30 MB are kept from now on
kept = []
before = resident_mb()
for _ in range(20):
    large = np.ones(12_000_000, np.uint8)
    kept.append(np.ones(200_000, np.uint8))  # lies behind it, and pins it
    del large
print(resident_mb() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
def test_large_blocks_go_back_to_the_system() -> None:
    def left_behind_mb(is_asked: str) -> float:
        command = [sys.executable, "-c", _LEFT_BEHIND, is_asked]
        return float(subprocess.run(command, check=True, capture_output=True).stdout)

    assert left_behind_mb("yes") < 6  # the 4 MB that are kept
    assert left_behind_mb("yes") <= left_behind_mb("no")
