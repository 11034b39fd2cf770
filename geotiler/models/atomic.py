"""Two folders change places in one step, where the system can do that."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_HERE = -100  # AT_FDCWD: paths are relative to the working directory
_EXCHANGE = 2  # RENAME_EXCHANGE


def exchanged(first: Path, second: Path) -> bool:
    """True if the two paths have changed places; False where the system knows no such call.

    Source: renameat2(2), Linux 3.15, glibc 2.28.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    status = rename(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE)
    return bool(status == 0)
