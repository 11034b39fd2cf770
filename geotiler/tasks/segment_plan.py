"""What `geotiler segment` will do, decided before any pixel is computed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from geotiler.core.grid import Grid
from geotiler.core.resample import Axis
from geotiler.core.sweep import Columns, SweepPlan, swept_columns
from geotiler.errors import OutputError, SpecError
from geotiler.io.class_raster import BACKGROUND, class_layout
from geotiler.io.outputs import check_output
from geotiler.io.parts import RasterLayout, raster_driver
from geotiler.io.raster import Scene, open_scene
from geotiler.io.scene_values import bands_for, measured_scale
from geotiler.models.bundle import Bundle
from geotiler.models.networks import FROM_DISK, Networks
from geotiler.reports import Setting
from geotiler.specs import MASK_NODATA, PROBABILITY_STEPS, Scale, SegmentSpec, Window

PANEL_PX = 16_384
"""Network columns of one sweep; wider scenes are swept in panels, which bounds memory."""

GSD_TOLERANCE = 1.25
"""A scene's GSD may differ from the model's by this factor before it is resampled: networks are
trained with zoom augmentation of that size, and resampling costs time and sharpness."""

COARSEST_RATIO = 4.0
"""Scenes coarser than the model's GSD by more than this are refused: what the model looks for is
not in them, and the work grows with the square of the factor."""

_CHUNK_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class SegmentPlan:
    """Everything that decides the result, and what it will cost."""

    spec: SegmentSpec
    bundle: Bundle
    shape: tuple[int, int]
    bands: tuple[int, ...]
    scale: Scale
    axes: tuple[Axis, Axis]
    grid: Grid
    ground_m: tuple[float, float] | None
    """Size (x, y) of a pixel on the ground, by the CRS if there is one, else by --scene-gsd."""
    threshold: float | None
    mask: RasterLayout
    chunk_rows: int
    settings: dict[str, Setting]
    notices: tuple[str, ...]

    @property
    def panels(self) -> list[Columns]:
        """Column ranges, each one sweep."""
        return swept_columns(self.grid, self.axes[1], PANEL_PX)

    @property
    def windows(self) -> int:
        """Windows to deal with, those on panel boundaries counted for each panel."""
        return len(self.grid.rows) * sum(len(panel.starts) for panel in self.panels)

    def sweep_plan(self, columns: Columns, batch: int) -> SweepPlan:
        """The plan of one panel."""
        card = self.bundle.card
        return SweepPlan(
            axes=self.axes,
            rows=self.grid.rows,
            columns=columns,
            tile_shape=self.grid.tile_shape,
            classes=len(card.classes),
            scale=self.scale,
            mean=card.mean,
            std=card.std,
            batch=batch,
        )

    def chunks(self, columns: Columns) -> Iterator[Window]:
        """Windows that a panel's pixels are read by, whole block rows, top to bottom."""
        first, last = columns.read
        for row in range(0, self.shape[0], self.chunk_rows):
            height = min(self.chunk_rows, self.shape[0] - row)
            yield Window(row=row, col=first, height=height, width=last - first)

    @property
    def probability(self) -> RasterLayout:
        """Layout of the probability raster."""
        is_float = self.spec.probability_dtype == "float32"
        return RasterLayout(
            shape=self.shape,
            dtype=self.spec.probability_dtype,
            nodata=float("nan") if is_float else float(MASK_NODATA),
            transform=self.mask.transform,
            crs=self.mask.crs,
            bands=tuple(item.name for item in self.bundle.card.classes),
            scale=None if is_float else 1.0 / PROBABILITY_STEPS,
            tags={**self.mask.tags, "GEOTILER_CONTENT": "probability"},
            categorical=False,
        )


def plan_segment(
    spec: SegmentSpec, networks: Networks = FROM_DISK, *, will_write: bool = True
) -> SegmentPlan:
    """The plan of one run, with every check that needs no pixel, cheapest first.

    Args:
        spec: what to do.
        will_write: check the outputs; False where only the scene is asked about.

    Raises:
        OutputError: target exists, cannot be written, or the disk is too small.
        ModelError: unknown or damaged model.
        InputError: the scene cannot be read or does not fit the model.
        SpecError: a setting does not fit scene or model.
    """
    if will_write:
        _check_outputs(spec)
    with open_scene(spec.scene, drivers=spec.drivers) as scene:
        bundle = networks.bundle(spec.model)
        if bundle.card.task != "segmentation":
            raise SpecError(
                f"model {bundle.card.name!r} does {bundle.card.task}, expected segmentation",
                hint="geotiler models list shows what each does",
            )
        if will_write:
            _check_formats(spec, bundle, scene)
            _check_room(spec, bundle, scene)
        return _planned(spec, bundle, scene, networks)


