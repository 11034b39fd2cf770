"""Puts the libraries of the service's pages into the wheel.

Leaflet draws the map, Swagger UI and Redoc show the API. None is part of this repository: they are
taken from the npm registry that npm is configured for when a wheel is built, or by `make map` for a
checkout, and checked against the digests below. Where that is not possible the wheel is built
without them, and the pages say so.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by itself, as `make map` does
    BuildHookInterface = object  # type: ignore[assignment,misc]

VENDOR = Path("geotiler", "service", "page", "vendor")
REQUIRED = "GEOTILER_BUILD_REQUIRES_MAP"


class Library(NamedTuple):  # hatchling does not register this module, as dataclasses would need
    """A package of npm, and the files of it that pages load."""

    package: str
    sha512: str
    files: tuple[str, ...]
    """Files, or folders that end in a slash; the first part of the path is dropped."""


LIBRARIES = {
    "leaflet": Library(  # BSD-2-Clause
        "leaflet@1.9.4",
        "nxS1ynzJOmOlHp+iL3FyWqK89GtNL8U8rvlMOsQdTTssxZwCXh8N2NB3GDQOL+YR3XnWyZAxwQixURb+FA74PA==",
        ("dist/leaflet.js", "dist/leaflet.css", "dist/images/", "LICENSE"),
    ),
    "swagger-ui": Library(  # Apache-2.0
        "swagger-ui-dist@5.35.0",
        "U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ==",
        ("swagger-ui-bundle.js", "swagger-ui.css", "LICENSE", "NOTICE"),
    ),
    "redoc": Library(  # MIT
        "redoc@2.5.4",
        "M6jWhG1qoBnH6TFmzJnstyCZ87HmOY/UzDm78mHiYihEdlV/YcS9ogOo1NlElnJMeLsyxHFe2yFc4sNjHTrABQ==",
        ("bundles/redoc.standalone.js", "LICENSE"),
    ),
}


class PageLibraries(BuildHookInterface):  # type: ignore[misc]
    """Fetches the libraries that are not there, and adds them to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See hatchling's documentation of build hooks."""
        if version == "editable":
            return
        try:
            fetch_missing(Path(self.root) / VENDOR)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            if os.environ.get(REQUIRED):
                raise
            self.app.display_warning(f"the wheel's pages lack a library: {error}")
        build_data["artifacts"].append(f"/{VENDOR.as_posix()}/")


def fetch_missing(vendor: Path) -> None:
    """Fetch every library that is not in a folder yet.

    Raises:
        OSError, RuntimeError: npm is not there, cannot fetch one, or fetched something else.
    """
    for name, library in LIBRARIES.items():
        if not (vendor / name / "LICENSE").is_file():  # the last file that is unpacked
            _fetch(library, vendor / name)


def _fetch(library: Library, target: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("npm is not installed")
    options = ["--silent", "--fetch-retries=1", "--fetch-timeout=30000"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done = subprocess.run(
            [npm, "pack", library.package, *options],
            cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        archives = list(folder.glob("*.tgz"))
        if done.returncode or not archives:
            raise RuntimeError(f"npm cannot fetch {library.package}")
        digest = hashlib.sha512(archives[0].read_bytes()).digest()
        if base64.b64encode(digest).decode() != library.sha512:
            raise RuntimeError(f"{library.package} has another digest than expected")
        _unpack(archives[0], library, target)


def _unpack(archive: Path, library: Library, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    with tarfile.open(archive) as tar:
        members = {
            member.name.removeprefix("package/"): member
            for member in tar.getmembers()
            if member.isfile() and ".." not in member.name
        }
        for wanted in library.files:
            for inside in sorted(members):
                if inside != wanted and not (wanted.endswith("/") and inside.startswith(wanted)):
                    continue
                content = tar.extractfile(members[inside])
                assert content is not None
                path = target / inside.removeprefix("dist/").removeprefix("bundles/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())


if __name__ == "__main__":
    try:
        fetch_missing(Path(__file__).resolve().parent / VENDOR)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        sys.exit(f"the libraries of the pages cannot be fetched: {error}")
