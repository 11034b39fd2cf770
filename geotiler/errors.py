"""Everything geotiler refuses to do, as one tree.

::

    GeotilerError                      exit 1   a defect of geotiler itself
    ├── SpecError       (ValueError)   exit 2   a setting that cannot be honoured
    ├── InputError      (OSError)      exit 3   a scene, mask or label file that cannot be used
    ├── OutputError     (OSError)      exit 4   a target that cannot be written
    ├── ModelError      (ValueError)   exit 5   a model folder or file that cannot be trusted
    ├── DeviceError     (RuntimeError) exit 6   a device or memory that is not there
    └── MissingExtraError (ImportError) exit 7  a package that is not installed

Each leaf also is the builtin a Python caller would expect. Messages say what, which file or
value, and what was expected; the hint names the flag or command that mends it.
"""

from __future__ import annotations


class GeotilerError(Exception):
    """Root of all errors that geotiler raises on purpose."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        """Args: message: what, which value, what was expected. hint: how to mend it."""
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (type(self), self.message, self.hint)

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message} ({self.hint})"


def _again(kind: type[GeotilerError], message: str, hint: str | None) -> GeotilerError:
    """An error as it was in the process that it comes from."""
    error = kind.__new__(kind)
    GeotilerError.__init__(error, message, hint)
    return error


class SpecError(GeotilerError, ValueError):
    """A setting is out of its range or contradicts another one."""

    exit_code = 2


class InputError(GeotilerError, OSError):
    """A file that was to be read is missing, damaged or of the wrong kind."""

    exit_code = 3


class OutputError(GeotilerError, OSError):
    """A target exists already, cannot be written, or the disk is too small for it."""

    exit_code = 4


class ModelError(GeotilerError, ValueError):
    """A model is unknown, damaged, tampered with, or does not fit its card."""

    exit_code = 5


class DeviceError(GeotilerError, RuntimeError):
    """A device that was asked for is not there, or its memory is too small."""

    exit_code = 6


class MissingExtraError(GeotilerError, ImportError):
    """A feature needs a package that is not installed."""

    exit_code = 7

    def __init__(self, package: str, purpose: str, extra: str | None = None) -> None:
        """Args: package: its name. purpose: what needs it. extra: that brings it, if one does."""
        wanted = f'"geotiler[{extra}]"' if extra else package
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed",
            hint=f"run: pip install {wanted}",
        )
