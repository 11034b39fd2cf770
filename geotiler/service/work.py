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
from geotiler.io.raster import Scene, open_scene
from geotiler.io.scene_values import bands_for
from geotiler.models.card import ModelCard
from geotiler.progress import Event, Notice, StageAdvanced, StageStarted
from geotiler.service.metrics import Metrics
from geotiler.service.options import ClassifyQuery, Options
from geotiler.service.problems import Problem, in_words_of_http
from geotiler.service.settings import Settings
from geotiler.service.shelf import Shelf
from geotiler.service.uploads import Upload, without_paths
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
            return self._facts(opened, "the scene")

    def looked_at(self, upload: Upload, options: Options) -> SceneFacts:
        """What an upload's header says, before anything is computed or queued for it.

        Raises:
            Problem: no raster of an allowed format, a single pixel, bands that the model cannot
                take, or more pixels than the service takes, of any upload or of so few bytes.
        """
        name = options.model or self.settings.model
        drivers = self.settings.drivers
        with without_paths(upload), self.shelf.lease() as lease:
            spec = options.segment_spec(str(upload.path), upload.path.parent / MASK, self.settings)
            with open_scene(spec.scene, drivers=drivers) as opened:
                facts = self._facts(opened, upload.name)
                _check_extent(facts, upload)
                self._check_density(facts, upload)
                card = lease.bundle(name).card
                bands_for(opened, card.bands, spec.bands, card.name)
        _check_separable(card, options)
        return facts

    def check_image(self, upload: Upload) -> None:
        """Raises: InputError: no raster of an allowed format; Problem: it is a single pixel."""
        with open_scene(str(upload.path), drivers=self.settings.drivers) as opened:
            _check_extent(SceneFacts(shape=opened.shape, bands=opened.count), upload)

    def _facts(self, opened: Scene, name: str) -> SceneFacts:
        facts = SceneFacts(shape=opened.shape, bands=opened.count)
        if facts.pixels > self.settings.scene_px:
            raise Problem(
                413,
                f"{name} has {facts.shape[0]}×{facts.shape[1]} pixels, more than the "
                f"{self.settings.scene_px:,} that this service takes",
            )
        return facts

    def _check_density(self, facts: SceneFacts, upload: Upload) -> None:
        """Raises: Problem: a file that is small and an image that is large, as of nothing."""
        size_bytes = upload.path.stat().st_size
        most = max(self.settings.predict_px, self.settings.px_per_byte * size_bytes)
        if facts.pixels > most:
            raise Problem(
                413,
                f"{upload.name} has {facts.shape[0]}×{facts.shape[1]} pixels in {size_bytes:,} "
                f"bytes, more than the {self.settings.px_per_byte:,} per byte that this service "
                "takes",
                hint="crop it to the part that shows something",
            )

    def check_model(self, name: str, task: str = "segmentation") -> None:
        """Raises: Problem: a model that the service does not offer, or that does something else."""
        bundles = self.shelf.bundles
        if name not in bundles:
            near = did_you_mean(name[:80], bundles)
            raise Problem(
                422, f"no model {name!r}{near}", hint=f"model is one of: {', '.join(bundles)}"
            )
        does = bundles[name].card.task
        if does != task:
            raise Problem(
                422,
                f"model {name!r} does {does}, expected {task}",
                hint="GET /models shows what each does",
            )

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


def _check_extent(facts: SceneFacts, upload: Upload) -> None:
    """Raises: Problem: an upload of one pixel."""
    if facts.pixels == 1:
        raise Problem(
            422,
            f"{upload.name} is a single pixel, which shows nothing",
            hint="send an image of the place",
        )


def _check_separable(card: ModelCard, options: Options) -> None:
    """Raises: Problem: patches are to be parted, of a model of several classes."""
    if options.separate and len(card.classes) > 1:
        raise Problem(
            422,
            f"`separate` parts the patches of one class, {card.name} has {len(card.classes)}",
            hint="leave it out",
        )


def public_report(report: SegmentReport | VectorizeReport) -> dict[str, Any]:
    """A report without the paths of this machine and what only its operator needs."""
    hidden = {"scene", "output", "probability", "peak_memory_bytes"}
    return {key: value for key, value in report.as_dict().items() if key not in hidden}
