"""What the routes of one service share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from anyio import CapacityLimiter
from fastapi import Request

from geotiler.service.jobs import Jobs
from geotiler.service.metrics import Metrics
from geotiler.service.settings import Settings
from geotiler.service.shelf import Shelf
from geotiler.service.slots import Slots
from geotiler.service.work import Workbench


@dataclass(frozen=True, kw_only=True)
class State:
    """The parts of a running service."""

    settings: Settings
    metrics: Metrics
    shelf: Shelf
    bench: Workbench
    jobs: Jobs
    slots: Slots
    threads: CapacityLimiter
    """Threads that compute; as many as slots."""
    readers: CapacityLimiter
    """Threads that look at headers of scenes; few, since each thread costs memory for good."""
    requests: Path
    """Where each request under way has a folder."""


def state_of(request: Request) -> State:
    """The state of the service that a request came to."""
    state = request.app.state.geotiler
    assert isinstance(state, State)
    return state
