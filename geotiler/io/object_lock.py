"""A prefix of a bucket that one run at a time may write, and what is finished there.

A bucket has no lock that ends with a process. The hold is an object that was put where none was,
and that its run puts anew every few seconds, each time in the place of the version before. A run
that finds one watches it: if it changes, its owner lives; if it does not for `_LEASE_S`, the owner
is gone, and the object is replaced by condition, too, so that only one run can. No clocks are
compared. A run that gave no sign of life for so long does not trust its lock any more: it goes on
only if it can put it anew, which shows that nobody has taken it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from geotiler.errors import OutputError
from geotiler.io.journal import JOURNAL, AnyJournal, journal_line
from geotiler.io.object_store import ObjectFolder, TakenError
from geotiler.io.work_folder import LOCK
from geotiler.progress import Notice, Reporter, silent

_RENEW_S = 10.0
_LEASE_S = 40.0
"""Without a sign of life for so long, the owner of a lock is taken for dead. Longer than a request
for the lock may take."""

_LOOK_S = 1.0
_OWN_NAMES = re.compile(rf"r\d+-c\d+\.tif|{re.escape(JOURNAL)}(\.\w+-\d+)?|{LOCK}")

_LINES = 64
"""Of a piece of a journal. An object cannot be added to: a piece is put again with each line."""


class ObjectHold:
    """The prefix of an output's parts, for this process alone until `leave` or `remove`."""

    def __init__(self, folder: ObjectFolder, target: str, report: Reporter = silent) -> None:
        """Take it.

        Args:
            folder: of the parts.
            target: what is named in messages.
            report: hears of a lock that may be a dead run's.

        Raises:
            OutputError: another run holds it, it holds something else, or the store refuses.
        """
        self._folder = folder
        self._locks = ObjectFolder(folder.address, prompt=True)
        self._target = target
        self._run = uuid.uuid4().hex
        self._beats = 0
        self._lost = False
        self._alive = 0.0
        """When the last sign of life was sent, by `time.monotonic`."""
        self._one_put = threading.Lock()
        self._over = threading.Event()
        self._version = self._taken(report)
        self._thread = threading.Thread(target=self._renewed, daemon=True, name="geotiler-lock")
        self._thread.start()
        try:
            self._check_own()
        except BaseException:  # or the thread would hold it for as long as this process lives
            self.leave()
            raise

    @property
    def place(self) -> str:
        """The address."""
        return self._folder.address

    def entries(self) -> list[str]:
        """Names of what lies there besides the lock."""
        return sorted(name for name in self._folder.sizes() if name != LOCK)

    def check(self) -> None:
        """Raises: OutputError: another run has taken the place, or may have, as far as is known.

        Asks the store only where the last sign of life is too old to be relied on.
        """
        if self._lost or time.monotonic() - self._alive >= _LEASE_S:
            self.confirm()

    def confirm(self) -> None:
        """Make sure of the place by a sign of life; it is this run's for as long as a lease.

        Raises:
            TakenError: another run has taken it meanwhile.
            OutputError: the store does not answer.
        """
        with self._one_put:
            if not self._lost:
                sent = time.monotonic()
                try:
                    self._version = self._put(self._version)
                    self._alive = sent
                except TakenError:
                    self._lost = True
        if self._lost:
            raise TakenError(
                f"output {self._target} was taken over by another run: this one was cut off from "
                f"the store for {_LEASE_S:g} s",
                hint="let the other one finish",
            )

    def leave(self) -> None:
        """Let go of it, once; what lies there stays."""
        if self._over.is_set():
            return
        self._over.set()
        self._thread.join()
        # Another run's lock stays. One's own is taken over when it has not changed for a while.
        with suppress(OutputError):
            self.confirm()
            self._locks.remove([LOCK])

    def remove(self) -> None:
        """Remove everything that lies there, unless it is another run's by now; let go of it."""
        if self._over.is_set():
            return
        with suppress(OutputError):  # what stays is gone on from: all of it is finished
            self.confirm()
            names = self.entries()
            self._folder.remove([name for name in names if not name.startswith(JOURNAL)])
            # The journal last: while there is anything, it tells what it is.
            self._folder.remove([name for name in names if name.startswith(JOURNAL)])
        self.leave()

    def _put(self, version: str | None) -> str | None:
        """The new version of the lock. Raises: TakenError: another run has it."""
        self._beats += 1
        owner = {"process": os.getpid(), "host": platform.node(), "beat": self._beats}
        text = json.dumps({**owner, "run": self._run}).encode()
        try:
            return self._locks.put_if(LOCK, text, version)
        except TakenError:
            found = self._locks.get(LOCK)
            if found is None or _said(found).get("run") != self._run:
                raise
            if found[0] == text:  # only the answer was lost on the way
                return found[1]
            # One that was given up came about afterwards; it may be old.
            return self._locks.put_if(LOCK, text, found[1])

    def _check_own(self) -> None:
        """Raises: OutputError: the store cannot lock, or something foreign lies there."""
        with suppress(TakenError):
            self._locks.put_if(LOCK, b"{}", None)
            self._locks.remove([LOCK])
            raise OutputError(
                f"output {self._target} cannot be locked: the store ignores conditional writes",
                hint="write to a folder, and copy the file when it is there",
            )
        foreign = [name for name in self.entries() if not _OWN_NAMES.fullmatch(name)]
        if foreign:
            raise OutputError(
                f"{self.place} is needed for unfinished work, but holds {foreign[0]}",
                hint="move it away, or choose another -o",
            )

    def _taken(self, report: Reporter) -> str | None:
        """The version of the lock that is now this run's."""
        watched: str | None = None
        since = time.monotonic()
        while True:
            found = self._locks.get(LOCK)
            version = None if found is None else found[1]
            if found is not None and watched is None:
                watched, since = version, time.monotonic()
                report(Notice(message=(
                    f"output {self._target} is locked by another run{_owner(found)}: it is "
                    f"watched for up to {_LEASE_S:g} s for a sign of life"
                )))  # fmt: skip
            is_alive = found is not None and version != watched
            if not is_alive and (found is None or time.monotonic() - since >= _LEASE_S):
                self._alive = time.monotonic()
                with suppress(TakenError):
                    return self._put(version)
                is_alive = watched is not None
            if is_alive:
                raise OutputError(
                    f"output {self._target} is being written by another run{_owner(found)}",
                    hint="wait for it, or choose another -o",
                )
            time.sleep(_LOOK_S)

    def _renewed(self) -> None:
        """Signs of life until it is over, or until somebody else has the lock."""
        while not self._lost and not self._over.wait(_RENEW_S):
            with suppress(OutputError):  # no network: perhaps soon again
                self.confirm()


