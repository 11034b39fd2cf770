"""What a task did, as a dataclass for Python and as plain values for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Report:
    """Base of all reports and estimates; its fields are the report."""

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON values: paths are texts, tuples are lists."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting and where it came from."""

    value: Any
    origin: str
    """flag, scene, model card or default."""


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    return value
