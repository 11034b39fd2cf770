"""Where a run of `geotiler segment` writes, and what forbids it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from geotiler.errors import SpecError
from geotiler.io.part_layout import raster_driver
from geotiler.io.part_place import check_same_kind, check_target, is_unfinished, shown_target
from geotiler.io.raster import Scene
from geotiler.io.remote import gdal_name
from geotiler.io.vector_formats import DRIVERS
from geotiler.models.bundle import Bundle
from geotiler.specs import SegmentSpec


def check_targets(spec: SegmentSpec, yet_to_make: Collection[Path] = ()) -> None:
    """What can be said before the scene is opened.

    Args:
        spec: names the outputs.
        yet_to_make: folders that a run would make: they hold no output.

    Raises:
        OutputError: an output exists or cannot be written.
        SpecError: it is the scene, or the other output, or of polygons.
    """
    targets = targets_of(spec)
    check_same_kind(targets)
    _check_is_raster(spec.output)
    for target in targets:
        if _is_same_file(target, spec.scene):
            raise SpecError(
                f"output {shown_target(target)} is the scene itself", hint="choose another name"
            )
        if target.parent not in yet_to_make:
            # Where unfinished work lies, it tells whether an output is its own.
            check_target(target, spec.overwrite or is_unfinished(spec.output))
    if len({target.resolve() for target in targets}) < len(targets):
        raise SpecError("mask and probability need different files", hint="--probability p.tif")


def _check_is_raster(target: Path) -> None:
    """Raises: SpecError: a file of polygons, which are made in another step."""
    if target.suffix.lower() in DRIVERS:
        mask = shown_target(target.with_suffix(".tif"))
        raise SpecError(
            f"output {shown_target(target)} is a file of polygons, segment writes masks",
            hint=f"-o {mask}, then geotiler vectorize {mask} -o {shown_target(target)}",
        )


def targets_of(spec: SegmentSpec) -> list[Path]:
    """The files that a run writes, the mask first."""
    return [spec.output, *([spec.probability] if spec.probability else [])]


def _is_same_file(target: Path, source: str) -> bool:
    if gdal_name(str(shown_target(target))) == gdal_name(source):
        return True
    try:
        return target.exists() and target.samefile(source)
    except OSError:  # the source is no file, or is not there
        return False


def check_formats(spec: SegmentSpec, bundle: Bundle, scene: Scene) -> None:
    """Raises: SpecError: an output would replace the scene's source or cannot hold its values."""
    for target in targets_of(spec):
        if any(_is_same_file(target, source) for source in scene.files):
            raise SpecError(
                f"output {shown_target(target)} is read by the scene", hint="choose another name"
            )
    # By its name alone: an address has no driver.
    if spec.probability is None or raster_driver(Path(spec.probability.name)) != "PNG":
        return
    if spec.probability_dtype != "uint8" or len(bundle.card.classes) > 1:
        raise SpecError(
            f"output {shown_target(spec.probability)}: a PNG holds one class as uint8",
            hint="name it --probability p.tif",
        )


def check_room(
    spec: SegmentSpec, pixels: int, classes: int, yet_to_make: Collection[Path] = ()
) -> None:
    """Raises: OutputError: the disk is too small for outputs of that many pixels."""
    # Twice the pixels: parts and the finished file exist together for a moment. Masks compress
    # to a few percent, so this is a bound for the worst of them.
    width = 4 if spec.probability_dtype == "float32" else 1
    needed = pixels // 4, 2 * pixels * classes * width
    for target, needed_bytes in zip(targets_of(spec), needed, strict=False):
        if target.parent not in yet_to_make:
            check_target(target, True, needed_bytes)
