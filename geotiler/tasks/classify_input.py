"""What images and scenes have in common for a classifier: bands, scaling, offset, the network."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from geotiler.errors import SpecError
from geotiler.io.dn_offset import dn_offset
from geotiler.io.raster import Scene
from geotiler.io.scene_source import SceneSource
from geotiler.io.scene_values import bands_for, darkest_percent, measured_scale
from geotiler.models.bundle import Bundle
from geotiler.models.card import ModelCard
from geotiler.models.networks import FROM_DISK, Networks
from geotiler.models.predictor import Predictor
from geotiler.models.registry import find_model
from geotiler.reports import Setting
from geotiler.specs import BackendSpec, RadiometrySpec, Scale

DARK_DN = 900.0
"""Sentinel-2 shadows and water lie far below this, and 1000 above what they were since 2022."""


@dataclass(kw_only=True)
class Decisions:
    """Settings with their origins, and what the user should hear; filled on the way."""

    settings: dict[str, Setting] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def say(self, name: str, value: object, origin: str) -> None:
        """Note where a setting comes from."""
        self.settings[name] = Setting(value=value, origin=origin)


@dataclass(frozen=True, kw_only=True)
class Radiometry:
    """What is read of a scene, and how its values enter the network."""

    bands: tuple[int, ...]
    scale: Scale
    """Of stored values: offset included."""


def find_classifier(name: str, networks: Networks | None = None) -> Bundle:
    """A model that labels whole tiles, from disk or from where a service keeps its models.

    Raises:
        ModelError: unknown or damaged.
        SpecError: it does something else.
    """
    bundle = find_model(name) if networks is None else networks.bundle(name)
    if bundle.card.task != "classification":
        raise SpecError(
            f"model {bundle.card.name!r} does {bundle.card.task}, expected classification",
            hint="geotiler models list shows what each does",
        )
    return bundle


def open_classifier(
    bundle: Bundle, run: BackendSpec, networks: Networks | None = None
) -> Predictor:
    """The classifier, compiled for its own tile.

    Raises:
        GeotilerError: see `open_predictor`.
    """
    return (networks or FROM_DISK).predictor(
        bundle,
        backend=run.backend,
        device=run.device,
        precision=run.precision,
        batch=run.batch,
        tile_shape=(bundle.card.tile_px, bundle.card.tile_px),
        threads=run.threads,
    )


def radiometry(
    spec: RadiometrySpec, card: ModelCard, source: SceneSource, scene: Scene, decisions: Decisions
) -> Radiometry:
    """Bands and scaling of a scene, by the flags, its metadata and the card.

    A scale given by hand is one of the values as they are stored: offsets that are only written
    in metadata are then left out.

    Raises:
        InputError: colour tables, or nothing valid to measure.
        SpecError: bands or range cannot be told.
    """
    bands = bands_for(scene, card.bands, spec.bands, card.name)
    decisions.say("bands", list(bands), "flag" if spec.bands else "scene")
    by_hand = spec.scale is not None or spec.auto_scale
    offset = _offset(spec, source, scene, bands, by_hand, decisions)
    if spec.scale is not None:
        scale, origin = spec.scale, "flag"
    elif spec.auto_scale:
        measured = measured_scale(scene, bands)
        scale, origin = _shifted(measured, -offset), "scene"
    else:
        scale, origin = _card_scale(card, scene, bands), "model card"
    decisions.say("scale", [scale.minimum, scale.maximum], origin)
    return Radiometry(bands=bands, scale=_shifted(scale, offset))


def _card_scale(card: ModelCard, scene: Scene, bands: tuple[int, ...]) -> Scale:
    """Range of the values without offset that the card's 0..1 stands for."""
    kinds = {scene.dtypes[band - 1] for band in bands}
    if kinds == {"uint8"}:
        return card.scale
    if any(np.issubdtype(np.dtype(kind), np.floating) for kind in kinds):
        raise SpecError(
            f"{scene.path} holds {', '.join(sorted(kinds))} values, which may be anything",
            hint="say what they range over: --scale 0,0.275 for reflectance of Sentinel-2",
        )
    stretch = card.stretch
    if stretch is not None:
        per_step = (stretch.maximum - stretch.minimum) / (stretch.high - stretch.low)
        minimum = stretch.minimum + (card.scale.minimum - stretch.low) * per_step
        maximum = stretch.minimum + (card.scale.maximum - stretch.low) * per_step
        return Scale(minimum=minimum, maximum=maximum)
    if card.scale.maximum == 255:
        raise SpecError(
            f"{scene.path} holds {', '.join(sorted(kinds))} values, model {card.name!r} knows "
            "only those of 8 bits",
            hint="say what they range over, as --scale 0,2750, or --scale auto",
        )
    return card.scale


def _offset(
    spec: RadiometrySpec,
    source: SceneSource,
    scene: Scene,
    bands: tuple[int, ...],
    by_hand: bool,
    decisions: Decisions,
) -> float:
    if spec.dn_offset is not None:
        decisions.say("dn_offset", spec.dn_offset, "flag")
        return spec.dn_offset
    if by_hand:
        return 0.0
    found = dn_offset(scene, source, bands)
    if found is not None:
        decisions.say("dn_offset", found.value, found.origin)
        return found.value
    decisions.say("dn_offset", 0.0, "default")
    if any(scene.dtypes[band - 1] != "uint8" for band in bands):
        darkest = darkest_percent(scene, bands)
        if darkest is not None and darkest > DARK_DN:
            decisions.notices.append(
                f"the darkest percent of {scene.path} reaches up to {darkest:,.0f}: Sentinel-2 "
                "values since January 2022 are stored 1000 too high, and nothing in the file says "
                "whether these are; if so: --dn-offset -1000"
            )
    return 0.0


def _shifted(scale: Scale, offset: float) -> Scale:
    """The range of stored values that an offset turns into the given one."""
    return Scale(minimum=scale.minimum - offset, maximum=scale.maximum - offset)
