"""What the running process can tell about the machine."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

_M_MMAP_THRESHOLD = -3
"""See mallopt(3)."""


def available_memory_bytes() -> int:
    """Memory that a process could take now without swapping."""
    import psutil

    return int(psutil.virtual_memory().available)


def peak_memory_bytes() -> int:
    """Largest resident memory that this process has had so far; 0 where the system hides it."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    status = Path("/proc/self/status")
    if status.is_file():
        # Preferred to getrusage: on Linux ru_maxrss survives exec, so a child that is started
        # from a large process would report its parent's peak.
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def give_back_freed_memory() -> None:
    """Hand memory that was freed back to the system, where the C library keeps it (glibc)."""
    import ctypes

    with contextlib.suppress(AttributeError, OSError, TypeError):  # other systems do so themselves
        ctypes.CDLL(None).malloc_trim(0)


def return_large_blocks() -> None:
    """Have memory of 8 MB and more go back to the system as soon as it is freed (glibc).

    Left alone, the C library raises that limit to the largest block it has seen freed, and then
    keeps what strips and tiles leave behind: 34 MB of the peak of `segment`. From 1 MB on it would
    be 67 MB, but half a second of asking for memory again. For a process of our own.
    """
    import ctypes

    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**23)