def _owner(found: tuple[bytes, str | None] | None) -> str:
    """Who holds a lock, as far as it is told."""
    owner = _said(found) if found else {}
    try:
        return f" (process {int(owner['process'])} on {str(owner['host'])[:80]})"
    except (ValueError, KeyError, TypeError):
        return ""


def _said(found: tuple[bytes, str | None]) -> dict[str, Any]:
    """What a lock says; of one that is damaged nothing."""
    try:
        values = json.loads(found[0])
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


class ObjectJournal(AnyJournal):
    """A journal under a prefix: one object for what is known at its beginning, pieces for the rest.

    Pieces are named after a mark in the first one, so that a new beginning makes an end of them in
    the one step in which it appears.
    """

    def __init__(self, folder: ObjectFolder) -> None:
        """Args: folder: of the parts; need not hold a journal."""
        self._folder = folder
        self.place = folder.address
        self._mark = ""
        self._piece = 0
        self._lines: list[bytes] = []

    def begin(self, made_from: Mapping[str, Any], lines: list[dict[str, Any]]) -> None:
        """As `AnyJournal.begin`."""
        old = [name for name in self._folder.sizes() if name.startswith(f"{JOURNAL}.")]
        self._mark, self._piece, self._lines = uuid.uuid4().hex[:12], 0, []
        header = {**self.header(made_from), "pieces": self._mark}
        content = b"".join(journal_line(values) for values in (header, *lines))
        self._folder.put(JOURNAL, content)
        self._folder.remove(old)

    def append(self, values: Mapping[str, Any]) -> None:
        """As `AnyJournal.append`."""
        if len(self._lines) == _LINES:
            self._piece, self._lines = self._piece + 1, []
        self._lines.append(journal_line(values))
        self._folder.put(f"{JOURNAL}.{self._mark}-{self._piece:06d}", b"".join(self._lines))

    def _content(self) -> bytes:
        found = self._folder.get(JOURNAL)
        if found is None:
            return b""
        content = found[0]
        try:
            mark = str(json.loads(content.split(b"\n", 1)[0])["pieces"])
        except (ValueError, RecursionError, KeyError, TypeError):
            return content
        for name in sorted(self._folder.sizes()):
            if name.startswith(f"{JOURNAL}.{mark}-"):
                piece = self._folder.get(name)
                content += piece[0] if piece else b""
        return content
