"""What a service is told when it starts; everything it may and may not do.

Plain values, checked once. Where they come from (flags, `GEOTILER_SERVE_*`, an .env file) is the
command line's affair: nothing here reads the environment.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from geotiler.specs import Backend, Precision

RASTER_DRIVERS = ("GTiff", "COG", "JP2OpenJPEG", "PNG", "JPEG", "WEBP")
"""GDAL drivers that read one file and follow no references out of it."""

Texts = tuple[str, ...]
Count = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """Settings of one service. Limits are there to be met by strangers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    folder: Path = Path("geotiler-serve")
    """Uploads on their way, jobs and their results."""
    scratch: Path | None = None
    """Uploads of requests that are answered at once, and what is made of them; None: in `folder`.
    In memory (tmpfs) small ones are answered sooner: nothing has to reach a disk."""
    weights: Path | None = None
    """Folder of model folders; None: the ones that ship with geotiler."""
    model: str = "buildings"
    """The model of a request that names none."""
    classifier: str = "landuse"
    """The same for `POST /classify`."""

    api_keys: tuple[SecretStr, ...] = ()
    """Any of them opens the service; none is allowed on a loopback address only."""
    allow: Texts = ()
    """Folders and URL prefixes from which a caller may name scenes."""
    drivers: Texts = RASTER_DRIVERS
    """GDAL drivers that may open a scene."""

    device: str = "auto"
    backend: Backend = Backend.AUTO
    precision: Precision = Precision.AUTO
    threads: Count | None = None
    batch: Count | None = None
    """Tiles of one forward pass, from one or several requests; None: 1 on a CPU, more on a GPU."""
    batch_wait_ms: Annotated[float, Field(ge=0, le=1000)] = 5.0
    """How long an incomplete batch waits for tiles of other requests."""
    networks: Count = 6
    """Compiled networks (a model at a tile size) kept loaded."""

    body_bytes: Count = 2_000_000_000
    predict_px: Count = 16_000_000
    """Larger scenes become jobs."""
    scene_px: Count = 10_000_000_000
    """Larger scenes are refused."""
    px_per_byte: Count = 200
    """Uploads that are larger than `predict_px` and have more pixels than so many in each byte are
    refused: few bytes would keep a job busy for hours. Rendered towns as JPEG have 6 at quality 75
    and 53 at quality 5, 114 where 95 % is nodata that takes no room; a blank RGB image has 300
    as deflate and 340 as PNG, a blank one of one bit 8,200."""
    time_s: Annotated[float, Field(gt=0)] = 120.0
    """Longest answer of POST /predict, upload included."""
    job_time_s: Annotated[float, Field(gt=0)] = 86_400.0
    running: Count = 4
    """Requests computed at once; a network answers one batch at a time, or two tiles."""
    queue: Annotated[int, Field(ge=0)] = 64
    """Requests that wait; more are answered 429."""
    jobs_at_once: Count = 1
    jobs_queued: Count = 100
    batch_files: Count = 100
    """Scenes of one job."""
    keep_results_s: Annotated[float, Field(gt=0)] = 7 * 86_400.0
    log_level: str = "INFO"

    @field_validator("api_keys", "allow", "drivers", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """Texts with commas between them are as good as a list."""
        if isinstance(value, str):
            return tuple(item.strip() for item in value.split(",") if item.strip())
        return value

    @field_validator("api_keys")
    @classmethod
    def _long_enough(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key.get_secret_value()) < 16 for key in keys):
            raise ValueError("an API key needs at least 16 characters")
        return keys

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, level: str) -> str:
        if level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError("expected DEBUG, INFO, WARNING or ERROR")
        return level.upper()

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
