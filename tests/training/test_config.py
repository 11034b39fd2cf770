"""What the command line may say to a training run."""

from __future__ import annotations

import pytest

from geotiler.errors import SpecError
from geotiler.training.compose import compose


def test_overrides_and_groups_reach_the_configuration() -> None:
    config = compose("buildings", ["model=linknet", "train.optimizer.lr=0.01", "data.root=here"])
    assert config.model.architecture == "Linknet"
    assert config.train.optimizer.lr == 0.01
    assert config.data.root == "here"


def test_the_recipe_never_renders_the_demo_scene() -> None:
    rendered = compose("buildings", []).data.rendered
    assert 7 not in range(rendered.first_seed, rendered.first_seed + rendered.chips)


@pytest.mark.parametrize(
    ("task", "overrides", "said"),
    [
        ("bildings", [], "did you mean buildings?"),
        ("buildings", ["train.lr=1"], "did you mean train.optimizer.lr?"),
        ("buildings", ["augment.noise=1"], "did you mean transforms.noise?"),
        ("buildings", ["optput=here"], "did you mean output?"),
        ("buildings", ["modle=linknet"], "did you mean model?"),
        ("buildings", ["train.optimizer.lr=fast"], "fast"),
        ("buildings", ["model=linkent"], "did you mean model=linknet?"),
        ("buildings", ["loss=bce"], "bce_dice, focal, lovasz, tversky"),
        ("buildings", ["model.arguments.encoder_depth=3"], "+model.arguments.encoder_depth=3"),
        ("buildings", ["train.steps=[1"], "train.steps=[1"),
    ],
)
def test_mistakes_are_named(task: str, overrides: list[str], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        compose(task, overrides)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