def _check_outputs(spec: SegmentSpec) -> None:
    targets = _targets(spec)
    for target in targets:
        if _is_same_file(target, spec.scene):
            raise SpecError(f"output {target} is the scene itself", hint="choose another name")
        check_output(target, spec.overwrite)
        raster_driver(target)
    if len({target.resolve() for target in targets}) < len(targets):
        raise SpecError("mask and probability need different files", hint="--probability p.tif")


def _targets(spec: SegmentSpec) -> list[Path]:
    return [spec.output, *([spec.probability] if spec.probability else [])]


def _is_same_file(target: Path, source: str) -> bool:
    try:
        return target.exists() and target.samefile(source)
    except OSError:  # the source is no file, or is not there
        return False


def _check_formats(spec: SegmentSpec, bundle: Bundle, scene: Scene) -> None:
    """Raises: an output that would replace a source of the scene, or cannot hold its pixels."""
    for target in _targets(spec):
        if any(_is_same_file(target, source) for source in scene.files):
            raise SpecError(f"output {target} is read by the scene", hint="choose another name")
    if spec.probability is None or raster_driver(spec.probability) != "PNG":
        return
    if spec.probability_dtype != "uint8" or len(bundle.card.classes) > 1:
        raise OutputError(
            f"output {spec.probability}: a PNG holds one class as uint8",
            hint="name it --probability p.tif",
        )


