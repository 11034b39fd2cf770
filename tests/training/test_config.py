"""What the command line may say to a training run."""

from __future__ import annotations

import pytest

from geotiler.errors import SpecError
from geotiler.training.classification_config import ClassifierRunConfig
from geotiler.training.config import Config, compose


def test_overrides_and_groups_reach_the_configuration() -> None:
    config = compose("buildings", ["model=linknet", "train.lr=0.01", "data.root=here"])
    assert config.model.architecture == "Linknet"
    assert config.train.lr == 0.01
    assert config.data.root == "here"


def test_the_recipe_never_renders_the_demo_scene() -> None:
    rendered = compose("buildings", []).data.rendered
    assert 7 not in range(rendered.first_seed, rendered.first_seed + rendered.chips)


def test_a_task_says_what_it_trains() -> None:
    config = compose("landuse", ["model=simple_cnn", "train.lr=0.01"])
    assert isinstance(config, ClassifierRunConfig)
    assert (config.model.architecture, config.model.image_size) == ("simple_cnn", 64)
    assert len(config.model.classes) == 10
    assert isinstance(compose("buildings", []), Config)


@pytest.mark.parametrize(
    ("task", "model", "fits"),
    [("buildings", "resnet18", "linknet, unet"), ("landuse", "unet", "mobilenet_v2, resnet18")],
)
def test_models_of_the_other_kind_are_refused(task: str, model: str, fits: str) -> None:
    with pytest.raises(SpecError, match=fits):
        compose(task, [f"model={model}"])


@pytest.mark.parametrize(
    ("task", "overrides", "said"),
    [
        ("bildings", [], "buildings"),
        ("buildings", ["train.lrr=1"], "lrr"),
        ("buildings", ["train.lr=fast"], "fast"),
        ("buildings", ["model=nonet"], "nonet"),
    ],
)
def test_mistakes_are_named(task: str, overrides: list[str], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        compose(task, overrides)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
