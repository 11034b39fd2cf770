"""Objects of a bucket under one prefix, each put in one step, with errors in one line.

Keys, region and endpoint are those of the environment that the process runs in (AWS_ACCESS_KEY_ID,
AWS_ENDPOINT_URL, ...) or of the machine's role; obstore finds them, and nothing here sees them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from geotiler.errors import MissingExtraError, OutputError
from geotiler.io.remote import shown

_ADDRESS = re.compile(r"s3:/+([^/]+)(?:/(.*))?", re.IGNORECASE | re.DOTALL)
_BUCKET = re.compile(r"[\w.-]+", re.ASCII)

_CLIENT = {
    "allow_http": True,  # only ever spoken where the user's endpoint says so
    "connect_timeout": "10s",
    "timeout": "180s",  # of one request; a part is a few megabytes
}
_RETRIES = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}

_PROMPT_CLIENT = {**_CLIENT, "connect_timeout": "5s", "timeout": "10s"}
_PROMPT_RETRIES = {"max_retries": 4, "retry_timeout": timedelta(seconds=10)}
"""A request with all of its repetitions is over after 20 s, and mostly after 10."""

_CHUNK_BYTES = 16 * 2**20
_MOST_CHUNKS = 9_000
"""Stores take 10,000 pieces of one object."""

_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status (\d{3}[\w ]*)|(\d{3} [A-Z]\w+(?: \w+)*)")


class TakenError(OutputError):
    """An object is not as it was expected to be: somebody else has put it."""


def address_of(path: Path) -> str | None:
    """The address s3://bucket/key that a target is; None: it is no such address.

    A target that became a path has lost a slash, which is given back.
    """
    match = _ADDRESS.fullmatch(path.as_posix())
    return f"s3://{match[1]}/{match[2] or ''}" if match else None


def shown_address(address: str) -> str:
    """An address for messages: one that is of no use loses user, password and query."""
    return address if _bucket_and_key(address) else shown(address)


def _bucket_and_key(address: str) -> tuple[str, str] | None:
    """What an address consists of; None: it is none, or holds more."""
    match = _ADDRESS.fullmatch(address)
    if not match or not _BUCKET.fullmatch(match[1]):
        return None
    key = match[2] or ""
    return None if re.search(r"[?#\x00-\x1f]", key) else (match[1], key)


class ObjectFolder:
    """What lies under a prefix of a bucket. Names are relative to it."""

    def __init__(self, address: str, *, prompt: bool = False) -> None:
        """Use s3://bucket/prefix.

        Args:
            address: of the prefix.
            prompt: requests are given up after 20 s; for small objects, whose time counts.

        Raises:
            OutputError: it is none, or holds more than bucket and prefix.
            MissingExtraError: obstore is not installed.
        """
        found = _bucket_and_key(address)
        if found is None:
            raise OutputError(
                "an output's address is s3://BUCKET/NAME and holds nothing else",
                hint="keys are taken from the environment, as AWS_ACCESS_KEY_ID",
            )
        bucket, prefix = found[0], found[1].strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self.address = f"s3://{bucket}/{self._prefix}".rstrip("/")
        self._bucket = bucket
        self._store = _opened(bucket, prompt)

    def get(self, name: str) -> tuple[bytes, str | None] | None:
        """Content and version of an object; None: there is none."""
        import obstore

        with self._told("read", name), _absent_is_none():
            found = obstore.get(self._store, self._prefix + name)
            return bytes(found.bytes()), found.meta.get("e_tag")
        return None

    def marks(self, name: str) -> dict[str, str] | None:
        """What an object was marked with when it was put; None: there is no object."""
        import obstore

        with self._told("read", name), _absent_is_none():
            found = obstore.get(self._store, self._prefix + name, options={"head": True})
            return {str(key).lower(): str(value) for key, value in found.attributes.items()}
        return None

    def fetch(self, name: str, path: Path) -> bool:
        """Write an object into a file, a piece at a time; False: there is none."""
        import obstore

        with self._told("read", name), _absent_is_none():
            found = obstore.get(self._store, self._prefix + name)
            with path.open("wb") as file:
                for piece in found.stream(min_chunk_size=2**20):
                    file.write(piece)
            return True
        return False

    def put(self, name: str, content: bytes | Path, marks: Mapping[str, str] | None = None) -> None:
        """Put an object; it is there whole when this returns, and not at all before."""
        import obstore

        size = content.stat().st_size if isinstance(content, Path) else len(content)
        with self._told("written", name):
            obstore.put(
                self._store, self._prefix + name, content, attributes=dict(marks or {}),
                use_multipart=size > _CHUNK_BYTES,
                chunk_size=max(_CHUNK_BYTES, -(-size // _MOST_CHUNKS)), max_concurrency=4,
            )  # fmt: skip

    def put_if(self, name: str, content: bytes, version: str | None) -> str | None:
        """Put an object in the place of one version, and tell the new version.

        Args:
            name: of the object.
            content: of the object.
            version: what has to be there; None: nothing.

        Raises:
            TakenError: something else is there.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = "create" if version is None else {"e_tag": version}
        with self._told("written", name):
            try:
                done = obstore.put(self._store, self._prefix + name, content, mode=mode)
            except (AlreadyExistsError, PreconditionError) as error:
                raise TakenError(f"{self.address}/{name} was put by another run") from error
            return done.get("e_tag")

    def sizes(self) -> dict[str, int]:
        """Name → size of every object."""
        import obstore

        found: dict[str, int] = {}
        with self._told("listed"):
            for objects in obstore.list(self._store, self._prefix or None, chunk_size=1000):
                for each in objects:
                    found[each["path"].removeprefix(self._prefix)] = each["size"]
        return found

    def check(self) -> None:
        """Raises: OutputError: there is no such bucket, or it may not be listed."""
        import obstore

        with self._told("listed"):
            next(iter(obstore.list(self._store, self._prefix or None, chunk_size=1)), None)

    def remove(self, names: list[str]) -> None:
        """Remove objects; those that are not there are no error."""
        import obstore

        with self._told("removed"), _absent_is_none():
            if names:
                obstore.delete(self._store, [self._prefix + name for name in names])

    @contextmanager
    def _told(self, what: str, name: str = "") -> Iterator[None]:
        """What obstore raises, as one line of ours that quotes no request."""
        from obstore import exceptions

        place = f"{self.address}/{name}".rstrip("/")
        try:
            yield
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise _refused(place, what) from error
        except FileNotFoundError as error:
            raise self._no_bucket(place, what) from error
        except exceptions.NotSupportedError as error:
            raise OutputError(
                f"{place} cannot be {what}: the store knows no conditional writes",
                hint="write to a folder, and copy the file when it is there",
            ) from error
        except (exceptions.BaseError, ValueError) as error:
            if "<Code>NoSuchBucket</Code>" in str(error):
                raise self._no_bucket(place, what) from error
            if "<Code>AccessDenied</Code>" in str(error):  # of a listing
                raise _refused(place, what) from error
            raise OutputError(
                f"{place} cannot be {what}: {_reason(error)}",
                hint="check AWS_ENDPOINT_URL and AWS_REGION, and run the same command again",
            ) from error

    def _no_bucket(self, place: str, what: str) -> OutputError:
        return OutputError(
            f"{place} cannot be {what}: there is no bucket {self._bucket!r}",
            hint="check its name, and AWS_ENDPOINT_URL",
        )


