"""A run that goes on: with the settings that it was begun with, which it keeps in config.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from geotiler.errors import InputError, SpecError
from geotiler.training.classification_config import ClassifierRunConfig
from geotiler.training.compose import composed_values
from geotiler.training.config import Config

SETTINGS = "config.yaml"
"""What a run keeps its composed configuration in."""

_MAY_CHANGE = ("train", "logger", "name")
"""Sections of what may be said anew: how long and how fast a run goes on, and who hears of it."""
_OF_NOW = ("output", "resume", "model.training_data", "model.credits")
"""What is as it is now; the latter two are gathered anew from what a run begins from."""
_PLACES = ("data.root", "init")
_WHOLE = ("model.arguments", "model.classes")
"""Sections whose keys are free."""
_MOST_NAMED = 3


def resumed(
    config: Config | ClassifierRunConfig, task: str, overrides: Sequence[str]
) -> Config | ClassifierRunConfig:
    """The configuration of a run that goes on: what it was begun with, and what is said anew.

    Args:
        config: as composed of the overrides.
        task: of the run.
        overrides: what the user says; what is not among them stays as it was.

    Raises:
        SpecError: something is said that would make another run of it.
        InputError: the settings in its folder cannot be read.
    """
    from omegaconf import OmegaConf

    path = Path(config.output) / SETTINGS
    if not path.is_file():
        return config  # nothing to resume, as is told later
    try:
        begun = dict(_leaves(_plain(OmegaConf.load(path))))
    except Exception as error:  # of the file system, or of the parser
        raise InputError(
            f"{path} cannot be read: {' '.join(str(error).split())[:120]}",
            hint="choose name=ANOTHER to begin a new run",
        ) from error
    default = dict(_leaves(composed_values(task, [])))
    now = dict(_leaves(composed_values(task, overrides)))
    said = {text.lstrip("+").partition("=")[0] for text in overrides}
    changed, kept = [], {}
    for key, value in now.items():
        if key not in begun or key in _OF_NOW or _same(key, value, begun[key]):
            continue
        if value == default.get(key) and key not in said:
            kept[key] = begun[key]
        elif key.partition(".")[0] not in _MAY_CHANGE:
            changed.append(f"{key} was {begun[key]}, now {value}")
    if changed:
        more = f" and {len(changed) - _MOST_NAMED} more" if len(changed) > _MOST_NAMED else ""
        raise SpecError(
            f"{config.output} was begun with other settings: "
            f"{'; '.join(changed[:_MOST_NAMED])}{more}",
            hint=f"leave them out to go on; name=ANOTHER init={config.output}/model begins a run "
            "from its weights",
        )
    values = OmegaConf.structured(config)
    for key, value in kept.items():
        OmegaConf.update(values, key, value, merge=False, force_add=True)
    found = OmegaConf.to_object(values)
    assert isinstance(found, Config | ClassifierRunConfig)
    return found


def _plain(config: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    return dict(OmegaConf.to_container(config, enum_to_str=True))  # type: ignore[arg-type]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything that is no section."""
    for key, value in values.items():
        if isinstance(value, Mapping) and f"{prefix}{key}" not in _WHOLE:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _same(key: str, one: Any, other: Any) -> bool:
    if key in _PLACES and isinstance(one, str) and isinstance(other, str):
        return Path(one).absolute() == Path(other).absolute()
    return bool(one == other)
