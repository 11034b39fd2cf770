"""Which labels belong to which scene of `geotiler tile`, checked before any pixel is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import PurePath

from geotiler.core.names import bare_name, has_name_of
from geotiler.errors import GeotilerError, InputError, SpecError
from geotiler.io.label_polygons import PolygonFile, found_classes
from geotiler.io.label_rasters import (
    has_place,
    is_raster,
    overlaps_raster,
    raster_labels,
    raster_place_beside,
)
from geotiler.io.label_source import Frame, LabelSource, Nothing, Stacked, Within
from geotiler.io.vector_reading import attribute_names
from geotiler.specs import MASK_NODATA, ClassRule, TileSpec


@dataclass(frozen=True, kw_only=True)
class TileLabels:
    """All labels of a data set."""

    polygons: dict[str, PolygonFile]
    """Vector files by path."""
    rasters: tuple[str, ...]
    extent: PolygonFile | None
    classes: dict[int, str]
    """Names that are known before masks are read."""
    of_scene: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Scene → the label files that it takes, in order."""
    by_name: dict[str, list[str]] = field(default_factory=dict)
    """Names of label files, as they are and without their endings → the files."""
    notes: list[str] = field(default_factory=list)
    skip_bad: bool = False

    @property
    def bad_features(self) -> dict[str, int]:
        """Vector file → features that were left out."""
        return {path: len(file.bad) for path, file in self.polygons.items() if file.bad}

    @property
    def unmapped_features(self) -> dict[str, int]:
        """Vector file → features whose class nobody asked for: background."""
        return {path: file.unmapped for path, file in self.polygons.items() if file.unmapped}

    @contextmanager
    def opened(self, frame: Frame) -> Iterator[LabelSource]:
        """The labels of one scene."""
        with ExitStack() as stack:
            sources: list[LabelSource] = []
            paths = self.of_scene[frame.path]
            for path in paths:
                if path in self.polygons:
                    found = self.polygons[path].onto(frame, skip_bad=self.skip_bad)
                    if found is not None:
                        sources.append(found)
                else:
                    sources.append(stack.enter_context(raster_labels(path, frame))[0])
            blank = 0 if paths and paths[0] in self.polygons else MASK_NODATA
            source: LabelSource = Nothing()
            if sources:
                source = sources[0] if len(sources) == 1 else Stacked(sources, blank)
            if self.extent is not None:
                source = Within(source, self.extent.onto(frame, skip_bad=self.skip_bad))
            yield source


def open_labels(spec: TileSpec) -> TileLabels:
    """The label files of a specification, the vector files read.

    Raises:
        InputError: a file cannot be used.
    """
    hint = "--labels takes polygons, or a raster of class ids"
    rasters = tuple(path for path in spec.labels if is_raster(path, hint))
    vectors = [path for path in spec.labels if path not in rasters]
    rules: Sequence[ClassRule] = spec.classes
    if spec.attribute is None and vectors:
        _check_tellable(vectors[0], rules)
    if spec.attribute is not None and not rules and vectors:
        rules = found_classes(vectors, spec.attribute)
    polygons = {
        path: PolygonFile(path, attribute=spec.attribute, classes=rules) for path in vectors
    }
    classes = {rule.id: rule.name for rule in spec.classes if 0 < rule.id < MASK_NODATA}
    for file in polygons.values():
        classes |= file.classes
    extent = None
    if spec.label_extent is not None:
        extent = PolygonFile(spec.label_extent, flag="--label-extent")
    return TileLabels(
        polygons=polygons,
        rasters=rasters,
        extent=extent,
        classes=classes,
        skip_bad=spec.skip_bad,
    )


def _check_tellable(path: str, rules: Sequence[ClassRule]) -> None:
    """Raises: SpecError: several classes, and nothing that tells a polygon's class."""
    if len(rules) > 1 or any(len(rule.values) > 1 for rule in rules):
        have = ", ".join(attribute_names(path)[:12]) or "none"
        raise SpecError(
            f"--classes names several values, and no attribute of {path} is said to hold them; "
            f"its attributes: {have}",
            hint="--attribute says which one tells the class",
        )


