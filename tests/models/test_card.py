"""A card survives its own JSON, and nothing else gets past it as anything but a ModelError."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geotiler.errors import ModelError
from geotiler.models.card import ClassInfo, Metric, ModelCard

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**15, max_value=10**400)
    | st.floats()
    | st.text()
    | st.sampled_from(["smp", "softmax", "#000000", "../../etc", "model.onnx", "0" * 64]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.just("weights"), inner, max_size=4)
    ),
    max_leaves=8,
)

fuzz = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def full_card(make_card: Callable[..., ModelCard]) -> ModelCard:
    return make_card(
        metrics=(Metric(name="IoU", value=0.7, data="test", how="by hand"),),
        credits=("Zoë",),
        training_data=("rendered",),
        files={"model.onnx": "0" * 64},
    )


def _read(text: str | bytes) -> ModelCard | None:
    """The card, or None with an error that is one printable line."""
    message = "refused"
    try:
        return ModelCard.from_json(text)
    except ModelError as error:
        message = str(error)
    assert message.isprintable()
    assert len(message) < 400
    return None


def test_json_gives_an_equal_card(full_card: ModelCard) -> None:
    assert ModelCard.from_json(full_card.to_json()) == full_card
    assert ModelCard.from_json(full_card.to_json().encode()) == full_card


def test_a_classifiers_card_survives_too_and_leaves_out_what_it_has_not(
    make_landuse_card: Callable[..., ModelCard], full_card: ModelCard
) -> None:
    counts = tuple(tuple(range(row, row + 10)) for row in range(10))
    card = make_landuse_card(confusion=counts)
    assert ModelCard.from_json(card.to_json()) == card
    absent = {"input_px", "stretch", "confusion"}
    assert not absent & json.loads(full_card.to_json()).keys()
    assert absent <= json.loads(card.to_json()).keys()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"input_px": 32}, "input_px"),  # smaller than the tile
        ({"input_px": 10_000}, "input_px"),
        ({"task": "segmentation"}, "input_px"),
        ({"confusion": ((1, 0), (0, 1))}, "confusion"),
        ({"confusion": ((-1,) * 10,) * 10}, "confusion"),
        ({"bands": ("red",), "mean": (0.5,), "std": (0.5,)}, "stretch"),
    ],
)
def test_a_classifier_that_cannot_be_is_refused(
    make_landuse_card: Callable[..., ModelCard], changes: dict[str, Any], key: str
) -> None:
    with pytest.raises(ModelError, match=key):
        make_landuse_card(**changes)


def test_tuples_in_arguments_are_lists(make_card: Callable[..., ModelCard]) -> None:
    card = make_card(arguments={"decoder_channels": (16, 8, 8)})
    assert ModelCard.from_json(card.to_json()) == card


@fuzz
@given(key=st.data(), value=JSON)
def test_any_value_at_any_key(full_card: ModelCard, key: st.DataObject, value: Any) -> None:
    content = json.loads(full_card.to_json())
    place = content
    name = key.draw(st.sampled_from(sorted(place)))
    while isinstance(place[name], dict) and place[name] and key.draw(st.booleans()):
        place = place[name]
        name = key.draw(st.sampled_from(sorted(place)))
    place[name] = value
    card = _read(json.dumps(content))
    if card is not None:  # what is believed is kept
        assert ModelCard.from_json(card.to_json()) == card


@fuzz
@given(value=JSON)
def test_any_json(value: Any) -> None:
    assert _read(json.dumps(value)) is None


@fuzz
@given(content=st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes(content: str | bytes) -> None:
    assert _read(content) is None


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "9" * 10_000, "NaN", '{"schema": 1, "schema": 1}']
)
def test_hostile_json(text: str) -> None:
    assert _read(text) is None


def test_every_key_is_needed_and_no_other_is_known(full_card: ModelCard) -> None:
    content = json.loads(full_card.to_json())
    for key in content:
        with pytest.raises(ModelError, match=key):
            ModelCard.from_json(json.dumps({k: v for k, v in content.items() if k != key}))
    with pytest.raises(ModelError, match="surprise"):
        ModelCard.from_json(json.dumps({**content, "surprise": 1}))


def test_another_schema_is_refused(full_card: ModelCard) -> None:
    content = json.loads(full_card.to_json())
    with pytest.raises(ModelError, match="schema 2") as caught:
        ModelCard.from_json(json.dumps({**content, "schema": 2}))
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threshold", float("nan")),
        ("threshold", 1.0),
        ("mean", (0.5, 0.5)),
        ("std", (0.0, 0.1, 0.1)),
        ("gsd_m", -1.0),
        ("tile_px", 100),
        ("overlap_px", 128),
        ("activation", "relu"),
        ("classes", ()),
        ("name", "../up"),
        ("arguments", {"encoder_weights": "imagenet"}),
        ("arguments", {"encoder_name": "tu-hf-hub:some/one"}),
        ("arguments", {"decoder_channels": [10**9]}),
        ("arguments", {"line\nbreak": 1}),
        ("files", {"../model.onnx": "0" * 64}),
        ("files", {"card.json": "0" * 64}),
        ("files", {"model.onnx": "0" * 63}),
    ],
)
def test_what_no_model_can_have(
    make_card: Callable[..., ModelCard], key: str, value: object
) -> None:
    with pytest.raises(ModelError, match=key):
        make_card(**{key: value})


def test_one_sigmoid_class_has_id_1(make_card: Callable[..., ModelCard]) -> None:
    two = (ClassInfo(id=0, name="a", color="#000000"), ClassInfo(id=5, name="b", color="#ffffff"))
    assert make_card(classes=two, activation="softmax").channels == 2
    for classes in (two, two[1:]):
        with pytest.raises(ModelError, match="sigmoid"):
            make_card(classes=classes, activation="sigmoid")
    with pytest.raises(ModelError, match="repetition"):
        make_card(classes=(*two, two[0]), activation="softmax")


def test_settings_are_what_changes_the_answer(full_card: ModelCard) -> None:
    described = dataclasses.replace(full_card, description="other", metrics=(), licence="MIT")
    assert described.settings == full_card.settings
    assert dataclasses.replace(full_card, threshold=0.4).settings != full_card.settings
