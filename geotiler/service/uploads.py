"""Uploads: streamed to disk, counted on the way, named by us, gone when we are done."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

from geotiler.errors import GeotilerError
from geotiler.service.problems import Problem, problem_of

RAW_TYPES = ("application/octet-stream", "image/")
"""Content types of a body that is the file itself."""

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file that a caller sent."""

    path: Path
    name: str
    """What the caller calls it, made harmless: no folders, few characters."""

    @property
    def hidden(self) -> dict[str, str]:
        """Paths of this machine → what stands in for them in messages."""
        folder = self.path.parent.parent.parent
        return {str(self.path): self.name, f"{folder}/": "", str(folder): "the request's folder"}


class without_paths:  # noqa: N801 - reads as a statement
    """Errors of the block name the upload as its caller does."""

    def __init__(self, upload: Upload) -> None:
        self._hidden = upload.hidden

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, GeotilerError):
            raise problem_of(error, self._hidden) from error


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder of its own for one request, removed however the block ends."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="request-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def harmless_name(name: str | None) -> str:
    """The last part of a file name, in letters, digits and `._-` only, never empty or hidden."""
    last = re.split(r"[/\\]", name or "")[-1]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", last).strip("._-")
    stem, dot, suffix = plain.rpartition(".")
    if not dot:
        stem, suffix = plain, ""
    return f"{stem[:60]}{dot}{suffix[:8]}" if stem else "scene"


async def received(
    request: Request, folder: Path, *, most_files: int, name: str | None = None
) -> list[Upload]:
    """The files of a request's body, on disk in a folder.

    Either the body is the file, with the content type of an image or `application/octet-stream`,
    or it is a form (`multipart/form-data`) whose parts named `file` are the files.

    Raises:
        Problem: another content type, no file, too many, or an empty one.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            uploads = await _from_form(request, folder, most_files)
        elif kind.startswith(RAW_TYPES):
            uploads = [await _from_body(request, folder, name)]
        else:
            raise Problem(
                415,
                f"content type {kind[:80] or 'missing'!r}: expected an image, "
                "application/octet-stream or multipart/form-data with a part named file",
            )
    except ClientDisconnect:
        raise Problem(400, "the upload broke off") from None
    for upload in uploads:
        if not upload.path.stat().st_size:
            raise Problem(422, f"{upload.name} is empty, expected a raster")
    return uploads


async def _from_body(request: Request, folder: Path, name: str | None) -> Upload:
    plain = harmless_name(name)
    path = _place(folder, 0, plain)
    # What the network brings comes in many small pieces, and each write is a thread's errand.
    pending, is_begun = bytearray(), False
    async for piece in request.stream():
        pending += piece
        if len(pending) >= _PIECE_BYTES:
            await anyio.to_thread.run_sync(_append, path, pending)
            pending, is_begun = bytearray(), True
    if pending or not is_begun:
        await anyio.to_thread.run_sync(_append, path, pending)
    return Upload(path=path, name=plain)


async def _from_form(request: Request, folder: Path, most_files: int) -> list[Upload]:
    # Larger parts are spooled to unnamed files by the parser, which vanish by themselves.
    async with request.form(max_files=most_files, max_fields=20) as form:
        files = [part for part in form.getlist("file") if isinstance(part, UploadFile)]
        if not files:
            raise Problem(422, "the form has no file in a part named file")
        uploads = []
        for index, part in enumerate(files):
            name = harmless_name(part.filename)
            path = _place(folder, index, name)
            async with await anyio.open_file(path, "wb") as target:
                while piece := await part.read(_PIECE_BYTES):
                    await target.write(piece)
            uploads.append(Upload(path=path, name=name))
    return uploads


def _append(path: Path, piece: bytes | bytearray) -> None:
    with path.open("ab") as file:
        file.write(piece)


def _place(folder: Path, index: int, name: str) -> Path:
    """Where the upload goes: in a folder of its own, so that no two names meet."""
    place = folder / "in" / str(index)
    place.mkdir(parents=True)
    return place / name