def _check_room(spec: SegmentSpec, bundle: Bundle, scene: Scene) -> None:
    """Raises: OutputError: the disk is too small."""
    # Twice the pixels: parts and the finished file exist together for a moment. Masks compress
    # to a few percent, so this is a bound for the worst of them.
    pixels = scene.height * scene.width
    check_output(spec.output, spec.overwrite, needed_bytes=pixels // 4)
    if spec.probability:
        width = 4 if spec.probability_dtype == "float32" else 1
        needed = 2 * pixels * len(bundle.card.classes) * width
        check_output(spec.probability, spec.overwrite, needed_bytes=needed)


def _planned(spec: SegmentSpec, bundle: Bundle, scene: Scene, networks: Networks) -> SegmentPlan:
    notices: list[str] = []
    settings: dict[str, Setting] = {}
    bands = _bands(spec, bundle, scene, settings)
    scale = _scale(spec, bundle, scene, bands, settings, notices)
    axes = _axes(spec, bundle, scene, settings, notices)
    grid = _grid(spec, bundle, (axes[0].target_px, axes[1].target_px), settings, networks)
    threshold = _threshold(spec, bundle, settings)
    return SegmentPlan(
        spec=spec,
        bundle=bundle,
        shape=scene.shape,
        bands=bands,
        scale=scale,
        axes=axes,
        grid=grid,
        ground_m=scene.gsd_m or spec.gsd_m,
        threshold=threshold,
        mask=_mask_layout(bundle, scene, settings),
        chunk_rows=scene.block_rows(_CHUNK_ROWS),
        settings=settings,
        notices=tuple(notices),
    )


def _bands(
    spec: SegmentSpec, bundle: Bundle, scene: Scene, settings: dict[str, Setting]
) -> tuple[int, ...]:
    bands = bands_for(scene, bundle.card.bands, spec.bands, bundle.card.name)
    settings["bands"] = Setting(value=list(bands), origin="flag" if spec.bands else "scene")
    return bands


def _scale(
    spec: SegmentSpec,
    bundle: Bundle,
    scene: Scene,
    bands: tuple[int, ...],
    settings: dict[str, Setting],
    notices: list[str],
) -> Scale:
    card_scale = bundle.card.scale
    is_eight_bit = all(scene.dtypes[band - 1] == "uint8" for band in bands)
    origin = "flag"
    if spec.scale is not None:
        scale = spec.scale
    elif spec.auto_scale or (not is_eight_bit and card_scale.maximum == 255):
        scale = measured_scale(scene, bands)
        origin = "scene"
        notices.append(
            f"values {scale.minimum:g} to {scale.maximum:g} (scene-wide 2-98 %) are read as 0 to "
            f"255; fix the range with --scale {scale.minimum:g},{scale.maximum:g}"
        )
    else:
        scale = card_scale
        origin = "model card"
    settings["scale"] = Setting(value=[scale.minimum, scale.maximum], origin=origin)
    return scale


def _axes(
    spec: SegmentSpec,
    bundle: Bundle,
    scene: Scene,
    settings: dict[str, Setting],
    notices: list[str],
) -> tuple[Axis, Axis]:
    """(row, column) axes from the scene to the network's grid."""
    gsd_m, origin = spec.gsd_m, "flag"
    if gsd_m is None:
        gsd_m, origin = scene.gsd_m, "scene"
    wanted = bundle.card.gsd_m
    ratios = (1.0, 1.0)
    if gsd_m is not None and wanted is not None:
        x, y = (value / wanted for value in gsd_m)
        if max(x, y) > COARSEST_RATIO:
            raise SpecError(
                f"{scene.path} has {max(gsd_m):.3g} m per pixel, model {bundle.card.name!r} was "
                f"trained at {wanted:g} m: enlarging it {max(x, y):.3g} times shows nothing new",
                hint=f"--scene-gsd {wanted:g} runs it on the pixels as they are",
            )
        # A difference within the tolerance is left alone, but a hair of rounding is not a reason
        # to fall outside it.
        limit = GSD_TOLERANCE + 1e-3
        x, y = (1.0 if 1 / limit <= ratio <= limit else ratio for ratio in (x, y))
        ratios = (x, y)
    elif wanted is not None:
        origin = "model card"
        notices.append(
            f"{scene.path} has no CRS: taken at the model's {wanted:g} m per pixel; "
            "--scene-gsd says otherwise"
        )
    value = [round(v, 4) for v in gsd_m] if gsd_m else wanted
    settings["gsd_m"] = Setting(value=value, origin=origin)
    rows = Axis.scaled(scene.height, ratios[1])
    cols = Axis.scaled(scene.width, ratios[0])
    settings["network_px"] = Setting(value=[rows.target_px, cols.target_px], origin="scene")
    return rows, cols


def _grid(
    spec: SegmentSpec,
    bundle: Bundle,
    shape: tuple[int, int],
    settings: dict[str, Setting],
    networks: Networks,
) -> Grid:
    overlap_px = spec.overlap_px if spec.overlap_px is not None else bundle.card.overlap_px
    # Both the specification's multiple of 32 and what the network asks for.
    multiple_px = math.lcm(32, bundle.card.stride_of_network)
    tile = spec.tile_px or networks.tile_shape(shape, overlap_px, multiple_px)
    settings["tile_px"] = Setting(value=list(tile), origin="flag" if spec.tile_px else "scene")
    settings["overlap_px"] = Setting(
        value=overlap_px, origin="model card" if spec.overlap_px is None else "flag"
    )
    return Grid(shape=shape, tile_shape=tile, overlap_px=overlap_px)


def _threshold(spec: SegmentSpec, bundle: Bundle, settings: dict[str, Setting]) -> float | None:
    if bundle.card.activation != "sigmoid":
        if spec.threshold is not None:
            raise SpecError(
                f"model {bundle.card.name!r} has several classes and takes the likeliest",
                hint="leave --threshold out",
            )
        return None
    threshold = bundle.card.threshold if spec.threshold is None else spec.threshold
    origin = "model card" if spec.threshold is None else "flag"
    settings["threshold"] = Setting(value=threshold, origin=origin)
    return threshold


def _mask_layout(bundle: Bundle, scene: Scene, settings: dict[str, Setting]) -> RasterLayout:
    card = bundle.card
    classes = {item.id: (item.name, item.color) for item in card.classes}
    if card.activation == "sigmoid":
        classes = {0: ("background", BACKGROUND), **classes}
    return class_layout(
        classes,
        shape=scene.shape,
        transform=scene.transform,
        crs=scene.crs,
        model=f"{card.name} {card.version}",
        digest=bundle.digest,
        settings={key: setting.value for key, setting in settings.items()},
    )