def _refused(place: str, what: str) -> OutputError:
    return OutputError(
        f"{place} cannot be {what}: the store refuses it with the keys at hand",
        hint="check AWS_ACCESS_KEY_ID and the bucket's rights: read, write, list, delete",
    )


def _reason(error: Exception) -> str:
    """Why a request failed, without anything of the request: it may tell keys."""
    text = str(error)
    code = _CODE.search(text)
    if code:
        return f"the store answers {code[1]}"
    status = _STATUS.search(text)
    if status:
        return f"the store answers {next(filter(None, status.groups())).strip()}"
    if "timed out" in text:
        return "the store does not answer in time"
    if "error sending request" in text:
        return "no store answers"
    return "the store does not answer as one does"


@contextmanager
def _absent_is_none() -> Iterator[None]:
    """Leaves the block where an object is not there."""
    try:
        yield
    except FileNotFoundError:
        return


@functools.lru_cache(maxsize=8)
def _opened(bucket: str, prompt: bool) -> Any:
    """The bucket. Raises: MissingExtraError, OutputError: settings of the environment are wrong."""
    try:
        from obstore import exceptions
        from obstore.store import S3Store
    except ImportError as error:
        raise MissingExtraError("obstore", "an output at s3://", "remote") from error
    try:
        client, retries = (_PROMPT_CLIENT, _PROMPT_RETRIES) if prompt else (_CLIENT, _RETRIES)
        return S3Store(bucket, client_options=client, retry_config=retries)  # type: ignore[arg-type]
    except (exceptions.BaseError, ValueError) as error:
        raise OutputError(
            f"s3://{bucket} cannot be opened with the AWS_ settings of this machine",
            hint="check AWS_ENDPOINT_URL and AWS_REGION",
        ) from error
