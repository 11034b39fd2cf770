"""What a model says about itself: a card that is checked word by word before it is believed.

A card comes from outside, so nothing in it is trusted: every fault is a `ModelError` of one line
that names the key. Only the standard library is imported.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, fields
from typing import Any

from geotiler.errors import ModelError, SpecError
from geotiler.models.card_fields import CardFields, shown
from geotiler.specs import Scale

CARD_SCHEMA = 1
"""Version of the layout of card.json; a card with another one is refused."""

CARD_FILE = "card.json"
WEIGHTS_FILE = "model.safetensors"
ONNX_FILE = "model.onnx"
LARGEST_CARD_BYTES = 1_000_000

_TASKS = ("segmentation", "classification")
_LIBRARIES = ("smp", "torchvision", "geotiler")
_ACTIVATIONS = ("sigmoid", "softmax")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_LARGEST_ARGUMENT = 8192
_DESCRIPTIVE = (
    "description", "metrics", "confusion", "training_data", "licence", "credits",
    "geotiler_version",
)  # fmt: skip
_ONLY_WHERE_SAID = ("input_px", "stretch", "confusion")
"""Keys that a card leaves out where they have nothing to say."""


@dataclass(frozen=True, kw_only=True)
class ClassInfo:
    """One class that the model tells apart."""

    id: int
    """Pixel value in masks, 0 to 254."""
    name: str
    color: str
    """"#rrggbb"."""

    def __post_init__(self) -> None:
        """Raises: ModelError: an id outside 0 to 254, no name, or a colour that is none."""
        _require(0 <= self.id <= 254, "classes", "ids from 0 to 254", self.id)
        _require(bool(self.name.strip()), "classes", "a name for every class", self.name)
        colored = re.fullmatch(r"#[0-9a-fA-F]{6}", self.color) is not None
        _require(colored, "classes", 'colours like "#d7301f"', self.color)


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """How a sensor's numbers became the 8-bit values of the training images.

    `low + (number - minimum) / (maximum - minimum) * (high - low)`, clipped to low..high.
    Without an offset: +1000 of newer Sentinel-2 products is subtracted first.
    """

    source: str
    """Product and level, as "Sentinel-2 L1C"."""
    source_bands: tuple[int, ...]
    """Which of its bands, from 1, in the order of the card's `bands`: (4, 3, 2)."""
    minimum: float
    maximum: float
    low: float
    high: float

    def __post_init__(self) -> None:
        """Raises: ModelError: nothing between minimum and maximum, or outside 0 to 255."""
        _require(self.minimum < self.maximum, "stretch", "minimum below maximum", self.minimum)
        _require(0 <= self.low < self.high <= 255, "stretch", "low and high in 0 to 255", self.low)
        counted = all(1 <= band <= 1000 for band in self.source_bands)
        _require(counted, "stretch", "bands counted from 1", self.source_bands)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One measured number, with what it was measured on."""

    name: str
    value: float
    data: str
    """The data set, and which part of it."""
    how: str = ""
    """The command or the rule of measurement."""

    def __post_init__(self) -> None:
        """Raises: ModelError: the value is not finite."""
        _require(math.isfinite(self.value), "metrics", "finite values", self.value)


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Everything that is needed to build a network, to feed it, and to judge its answer.

    A classifier (`task` "classification") labels whole tiles of `tile_px` scene pixels at
    `gsd_m`: tiles (N, C, tile_px, tile_px), normalised as for any model, become probabilities
    (N, K), channel k being `classes[k]`. Its network may see another size, `input_px`; the
    resize between the two is the network's own first step, in the graph as in torch, and no
    caller's business.
    """

    name: str
    """Lower-case name, as `--model` takes it."""
    version: str
    task: str
    """"segmentation" or "classification"."""
    description: str
    library: str
    """"smp", "torchvision" or "geotiler": who builds the network."""
    architecture: str
    """Name in that library, as "Unet" or "resnet18"."""
    arguments: dict[str, Any]
    """Keyword arguments of the architecture; nothing in them may ask for a download."""
    bands: tuple[str, ...]
    """Names of the input channels in order, as ("red", "green", "blue")."""
    scale: Scale
    """Raw values the model was trained on: minimum becomes 0, maximum becomes 1."""
    mean: tuple[float, ...]
    """Per band, of the values scaled to 0..1; subtracted first."""
    std: tuple[float, ...]
    """Per band, of the values scaled to 0..1; divided by second."""
    gsd_m: float | None
    """Ground sample distance of the training data; None: the model works at any."""
    tile_px: int
    overlap_px: int
    input_px: int | None = None
    """Of classifiers: height and width that tiles are resized to inside the network; None: the
    network takes tiles as they are."""
    stretch: Stretch | None = None
    """Where the 8-bit images of the training came from sensor numbers, how."""
    stride_of_network: int = 32
    """Height and width of a tile are multiples of this."""
    classes: tuple[ClassInfo, ...]
    """Channel k of the answer is classes[k]; one sigmoid class implies the background 0."""
    activation: str
    """"sigmoid" (one class) or "softmax" (two or more)."""
    threshold: float
    """Probability from which a pixel belongs to the class (one-class models)."""
    metrics: tuple[Metric, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    """Counts on the data of the first metric: one row per true class, in the order of `classes`,
    one column per predicted class."""
    training_data: tuple[str, ...] = ()
    licence: str
    credits: tuple[str, ...] = ()
    geotiler_version: str
    files: dict[str, str]
    """File name → sha256, lower-case hexadecimal; the only files of the folder that are read."""

    def __post_init__(self) -> None:
        """Raises: ModelError: a value that no model can have, or two that contradict."""
        object.__setattr__(self, "arguments", _plain_arguments(self.arguments))
        _require(_MODEL_NAME.fullmatch(self.name) is not None, "name", "a-z, 0-9, _ . -", self.name)
        _require(self.task in _TASKS, "task", " or ".join(_TASKS), self.task)
        _require(self.library in _LIBRARIES, "library", " or ".join(_LIBRARIES), self.library)
        self._check_input()
        self._check_classes()
        for name, digest in self.files.items():
            plain = _FILE_NAME.fullmatch(name) is not None and name != CARD_FILE
            _require(plain, "files", "plain file names without folders", name)
            _require(_SHA256.fullmatch(digest) is not None, "files", "sha256 digests", digest)

    def _check_input(self) -> None:
        _require(1 <= len(self.bands) <= 64, "bands", "1 to 64 names", len(self.bands))
        for key, values in (("mean", self.mean), ("std", self.std)):
            _require(len(values) == len(self.bands), key, f"{len(self.bands)} values", len(values))
            _require(all(abs(value) <= 1e6 for value in values), key, "finite values", values)
        _require(all(value >= 1e-6 for value in self.std), "std", "values above 0", self.std)
        if self.gsd_m is not None:
            _require(1e-3 <= self.gsd_m <= 1e5, "gsd_m", "0.001 to 100000 metres", self.gsd_m)
        stride = self.stride_of_network
        _require(1 <= stride <= 256, "stride_of_network", "1 to 256", stride)
        fits = stride <= self.tile_px <= 8192 and self.tile_px % stride == 0
        _require(fits, "tile_px", f"a multiple of {stride} up to 8192", self.tile_px)
        _require(0 <= self.overlap_px < self.tile_px, "overlap_px", "0 to tile_px", self.overlap_px)
        if self.input_px is not None:
            classifies = self.task == "classification"
            _require(classifies, "input_px", "left out for segmentation", self.input_px)
            # Bilinear resizing would skip pixels on the way down.
            fits = self.tile_px <= self.input_px <= 8192
            _require(fits, "input_px", f"{self.tile_px} (tile_px) to 8192", self.input_px)
        if self.stretch is not None:
            count = len(self.stretch.source_bands)
            _require(count == len(self.bands), "stretch", f"{len(self.bands)} bands", count)

    def _check_classes(self) -> None:
        _require(self.activation in _ACTIVATIONS, "activation", "sigmoid or softmax",
                 self.activation)  # fmt: skip
        _require(0.0 < self.threshold < 1.0, "threshold", "between 0 and 1", self.threshold)
        count = len(self.classes)
        if self.activation == "sigmoid":
            one = count == 1 and self.classes[0].id == 1
            _require(one, "classes", "one class with id 1 for sigmoid", f"{count} classes")
        else:
            _require(2 <= count <= 255, "classes", "2 to 255 classes for softmax", count)
        ids = {info.id for info in self.classes}
        names = {info.name for info in self.classes}
        distinct = len(ids) == len(names) == count
        _require(distinct, "classes", "ids and names without repetition", f"{count} classes")
        if self.confusion:
            square = len(self.confusion) == count == min(map(len, self.confusion))
            square = square and max(map(len, self.confusion)) == count
            _require(square, "confusion", f"{count} rows of {count} counts", len(self.confusion))
            counts = all(number >= 0 for row in self.confusion for number in row)
            _require(counts, "confusion", "counts", "a negative one")

    @property
    def channels(self) -> int:
        """Channels of the network's answer."""
        return len(self.classes)

    @property
    def settings(self) -> dict[str, Any]:
        """What the answer of the model depends on: the card without its descriptive parts."""
        content = self._content()
        return {key: value for key, value in content.items() if key not in _DESCRIPTIVE}

    def to_json(self) -> str:
        """The card as JSON, indented, ending in a newline; `from_json` gives an equal card."""
        return json.dumps(self._content(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = {"schema": CARD_SCHEMA}
        for field in fields(self):
            value = getattr(self, field.name)
            if value or field.name not in _ONLY_WHERE_SAID:
                content[field.name] = _jsonable(value)
        content["files"] = dict(sorted(self.files.items()))
        return content

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelCard:
        """The card that a JSON text describes.

        Raises:
            ModelError: not JSON, another schema, a key that is missing, unknown, of the wrong
                type or out of its range. Never anything else, whatever the text.
        """
        card = CardFields.parse(text)
        schema = card.integer("schema")
        if schema != CARD_SCHEMA:
            raise ModelError(
                f"{CARD_FILE} has schema {shown(schema)}, expected {CARD_SCHEMA}",
                hint="the model needs another version of geotiler",
            )
        built = cls(
            name=card.text("name"),
            version=card.text("version"),
            task=card.text("task"),
            description=card.text("description"),
            library=card.text("library"),
            architecture=card.text("architecture"),
            arguments=card.mapping("arguments"),
            bands=card.texts("bands"),
            scale=_scale(card.inner("scale")),
            mean=card.numbers("mean"),
            std=card.numbers("std"),
            gsd_m=card.optional_number("gsd_m"),
            tile_px=card.integer("tile_px"),
            overlap_px=card.integer("overlap_px"),
            input_px=card.integer("input_px") if card.has("input_px") else None,
            stretch=_stretch(card.inner("stretch")) if card.has("stretch") else None,
            stride_of_network=card.integer("stride_of_network"),
            classes=tuple(_class(item) for item in card.inners("classes")),
            activation=card.text("activation"),
            threshold=card.number("threshold"),
            metrics=tuple(_metric(item) for item in card.inners("metrics")),
            confusion=card.integer_rows("confusion") if card.has("confusion") else (),
            training_data=card.texts("training_data"),
            licence=card.text("licence"),
            credits=card.texts("credits"),
            geotiler_version=card.text("geotiler_version"),
            files=card.text_mapping("files"),
        )
        card.finish()
        return built


def _class(item: CardFields) -> ClassInfo:
    built = ClassInfo(id=item.integer("id"), name=item.text("name"), color=item.text("color"))
    item.finish()
    return built


def _metric(item: CardFields) -> Metric:
    built = Metric(
        name=item.text("name"),
        value=item.number("value"),
        data=item.text("data"),
        how=item.text("how"),
    )
    item.finish()
    return built


def _stretch(item: CardFields) -> Stretch:
    built = Stretch(
        source=item.text("source"),
        source_bands=item.integers("source_bands"),
        minimum=item.number("minimum"),
        maximum=item.number("maximum"),
        low=item.number("low"),
        high=item.number("high"),
    )
    item.finish()
    return built


def _scale(item: CardFields) -> Scale:
    minimum, maximum = item.number("minimum"), item.number("maximum")
    item.finish()
    try:
        return Scale(minimum=minimum, maximum=maximum)
    except SpecError as error:
        raise ModelError(f"{CARD_FILE}: scale: {error.message}") from None


def _require(holds: bool, key: str, expected: str, got: object) -> None:
    if not holds:
        raise ModelError(f"{CARD_FILE}: {key} must be {expected}, got {shown(got)}")


def _plain_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments as plain JSON values that can neither load a file nor fetch one."""
    for key, value in arguments.items():
        _require_argument_name(key)
        if "weights" in key or "pretrained" in key:
            _require(not value, f"arguments.{key}", "null: weights come from the folder", value)
    return {key: _plain(value, f"arguments.{key}", 0) for key, value in arguments.items()}


def _require_argument_name(name: object) -> None:
    plain = isinstance(name, str) and re.fullmatch(r"[a-z_][a-z0-9_]{0,63}", name) is not None
    _require(plain, "arguments", "named by lower-case words", name)


def _plain(value: object, key: str, depth: int) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        small = abs(value) <= _LARGEST_ARGUMENT  # also false for NaN
        _require(small, key, f"at most {_LARGEST_ARGUMENT}", value)
        return value
    if isinstance(value, str):
        # No slash or colon: encoder names such as "tu-hf-hub:..." would reach for the network.
        plain = re.fullmatch(r"[A-Za-z0-9_.+-]{0,100}", value) is not None
        _require(plain, key, "a plain name", value)
        return value
    if isinstance(value, list | tuple) and len(value) <= 64 and depth < 3:
        return [_plain(item, key, depth + 1) for item in value]
    if isinstance(value, dict) and len(value) <= 64 and depth < 3:
        for name in value:
            _require_argument_name(name)
        return {name: _plain(item, f"{key}.{name}", depth + 1) for name, item in value.items()}
    _require(False, key, "a number, a name, or a short list or mapping of them", value)
    return None


def _jsonable(value: object) -> object:
    if isinstance(value, Scale):
        return {"minimum": value.minimum, "maximum": value.maximum}
    if isinstance(value, ClassInfo | Metric | Stretch):
        return {field.name: _jsonable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_jsonable(item) for item in value]
    return value
