"""What the running process can tell about the machine."""

from __future__ import annotations

import sys


def peak_memory_bytes() -> int:
    """Largest resident memory that this process has had so far; 0 where the system hides it."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
