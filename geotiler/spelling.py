"""What a misspelt name was meant to be, and messages of others in plain words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word that is most like a misspelt one; None where none is.

    Args:
        word: as it was typed; capitals do not matter.
        known: what could have been meant.
        cutoff: likeness from 0 to 1 from which a word counts.
    """
    by_lower = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(word.casefold(), by_lower, n=1, cutoff=cutoff)
    return by_lower[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question to put behind "no such thing": ", did you mean 'x'?"; empty without an idea."""
    near = nearest(word, known)
    return f", did you mean {near!r}?" if near else ""


_SETTING = re.compile(r"`([a-z][a-z0-9_]*)`")
"""A setting in a message, as a specification calls it."""

_UNITS = ("_px", "_m2", "_m", "_deg", "_s")
"""Endings of settings that no flag has."""


def settings_renamed(message: str, name: Callable[[str], str | None]) -> str:
    """A message whose settings, which stand in backticks, are called otherwise.

    Args:
        message: as "`overlap_px` must be ...".
        name: what a setting without its unit is called; None: in plain words, it is none.
    """

    def renamed(match: re.Match[str]) -> str:
        setting = match.group(1)
        unit = next((unit for unit in _UNITS if setting.endswith(unit)), "")
        found = name(setting.removesuffix(unit))
        return setting.replace("_", " ") if found is None else found

    return _SETTING.sub(renamed, message)


def plain(message: str) -> str:
    """What pydantic says of a value, without the kind of exception and in one clause."""
    for words in ("Value error, ", "Assertion failed, "):
        message = message.replace(words, "")
    return re.sub(r"Input should be (an? [\w ]+?), unable to parse .*", r"expected \1", message)
