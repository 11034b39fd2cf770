"""What the command line may say to a training run."""

from __future__ import annotations

import pytest

from geotiler.errors import SpecError
from geotiler.training.classification_config import ClassifierRunConfig
from geotiler.training.compose import compose, group_options, task_names
from geotiler.training.config import Config


def test_overrides_and_groups_reach_the_configuration() -> None:
    config = compose("buildings", ["model=linknet", "train.optimizer.lr=0.01", "data.root=here"])
    assert config.model.architecture == "Linknet"
    assert config.train.optimizer.lr == 0.01
    assert config.data.root == "here"


@pytest.mark.parametrize(
    "folder",
    ["Höfe", "a (2)", "50% #1", "a,b", "gsd=0.3", "[old]", "{old}", "it's", "~mine", r"C:\Höfe",
     "Höfe\\", "(a", "x&y", "choice(a,b)", "true", "1e3", "007", "0x1f", "nan", r"a\,b", r"a\ b",
     r"it\'s", "None", "'a' b", "a: b"],
)  # fmt: skip
def test_a_folder_may_have_any_name(folder: str) -> None:
    config = compose("buildings", [f"data.root={folder}", f"init={folder}"])
    assert (config.data.root, config.init) == (folder, folder)
    assert compose("landuse", [f"data.root={folder}"]).data.root == folder


def test_a_text_that_is_forced_is_one_too() -> None:
    assert compose("buildings", ["++data.root=Höfe"]).data.root == "Höfe"


def test_texts_in_quotes_and_null_stay_what_hydra_makes_of_them() -> None:
    config = compose("buildings", ["data.root='a, b'", "init=null", "name=${data.root}"])
    assert (config.data.root, config.init, config.name) == ("a, b", None, "a, b")
    config = compose("buildings", ["data.root= b", 'init="${data.root}/(1)"', "name=${task}-2"])
    assert (config.data.root, config.init, config.name) == ("b", "b/(1)", "buildings-2")
    with pytest.raises(SpecError, match=r"'data\.root' cannot be read"):
        compose("buildings", ["data.root"])


def test_the_recipe_never_renders_the_demo_scene() -> None:
    rendered = compose("buildings", []).data.rendered
    assert 7 not in range(rendered.first_seed, rendered.first_seed + rendered.chips)


@pytest.mark.parametrize("task", task_names())
def test_every_option_of_every_group_composes(task: str) -> None:
    options = group_options(task)
    assert "logger" in options
    for group, names in options.items():
        assert names, group
        for name in names:
            compose(task, [f"{group}={name}"])


def test_a_task_says_what_it_trains() -> None:
    config = compose("landuse", ["model=simple_cnn", "train.optimizer.lr=0.01"])
    assert isinstance(config, ClassifierRunConfig)
    assert (config.model.architecture, config.model.image_size) == ("simple_cnn", 64)
    assert len(config.model.classes) == 10
    assert isinstance(compose("buildings", []), Config)


def test_a_run_that_begins_from_weights_is_short_unless_it_is_told_to_be_long() -> None:
    """As one types it: the commonest wish is to fit finished weights to a few chips."""
    wish = ["init=weights/buildings", "data=chips", "data.root=mychips"]
    config = compose("buildings", wish)
    assert isinstance(config, Config)
    assert (config.train.steps, config.train.early_stopping) == (600, 6)
    assert compose("buildings", [*wish, "train.steps=7"]).train.steps == 7
    assert compose("buildings", [*wish, "train=buildings"]).train.steps == 3200
    assert compose("buildings", ["init=null"]).train.steps == 3200
    assert compose("landuse", ["init=landuse"]).train.steps == compose("landuse", []).train.steps


@pytest.mark.parametrize(
    ("task", "model", "fits"),
    [
        ("buildings", "resnet18", "linknet, segformer, unet"),
        ("landuse", "unet", "mobilenet_v2, resnet18"),
    ],
)
def test_models_of_the_other_kind_are_refused(task: str, model: str, fits: str) -> None:
    with pytest.raises(SpecError, match=fits):
        compose(task, [f"model={model}"])


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