def match_labels(labels: TileLabels, frames: Sequence[Frame], spec: TileSpec) -> list[str]:
    """Decide which labels each scene takes, and check them; returns scenes that have to go.

    Raises:
        InputError: a scene has no labels, or unusable ones, unless bad ones are skipped.
    """
    dropped: list[str] = []
    outside = 0
    for frame in frames:
        try:
            labels.of_scene[frame.path] = _of_scene(labels, frame, len(frames))
            _check_names(labels, frame, bool(spec.classes))
            if labels.extent is not None:
                outside += labels.extent.onto(frame, skip_bad=spec.skip_bad) is None
        except GeotilerError as error:
            if not spec.skip_bad:
                raise
            labels.notes.append(f"{frame.path} is left out: {error.message}")
            dropped.append(frame.path)
    if outside and outside == len(frames) - len(dropped):
        raise InputError(
            f"{spec.label_extent} and the scenes do not overlap",
            hint="--label-extent takes polygons of the place that is labelled",
        )
    if labels.rasters and not labels.classes:
        labels.classes[1] = "object"
    return dropped


def _of_scene(labels: TileLabels, frame: Frame, scenes: int) -> tuple[str, ...]:
    """Label files with the scene's name, else those that overlap it."""
    every = [*labels.polygons, *labels.rasters]
    chosen = _named_after(labels, frame.path)
    by_name = bool(chosen)
    if not chosen and (frame.crs is not None or scenes == 1):
        chosen = every
    # A pair by name, or the only one there is: a mask of another size is told as such when it is
    # opened, not as one of another place.
    is_pair = by_name or (len(every) == 1 and scenes == 1)
    chosen = [path for path in chosen if _lies_on(labels, path, frame, is_pair)]
    if not chosen:
        if (
            labels.extent is not None
            and labels.polygons
            and labels.extent.onto(frame, skip_bad=True)
        ):
            return ()
        raise InputError(_without(labels, frame, every, scenes),
                         hint="--labels takes files of the same place or of the same name, "
                         "--skip-bad leaves such scenes out")  # fmt: skip
    if len({path in labels.polygons for path in chosen}) > 1:
        raise InputError(
            f"{frame.path} has labels of two kinds: {', '.join(chosen)}",
            hint="--labels takes polygons or masks for one scene, not both",
        )
    return tuple(chosen)


def _named_after(labels: TileLabels, scene: str) -> list[str]:
    """Label files with the scene's name."""
    if not labels.by_name:  # once for all scenes: there may be thousands of both
        for path in (*labels.polygons, *labels.rasters):
            for name in {bare_name(path), PurePath(path).stem.casefold()}:
                labels.by_name.setdefault(name, []).append(path)
    likely = labels.by_name.get(PurePath(scene).stem.casefold(), [])
    return [path for path in likely if has_name_of(path, scene)]


def _lies_on(labels: TileLabels, path: str, frame: Frame, is_pair: bool) -> bool:
    if path in labels.polygons:
        return labels.polygons[path].onto(frame, skip_bad=labels.skip_bad) is not None
    return (is_pair and not has_place(path, frame)) or overlaps_raster(path, frame)


def _without(labels: TileLabels, frame: Frame, every: Sequence[str], scenes: int) -> str:
    if len(every) > 1:
        return f"none of the {len(every)} label files has the name of {frame.path} or overlaps it"
    (path,) = every
    if frame.crs is None and scenes > 1:
        return f"{frame.path} has no CRS and {path} has not its name: they cannot be matched"
    if path in labels.polygons:
        where = labels.polygons[path].place_beside(frame)
    else:
        where = raster_place_beside(path, frame)
    return f"{path} and {frame.path} do not overlap{f': {where}' if where else ''}"


def _check_names(labels: TileLabels, frame: Frame, are_named: bool) -> None:
    """Opens rasters once, and gathers the names of their classes."""
    for path in labels.of_scene[frame.path]:
        if path in labels.polygons:
            continue
        with raster_labels(path, frame) as (_, names, note):
            if note:
                labels.notes.append(note)
        for key, name in names.items() if not are_named else ():
            if not 0 < key < MASK_NODATA:  # some masks name their background too
                continue
            if labels.classes.setdefault(key, name) != name:
                raise InputError(
                    f"class names collide: {key} is {labels.classes[key]!r} elsewhere and "
                    f"{name!r} in {path}",
                    hint="--classes building=1,road=2 names them for all masks",
                )
