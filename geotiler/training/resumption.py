"""A run that goes on: with the settings that it was begun with, which it keeps in config.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from omegaconf import MISSING

from geotiler.errors import InputError, ModelError, OutputError, SpecError
from geotiler.models.registry import find_model
from geotiler.training.classification_config import ClassifierRunConfig
from geotiler.training.compose import compose
from geotiler.training.config import Config

SETTINGS = "config.yaml"
"""What a run keeps its composed configuration in."""
LAST = "last.ckpt"
"""Checkpoint of its last finished epoch."""

_FREE = ("model.arguments", "model.classes")
"""Sections whose keys are no settings of their own."""
_LISTS = ("train.txt", "val.txt")


class _Placed(Protocol):
    output: str
    resume: bool


def check_folder(config: _Placed) -> None:
    """Whether a run may begin in its folder, or go on there.

    Raises:
        InputError: nothing is there to resume.
        OutputError: the folder holds another run, and `resume` is off.
    """
    folder = Path(config.output)
    for name in (LAST, SETTINGS) if config.resume else ():
        if not (folder / name).is_file():
            raise InputError(f"nothing to resume: no {folder / name}", hint="leave --resume out")
    if not config.resume and ((folder / LAST).is_file() or (folder / "model").exists()):
        raise OutputError(
            f"{folder} holds another run", hint="go on with --resume, or choose name=ANOTHER"
        )


def resumed(
    config: Config | ClassifierRunConfig, task: str, overrides: Sequence[str]
) -> Config | ClassifierRunConfig:
    """The configuration of a run that goes on: what is said anew, all else as it was begun with.

    What would make another run of it may not be said: its curve and its best weights would be of
    two kinds.

    Args:
        config: as composed of the overrides.
        task: of the command line.
        overrides: what is said there, values and groups.

    Raises:
        SpecError: another task, loss, data set, or other weights to begin from.
        InputError: the settings in its folder cannot be read.
    """
    from omegaconf import OmegaConf

    folder = Path(config.output)
    path = folder / SETTINGS
    said = {text.lstrip("+~").partition("=")[0].strip() for text in overrides}
    now = _plain(OmegaConf.structured(config))
    try:
        begun = _plain(OmegaConf.load(path))
        schema = OmegaConf.structured(type(config))
        merged = _merged(now, begun, said, _plain(schema))
        found = OmegaConf.to_object(OmegaConf.merge(schema, merged))
    except Exception as error:  # of the file system, the parser, or a value of the wrong kind
        raise InputError(
            f"{path} cannot be read: {' '.join(str(error).split())[:120]}",
            hint="choose name=ANOTHER to begin a new run",
        ) from error
    assert isinstance(found, Config | ClassifierRunConfig)
    if begun.get("task", found.task) != config.task:
        raise SpecError(
            f"{folder} is a run of {begun['task']}, not of {task}",
            hint=f"geotiler train {begun['task']} name={config.name} --resume",
        )
    _check_same(folder, begun, _plain(OmegaConf.structured(found)))
    if "train.steps" in said:  # which else would be counted by the epochs again
        found.train.epochs = None
    if "train.optimizer.lr" in said and isinstance(found, ClassifierRunConfig):
        found.train.lr = None
    return found


def resumed_values(task: str, overrides: Sequence[str]) -> dict[str, Any]:
    """`resumed` as nested values, of what a command line says.

    Raises:
        InputError: there is no run to go on with, or its settings cannot be read.
        SpecError: as `resumed` and `compose`.
    """
    from omegaconf import OmegaConf

    config = compose(task, overrides)
    check_folder(config)
    return _plain(OmegaConf.structured(resumed(config, task, overrides)))


def resumed_text(task: str, overrides: Sequence[str]) -> str:
    """`resumed_values` as YAML. Raises: as they do."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(resumed_values(task, overrides)))


def _plain(config: Any) -> dict[str, Any]:
    """Raises: ValueError: not the sections of a configuration."""
    from omegaconf import OmegaConf

    values: Any = OmegaConf.to_container(config, enum_to_str=True)
    if not isinstance(values, dict) or "train" not in values:
        raise ValueError("it holds no configuration")
    return values


def _merged(
    now: Mapping[str, Any],
    begun: Mapping[str, Any],
    said: set[str],
    schema: Mapping[str, Any],
    prefix: str = "",
) -> dict[str, Any]:
    """What is said anew; all else as it was, or as it is by default where there was no such thing.

    A group may set what the version did not know that a run was begun with.
    """
    values = {}
    for key, value in now.items():
        path = f"{prefix}{key}"
        is_part_said = any(name.startswith(f"{path}.") for name in said)
        before, default = begun.get(key), schema.get(key, MISSING)
        if path in said or path in ("output", "resume"):
            values[key] = value
        elif isinstance(value, Mapping) and path not in _FREE and (before or key not in begun):
            inner = default if isinstance(default, Mapping) else {}
            values[key] = _merged(value, before or {}, said, inner, f"{path}.")
        elif key in begun:
            values[key] = value if is_part_said else before
        else:
            values[key] = value if is_part_said or default == MISSING else default
    return values


def _check_same(folder: Path, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises: SpecError: what goes on is another run."""
    changed = []
    for name, value in dict(now.get("loss") or {}).items():
        before = dict(begun.get("loss") or {}).get(name, value)
        if before != value:
            changed.append(f"loss.{name} was {before}, now {value}")
    if not _same_model(begun.get("init"), now.get("init")):
        changed.append(f"init was {begun.get('init')}, now {now.get('init')}")
    before, root = (dict(each.get("data") or {}).get("root") for each in (begun, now))
    if before != root and _lists(before) and _lists(root) and _lists(before) != _lists(root):
        changed.append(f"data.root was {before}, now {root}")
    if changed:
        hint = "leave it out to go on"
        if (folder / "model" / "card.json").is_file():
            hint += f"; name=ANOTHER init={folder}/model begins a run from its weights"
        raise SpecError(
            f"{folder} was begun with other settings: {'; '.join(changed[:3])}", hint=hint
        )


def _same_model(one: Any, other: Any) -> bool:
    """Whether two names, of which one or both may be None, stand for one model."""
    if one == other:
        return True
    if not (one and other):
        return False
    with suppress(ModelError):
        return find_model(str(one)).digest == find_model(str(other)).digest
    return False


def _lists(root: Any) -> list[bytes]:
    """The split lists of a data set, as far as it is there: it may have been moved."""
    paths = [Path(str(root)) / name for name in _LISTS]
    return [path.read_bytes() for path in paths if path.is_file()]
