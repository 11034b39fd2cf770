"""What a command costs as a whole process: wall and CPU seconds, peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One run of one command."""

    wall_s: float
    cpu_s: float
    """User and system seconds of the process and the children it waited for."""
    peak_bytes: int
    """Largest resident set of the process."""
    answer: dict[str, Any]
    """What it printed: one JSON object at the end of its standard output, or nothing."""


def cost_of(command: Sequence[str]) -> Cost:
    """Run a command to its end and measure it.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    # Files instead of pipes, so that wait4 can collect the usage of this one child.
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complained:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=said, stderr=complained)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        complained.seek(0)
        if process.returncode:
            raise RuntimeError(
                f"{' '.join(command)} ended with {process.returncode}: "
                f"{complained.read().strip()[-800:]}"
            )
        text = said.read()
    kibibyte = 1 if sys.platform == "darwin" else 1024  # what ru_maxrss counts in
    return Cost(
        wall_s=wall_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_bytes=usage.ru_maxrss * kibibyte,
        answer=json.loads(text[text.index("{") :]) if "{" in text else {},
    )
