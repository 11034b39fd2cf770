"""Typed reading of a JSON object that nobody vouches for."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from geotiler.errors import ModelError

_LONGEST_TEXT = 20_000
_LONGEST_LIST = 1_000
_LARGEST_INTEGER = 2**53


def shown(value: object) -> str:
    """A short, printable, one-line form of a value for a message."""
    if isinstance(value, int) and not -_LARGEST_INTEGER <= value <= _LARGEST_INTEGER:
        return "an integer beyond 2**53"  # str() of a very long one raises
    try:
        text = ascii(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


class CardFields:
    """The values of one JSON object by key, each read once with its type.

    Every fault is a `ModelError` of one line that names the key.
    """

    def __init__(self, values: dict[str, Any], path: str = "") -> None:
        """Args: values: the parsed object. path: the keys that lead to it, for messages."""
        self._values = dict(values)
        self._path = path

    @classmethod
    def parse(cls, text: str | bytes) -> CardFields:
        """The object of a JSON text. Raises: ModelError: it is not one JSON object."""
        try:
            if isinstance(text, bytes):
                text = text.decode("utf-8")
            values = json.loads(
                text, parse_constant=_refuse_constant, object_pairs_hook=_without_duplicates
            )
        except RecursionError:
            raise ModelError("card.json is nested too deeply") from None
        except ValueError as error:  # bad JSON, bad UTF-8, an integer of 5000 digits
            raise ModelError(f"card.json is not valid JSON: {str(error)[:120]}") from None
        if not isinstance(values, dict):
            raise ModelError(f"card.json must be a JSON object, got {shown(values)}")
        return cls(values)

    def finish(self) -> None:
        """Raises: ModelError: a key is left that nobody asked for."""
        if self._values:
            key = shown(min(self._values)).strip("'")
            raise ModelError(f"card.json: unknown key {self._path}{key}")

    def has(self, key: str) -> bool:
        """True if the key is there, for keys that not every card has."""
        return key in self._values

    def text(self, key: str) -> str:
        """A string of printable characters and newlines."""
        return self._text(key, self._take(key))

    def number(self, key: str) -> float:
        """A finite number."""
        return self._number(key, self._take(key))

    def optional_number(self, key: str) -> float | None:
        """A finite number, or None for null."""
        value = self._take(key)
        return None if value is None else self._number(key, value)

    def integer(self, key: str) -> int:
        """A whole number below 2**53."""
        return self._integer(key, self._take(key))

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        return tuple(self._integer(key, item) for item in self._list(key))

    def integer_rows(self, key: str) -> tuple[tuple[int, ...], ...]:
        """A list of lists of whole numbers."""
        rows = self._list(key)
        for row in rows:
            if not isinstance(row, list) or len(row) > _LONGEST_LIST:
                self._refuse(key, "a list of lists", row)
        return tuple(tuple(self._integer(key, item) for item in row) for row in rows)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(self._text(key, item) for item in self._list(key))

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of finite numbers."""
        return tuple(self._number(key, item) for item in self._list(key))

    def mapping(self, key: str) -> dict[str, Any]:
        """An object with values of any kind."""
        value = self._take(key)
        if not isinstance(value, dict) or len(value) > _LONGEST_LIST:
            self._refuse(key, "an object", value)
        return {self._text(key, name): item for name, item in value.items()}

    def text_mapping(self, key: str) -> dict[str, str]:
        """An object with strings as values."""
        return {name: self._text(key, item) for name, item in self.mapping(key).items()}

    def inner(self, key: str) -> CardFields:
        """An object, to be read in the same way."""
        return CardFields(self.mapping(key), f"{self._path}{key}.")

    def inners(self, key: str) -> tuple[CardFields, ...]:
        """A list of objects, to be read in the same way."""
        items = self._list(key)
        for item in items:
            if not isinstance(item, dict):
                self._refuse(key, "a list of objects", item)
        return tuple(CardFields(item, f"{self._path}{key}[].") for item in items)

    def _take(self, key: str) -> Any:
        if key not in self._values:
            raise ModelError(f"card.json: {self._path}{key} is missing")
        return self._values.pop(key)

    def _text(self, key: str, value: object) -> str:
        if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
            self._refuse(key, "a text", value)
        if not all(char.isprintable() or char == "\n" for char in value):
            self._refuse(key, "a text without control characters", value)
        return value

    def _number(self, key: str, value: object) -> float:
        if isinstance(value, int) and not isinstance(value, bool):
            value = float(value) if abs(value) <= _LARGEST_INTEGER else math.inf
        if not isinstance(value, float) or not math.isfinite(value):
            self._refuse(key, "a finite number", value)
        return value

    def _integer(self, key: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _LARGEST_INTEGER:
            self._refuse(key, "a whole number", value)
        return value

    def _list(self, key: str) -> list[Any]:
        value = self._take(key)
        if not isinstance(value, list) or len(value) > _LONGEST_LIST:
            self._refuse(key, f"a list of at most {_LONGEST_LIST} values", value)
        return value

    def _refuse(self, key: str, expected: str, got: object) -> NoReturn:
        raise ModelError(f"card.json: {self._path}{key} must be {expected}, got {shown(got)}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return values
