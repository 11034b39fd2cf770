"""What the command line may say to a training run."""

from __future__ import annotations

import pytest

from geotiler.errors import SpecError
from geotiler.training.config import compose


def test_overrides_and_groups_reach_the_configuration() -> None:
    config = compose("buildings", ["model=linknet", "train.lr=0.01", "data.root=here"])
    assert config.model.architecture == "Linknet"
    assert config.train.lr == 0.01
    assert config.data.root == "here"


def test_the_recipe_never_renders_the_demo_scene() -> None:
    rendered = compose("buildings", []).data.rendered
    assert 7 not in range(rendered.first_seed, rendered.first_seed + rendered.chips)


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
