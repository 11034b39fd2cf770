"""What the running process can tell about the machine."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path


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
