"""How a task tells what it is doing, without knowing who listens.

A task takes a `Reporter` and calls it with events; the default listens to nothing. The command
line renders events on stderr, a service may turn them into server-sent events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StageStarted:
    """A stage with a known amount of work begins."""

    stage: str
    total: float
    """Amount of work, in `unit`."""
    unit: str = "it"


@dataclass(frozen=True, kw_only=True)
class StageAdvanced:
    """Some of a stage's work is done."""

    stage: str
    amount: float
    """Work done since the last event of this stage, in the stage's unit."""


@dataclass(frozen=True, kw_only=True)
class StageExpected:
    """A stage that is yet to come will take about so long; a later word replaces an earlier one."""

    stage: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class StageFinished:
    """A stage is complete."""

    stage: str


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A line worth reading: a choice the task made by itself, or a warning."""

    message: str
    warning: bool = False


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A run ends early; what stays of it for the next one to go on from."""

    share: float
    """Of the work, from 0 (nothing stays) to 1."""


Event = StageStarted | StageAdvanced | StageExpected | StageFinished | Notice | Kept
Reporter = Callable[[Event], None]


def silent(event: Event) -> None:
    """Reporter that listens to nothing."""
