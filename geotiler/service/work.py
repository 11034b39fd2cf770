"""One scene of a request: the tasks of the command line, watched, with time and size limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from geotiler.io.journal import OtherRunError
from geotiler.io.map_picture import write_mask_picture, write_scene_picture
from geotiler.io.raster import open_scene
from geotiler.progress import Event, Notice, StageAdvanced, StageStarted
from geotiler.service.metrics import Metrics
from geotiler.service.options import ClassifyQuery, Options
from geotiler.service.problems import Problem, in_words_of_http
from geotiler.service.settings import Settings
from geotiler.service.shelf import Shelf
from geotiler.spelling import did_you_mean
from geotiler.tasks.classify_images import ImageLabel, classify_images
from geotiler.tasks.segment import SegmentReport, segment
from geotiler.tasks.vectorize import vectorize
from geotiler.tasks.vectorize_features import VectorizeReport

MASK, MASK_PNG, FEATURES = "mask.tif", "mask.png", "features.geojson"
SCENE_PICTURE, MASK_PICTURE = "scene-map.png", "mask-map.png"

MEDIA_TYPES = {
    MASK: "image/tiff",
    MASK_PNG: "image/png",
    FEATURES: "application/geo+json",
    SCENE_PICTURE: "image/png",
    MASK_PICTURE: "image/png",
}
"""Every file that a request can lead to."""

_SHARE_OF_STAGE = {"segment": (0.0, 0.8), "write": (0.8, 0.85), "vectorize": (0.85, 0.97)}


class Stopped(Exception):  # noqa: N818 - no error
    """Somebody asked for the work to stop."""


class Watch:
    """A `Reporter` that keeps notices, tells progress, and ends work that is no longer wanted."""

    def __init__(
        self,
        seconds: float,
        *,
        stop: threading.Event | None = None,
        hear: Callable[[str, float], None] = lambda stage, share: None,
        hidden: Mapping[str, str] | None = None,
    ) -> None:
        """Args: seconds: that the work may take. stop: set to end it. hear: stage, share done.

        hidden: see `in_words_of_http`.
        """
        self.notices: list[str] = []
        self._hidden = hidden
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._stop = stop
        self._hear = hear
        self._stage, self._total, self._done = "", 1.0, 0.0

    def __call__(self, event: Event) -> None:
        """See `Reporter`. Raises: Stopped; Problem: the time is over."""
        self.check()
        if isinstance(event, Notice):
            self.notices.append(in_words_of_http(event.message, self._hidden))
        elif isinstance(event, StageStarted):
            self._stage, self._total, self._done = event.stage, max(event.total, 1e-9), 0.0
            self._tell()
        elif isinstance(event, StageAdvanced):
            self._done += event.amount
            self._tell()

    def check(self) -> None:
        """Raises: Stopped; Problem: the time is over."""
        if self._stop is not None and self._stop.is_set():
            raise Stopped
        if time.monotonic() > self._deadline:
            raise Problem(
                503,
                f"the scene takes longer than {self._seconds:g} s",
                hint="POST /batch takes it as a job",
                headers={"Retry-After": "60"},
            )

    def _tell(self) -> None:
        first, last = _SHARE_OF_STAGE.get(self._stage, (0.97, 1.0))
        self._hear(self._stage, first + (last - first) * min(1.0, self._done / self._total))


@dataclass(frozen=True, kw_only=True)
class SceneFacts:
    """What is known of a scene before it is segmented."""

    shape: tuple[int, int]
    bands: int

    @property
    def pixels(self) -> int:
        """Of one band."""
        return self.shape[0] * self.shape[1]


class Workbench:
    """Where scenes are worked on: the models, the limits, the counters."""

    def __init__(self, settings: Settings, shelf: Shelf, metrics: Metrics) -> None:
        self.settings = settings
        self.shelf = shelf
        self.metrics = metrics

    def facts(self, scene: str) -> SceneFacts:
        """What a scene's header says; no pixel is read.

        Raises:
            InputError: it is no raster of an allowed format.
            Problem: it has more pixels than the service takes.
        """
        with open_scene(scene, drivers=self.settings.drivers) as opened:
            facts = SceneFacts(shape=opened.shape, bands=opened.count)
        if facts.pixels > self.settings.scene_px:
            raise Problem(
                413,
                f"the scene has {facts.shape[0]}×{facts.shape[1]} pixels, more than the "
                f"{self.settings.scene_px:,} that this service takes",
            )
        return facts

    def check_model(self, name: str) -> None:
        """Raises: Problem: a model that the service does not offer."""
        if name not in self.shelf.bundles:
            known = ", ".join(self.shelf.bundles)
            near = did_you_mean(name[:80], self.shelf.bundles)
            raise Problem(422, f"no model {name!r}{near}", hint=f"model is one of: {known}")

    def segmented(self, scene: str, output: Path, options: Options, watch: Watch) -> SegmentReport:
        """Segment a scene with the shared networks. Raises: as `segment`; as `Watch.__call__`."""
        watch.check()
        spec = options.segment_spec(scene, output, self.settings)
        with self.shelf.lease() as lease:
            try:
                report = segment(spec, report=watch, networks=lease)
            except OtherRunError:  # of an attempt with the model that was there before
                report = segment(replace(spec, restart=True), report=watch, networks=lease)
        self.metrics.observe_scene(spec.model, report.class_px, report.seconds)
        return report

    def classified(self, image: str, query: ClassifyQuery, watch: Watch) -> ImageLabel:
        """What an image shows. Raises: as `classify_images`; as `Watch.__call__`."""
        watch.check()
        with self.shelf.lease() as lease:
            spec = query.spec(image, self.settings)
            return next(iter(classify_images(spec, report=watch, networks=lease)))

    def vectorized(
        self, mask: Path, output: Path, options: Options, watch: Watch
    ) -> VectorizeReport:
        """Polygons of a mask. Raises: as `vectorize`; as `Watch.__call__`."""
        return vectorize(options.vectorize_spec(mask, output), report=watch)

    def pictures(self, scene: str, folder: Path) -> dict[str, Any]:
        """Write scene and mask as pictures for a map; where they lie."""
        drivers = self.settings.drivers
        placed = write_scene_picture(scene, folder / SCENE_PICTURE, drivers=drivers)
        write_mask_picture(str(folder / MASK), folder / MASK_PICTURE)
        return asdict(placed)


def public_report(report: SegmentReport | VectorizeReport) -> dict[str, Any]:
    """A report without the paths of this machine and what only its operator needs."""
    hidden = {"scene", "output", "probability", "peak_memory_bytes"}
    return {key: value for key, value in report.as_dict().items() if key not in hidden}
