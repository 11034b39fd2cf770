"""What a service counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from geotiler import __version__

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SHARES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
_CONFIDENCE = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 1.0)


class Metrics:
    """The metrics of one service, in a registry of its own.

    Labels have few values: routes are templates, models are names of loaded ones.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        here = self.registry
        self.build = Gauge("geotiler_build_info", "1.", ["version"], registry=here)
        self.build.labels(__version__).set(1)
        self.requests = Counter(
            "geotiler_requests", "Requests answered.", ["route", "method", "status", "model"],
            registry=here,
        )  # fmt: skip
        self.latency = Histogram(
            "geotiler_request_seconds", "From a request's first byte to its answer's last.",
            ["route", "method", "model"], buckets=_SECONDS, registry=here,
        )  # fmt: skip
        self.jobs_finished = Counter(
            "geotiler_jobs_finished", "Jobs that ended, by how.", ["state"], registry=here
        )
        self.pixels = Counter(
            "geotiler_pixels", "Scene pixels segmented; its rate is the throughput.", ["model"],
            registry=here,
        )  # fmt: skip
        self.scene_rate = Gauge(
            "geotiler_mpx_per_second", "Throughput of the last scene, megapixels per second.",
            ["model"], registry=here,
        )  # fmt: skip
        self.inference = Histogram(
            "geotiler_inference_seconds", "One forward pass.", ["model"], buckets=_SECONDS,
            registry=here,
        )  # fmt: skip
        self.batch_tiles = Histogram(
            "geotiler_batch_tiles", "Tiles in one forward pass.", ["model"],
            buckets=(1, 2, 3, 4, 6, 8, 12, 16, 32), registry=here,
        )  # fmt: skip
        self.batch_requests = Histogram(
            "geotiler_batch_requests", "Requests whose tiles shared a forward pass.", ["model"],
            buckets=(1, 2, 3, 4, 6, 8, 12, 16, 32), registry=here,
        )  # fmt: skip
        self.load = Gauge(
            "geotiler_model_load_seconds", "Reading and verifying a model, at the last load.",
            ["model"], registry=here,
        )  # fmt: skip
        self.compile = Histogram(
            "geotiler_network_compile_seconds", "Compiling a model for a tile size.", ["model"],
            buckets=_SECONDS, registry=here,
        )  # fmt: skip
        self.fraction = Histogram(
            "geotiler_predicted_fraction", "Share of a scene's valid pixels beside background.",
            ["model"], buckets=_SHARES, registry=here,
        )  # fmt: skip
        self.confidence = Histogram(
            "geotiler_confidence", "Mean probability of the likeliest class, by forward pass.",
            ["model"], buckets=_CONFIDENCE, registry=here,
        )  # fmt: skip

    def observe_scene(self, model: str, class_px: dict[str, int], seconds: float) -> None:
        """Count a segmented scene. Args: class_px: as in `SegmentReport`."""
        total = sum(class_px.values())
        valid = total - class_px.get("nodata", 0)
        self.pixels.labels(model).inc(total)
        if seconds > 0:
            self.scene_rate.labels(model).set(total / 1e6 / seconds)
        if valid:
            self.fraction.labels(model).observe(1 - class_px.get("background", 0) / valid)

    def watch(self, name: str, what: str, label: str, read: Callable[[], dict[str, float]]) -> None:
        """Expose numbers that are asked for at each scrape. Args: read: label value → number."""
        self.registry.register(_Asked(name, what, label, read))


class _Asked(Collector):
    """A gauge that is read when Prometheus asks for it."""

    def __init__(
        self, name: str, what: str, label: str, read: Callable[[], dict[str, float]]
    ) -> None:
        self._name, self._what, self._label, self._read = name, what, label, read

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        family = GaugeMetricFamily(self._name, self._what, labels=[self._label])
        for value, number in self._read().items():
            family.add_metric([value], number)
        yield family
