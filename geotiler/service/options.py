"""What a request asks of a scene, as the parameters of a URL; the words are the command line's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from geotiler.service.problems import Problem
from geotiler.service.settings import Settings
from geotiler.specs import (
    SMALLEST_HOLE_M2,
    SMALLEST_M2,
    ClassifyImagesSpec,
    RadiometrySpec,
    Scale,
    SegmentSpec,
    VectorizeSpec,
)
from geotiler.spelling import did_you_mean

PROBABILITY = "probability.tif"
"""Beside a mask whose patches are to be parted; nobody is offered it."""

_Measure = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Parameters(BaseModel):
    """Parameters of a URL; any other one is refused, since it may be a misspelt one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        """Raises: Problem: a parameter that there is not."""
        for name in given if isinstance(given, dict) else ():
            if name not in cls.model_fields:
                near = did_you_mean(name[:80], cls.model_fields)
                raise Problem(
                    422,
                    f"there is no parameter {name[:80]!r}{near}",
                    hint=f"parameters are: {', '.join(cls.model_fields)}",
                )
        return given


class Options(_Parameters):
    """Parameters of `/predict` and `/batch`; what is left out is decided by model and scene."""

    model: Annotated[
        str | None, Field(description="Name of a model; see /models.", max_length=100)
    ] = None
    threshold: Annotated[
        float | None, Field(description="Probability of a one-class model.", gt=0, lt=1)
    ] = None
    bands: Annotated[str | None, Field(description="Bands from 1, as 4,3,2.", max_length=200)] = (
        None
    )
    gsd: Annotated[
        str | None, Field(description="Metres per pixel, as 0.3 or X,Y.", max_length=100)
    ] = None
    scale: Annotated[
        str | None, Field(description="Raw range MIN,MAX, or auto.", max_length=100)
    ] = None
    min_area: Annotated[_Measure, Field(description="Drop smaller polygons, m².")] = SMALLEST_M2
    min_hole: Annotated[_Measure, Field(description="Fill smaller holes, m².")] = SMALLEST_HOLE_M2
    simplify: Annotated[
        _Measure | None, Field(description="Tolerance in metres; 0 keeps every corner.")
    ] = None

    separate: Annotated[
        bool,
        Field(description="Part houses that touch, where the probability drops between them."),
    ] = False

    def segment_spec(self, scene: str, output: Path, settings: Settings) -> SegmentSpec:
        """The specification for one scene. Raises: SpecError, Problem: a value out of range."""
        gsd = _numbers(self.gsd, "gsd", 2)
        return SegmentSpec(
            scene=scene,
            output=output,
            drivers=settings.drivers,
            model=self.model or settings.model,
            threshold=self.threshold,
            bands=_bands(self.bands),
            gsd_m=None if gsd is None else (gsd[0], gsd[-1]),
            scale=_scale(self.scale),
            auto_scale=self.scale == "auto",
            probability=output.with_name(PROBABILITY) if self.separate else None,
            overwrite=True,  # folders are the service's own
        )

    def vectorize_spec(self, mask: Path, output: Path) -> VectorizeSpec:
        """The specification for the polygons of a mask."""
        return VectorizeSpec(
            mask=str(mask),
            output=str(output),
            min_area_m2=self.min_area,
            min_hole_m2=self.min_hole,
            simplify_m=self.simplify,
            probability=str(mask.with_name(PROBABILITY)) if self.separate else None,
            separate=self.separate,
            overwrite=True,
        )


class PredictQuery(Options):
    """The query of `POST /predict`."""

    name: Annotated[str | None, Field(description="Name of the file.", max_length=300)] = None


class BatchQuery(PredictQuery):
    """The query of `POST /batch`."""

    pictures: Annotated[bool, Field(description="Also write pictures for a map.")] = False


class ClassifyQuery(_Parameters):
    """The query of `POST /classify`."""

    model: Annotated[
        str | None, Field(description="Name of a classifier; see /models.", max_length=100)
    ] = None
    topk: Annotated[int, Field(description="How many classes to list.", ge=1, le=100)] = 3
    bands: Annotated[str | None, Field(description="Bands from 1, as 4,3,2.", max_length=200)] = (
        None
    )
    scale: Annotated[
        str | None, Field(description="Raw range MIN,MAX, or auto.", max_length=100)
    ] = None
    dn_offset: Annotated[
        float | None, Field(description="Added to stored values first.", allow_inf_nan=False)
    ] = None
    name: Annotated[str | None, Field(description="Name of the file.", max_length=300)] = None

    def spec(self, image: str, settings: Settings) -> ClassifyImagesSpec:
        """The specification for one image. Raises: SpecError, Problem: a value out of range."""
        return ClassifyImagesSpec(
            images=(image,),
            model=self.model or settings.classifier,
            topk=self.topk,
            drivers=settings.drivers,
            radiometry=RadiometrySpec(
                bands=_bands(self.bands),
                scale=_scale(self.scale),
                auto_scale=self.scale == "auto",
                dn_offset=self.dn_offset,
            ),
        )


def plain_options(query: PredictQuery) -> Options:
    """The part of a query that says what is asked of a scene."""
    return Options(**query.model_dump(include=set(Options.model_fields)))


def _bands(text: str | None) -> tuple[int, ...] | None:
    bands = _numbers(text, "bands", 64)
    if bands is not None and not all(band.is_integer() for band in bands):
        raise Problem(422, f"bands takes whole numbers, got {text!r}")
    return None if bands is None else tuple(int(band) for band in bands)


def _scale(text: str | None) -> Scale | None:
    scale = None if text == "auto" else _numbers(text, "scale", 2)
    if scale is not None and len(scale) != 2:
        raise Problem(422, f"scale takes MIN,MAX or auto, got {text!r}")
    return None if scale is None else Scale(minimum=scale[0], maximum=scale[1])


def _numbers(text: str | None, name: str, most: int) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        values = tuple(float(item) for item in text.split(",") if item.strip())
    except ValueError:
        values = ()
    if not 1 <= len(values) <= most or not all(abs(value) < 1e30 for value in values):
        raise Problem(422, f"{name} takes up to {most} numbers with commas between, got {text!r}")
    return values
