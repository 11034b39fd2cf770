"""Which of the forms of an answer a caller prefers."""

from __future__ import annotations

from collections.abc import Sequence

from geotiler.service.problems import Problem


def preferred(accept: str | None, offered: Sequence[str]) -> str:
    """The media type to answer with.

    Args:
        accept: an Accept header; None or empty takes anything.
        offered: media types, the default first.

    Raises:
        Problem: 406, none of them is acceptable.
    """
    if not (accept or "").strip():
        return offered[0]
    ranges = [_range(item) for item in str(accept).split(",") if item.strip()]
    best: tuple[float, int] | None = None
    for place, media_type in enumerate(offered):
        # The most specific range that fits says how welcome a type is.
        fitting = [(precise, q) for pattern, precise, q in ranges if _fits(media_type, pattern)]
        quality = max(fitting)[1] if fitting else 0.0
        if quality > 0 and (best is None or quality > best[0]):
            best = (quality, place)
    if best is None:
        raise Problem(406, f"this is answered as one of: {', '.join(offered)}")
    return offered[best[1]]


def _range(text: str) -> tuple[str, int, float]:
    """(pattern, how specific it is, quality)."""
    pattern, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = min(1.0, max(0.0, float(value)))
            except ValueError:
                quality = 0.0
    return pattern, 2 - pattern.count("*"), quality


def _fits(media_type: str, pattern: str) -> bool:
    if pattern == "*/*":
        return True
    if pattern.endswith("/*"):
        return media_type.startswith(pattern[:-1])
    return media_type == pattern
