"""A task's configuration from configs/ and overrides, composed by Hydra, and what it offers."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from geotiler.errors import SpecError
from geotiler.resources import configs_dir
from geotiler.training.classification_config import ClassifierRunConfig
from geotiler.training.config import Config

_SCHEMAS: dict[str, type] = {"schema": Config, "classifier_schema": ClassifierRunConfig}
"""What a task's file may name first in its defaults."""
SHORT = "finetune"
"""Option of the group `train` for runs that begin from finished weights."""
_FREE = "model.arguments"
"""Section whose keys are the architecture's own."""
_EXAMPLE = "overrides look like train.optimizer.lr=5e-4 or model=linknet"


def task_names() -> list[str]:
    """The tasks that configs/ knows."""
    return sorted(path.stem for path in configs_dir().glob("*.yaml"))


def group_options(task: str) -> dict[str, list[str]]:
    """Group → its options that fit a task: the folders of configs/ and their files.

    Raises:
        SpecError: no such task.
    """
    from omegaconf import OmegaConf

    composed = _composed(task, [])
    options: dict[str, list[str]] = {}
    for group, names in _options(task).items():
        options[group] = []
        for name in sorted(names):
            content: Any = OmegaConf.load(configs_dir() / group / f"{name}.yaml")
            keys = (OmegaConf.to_container(content) or {}).keys()
            if keys - {"defaults"} <= composed[group].keys():
                options[group].append(name)
    return options


def compose(task: str, overrides: Sequence[str]) -> Config | ClassifierRunConfig:
    """The configuration of a task with the command line's overrides applied.

    Which of the two schemas it has is said by the `defaults` of the task's file.

    Raises:
        SpecError: no such task, or an override that fits nothing; names what is nearest to it.
    """
    from omegaconf import OmegaConf

    config = OmegaConf.to_object(_composed(task, overrides))
    assert isinstance(config, Config | ClassifierRunConfig)
    return config


def composed_text(task: str, overrides: Sequence[str]) -> str:
    """The composed configuration as YAML. Raises: SpecError: as `compose`."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(_composed(task, overrides))


def composed_values(task: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The composed configuration as nested values. Raises: SpecError: as `compose`."""
    from omegaconf import OmegaConf

    values: Any = OmegaConf.to_container(_composed(task, overrides), enum_to_str=True)
    return dict(values)


def begins_short(task: str, overrides: Sequence[str]) -> bool:
    """Whether a run is a short one because of `init`, which nothing else says to be a long one.

    Finished weights are there to be fitted to a few chips; what a task's file names is the run
    that makes weights.
    """
    texts = dict(text.lstrip("+").partition("=")[::2] for text in overrides)
    has_init = texts.get("init", "null") not in ("", "null")
    return has_init and "train" not in texts and SHORT in _options(task).get("train", ())


def _options(task: str) -> dict[str, set[str]]:
    """Group → names of its files, of the groups that a task's file names."""
    from omegaconf import OmegaConf

    path = configs_dir() / f"{task}.yaml"
    content: Any = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    groups = [next(iter(item)) for item in content.get("defaults", ()) if isinstance(item, dict)]
    return {group: {p.stem for p in (configs_dir() / group).glob("*.yaml")} for group in groups}


def _composed(task: str, overrides: Sequence[str]) -> Any:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if task not in task_names():
        near = _nearest(task, task_names())
        raise SpecError(
            f"no training task {task!r}" + (f", did you mean {near}?" if near else ""),
            hint=f"tasks: {', '.join(task_names())}; {_EXAMPLE}",
        )
    for name, node in _SCHEMAS.items():
        ConfigStore.instance().store(name=name, node=node)
    readable = _with_texts_quoted(task, overrides)
    if begins_short(task, overrides):
        readable.append(f"train={SHORT}")
    try:
        with initialize_config_dir(config_dir=str(configs_dir()), version_base="1.3"):
            composed = hydra_compose(config_name=task, overrides=readable)
            OmegaConf.resolve(composed)
            OmegaConf.to_object(composed)  # every value has its type
            return composed
    except (HydraException, OmegaConfBaseException) as fault:
        wrong = _misspelt(task, overrides)
        if wrong is not None:
            raise wrong from None
        reasons = [str(each).strip().splitlines()[0] for each in (fault, fault.__cause__) if each]
        text = getattr(fault, "override", None)  # of one that cannot even be parsed
        start = [f"override {text!r} cannot be read"] if text else []
        raise SpecError(": ".join(dict.fromkeys(start + reasons)), hint=_EXAMPLE) from fault


def _with_texts_quoted(task: str, overrides: Sequence[str]) -> list[str]:
    """Overrides whose texts Hydra reads as they stand: a folder may be called Höfe (2), or true."""
    from hydra.core.override_parser.types import Quote, QuotedString

    quoted = []
    for override in overrides:
        key, equals, text = override.partition("=")
        plain = key.strip().lstrip("+")
        if equals and _holds_text(task, plain) and not _is_for_hydra(plain, text):
            text = text.strip()
            if text.startswith("~/"):  # shells leave it behind key=
                text = str(Path(text).expanduser())
            text = QuotedString(text=text, quote=Quote.single).with_quotes()
        quoted.append(f"{key}{equals}{text}")
    return quoted


def _is_for_hydra(key: str, text: str) -> bool:
    """Whether a text's value is more than a text: null, one in quotes, or an interpolation."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(f"{key}={text}")
    except HydraException:
        return False
    if parsed.is_sweep_override():
        return False
    value = parsed.value()
    is_quoted = text.strip()[:1] in ("'", '"') and isinstance(value, str)
    return value is None or is_quoted or (isinstance(value, str) and "${" in value)


@cache
def _schema_of(task: str) -> Any:
    """The class that a task's configuration has the keys of."""
    from omegaconf import OmegaConf

    return OmegaConf.get_type(_composed(task, []))


def _holds_text(task: str, key: str) -> bool:
    """Whether a key of a task's schema takes a text."""
    kind = _schema_of(task)
    for name in key.split("."):
        if not is_dataclass(kind):
            return False
        kind = get_type_hints(kind).get(name)
    return kind in (str, str | None)


def _misspelt(task: str, overrides: Sequence[str]) -> SpecError | None:
    """The first override that names no key, or no option of a group; None: all do."""
    if not overrides:
        return None
    groups = group_options(task)
    known = set(known_keys(_composed(task, [])))
    for text in overrides:
        key, _, value = text.partition("=")
        plain = key.lstrip("+~").partition("@")[0].strip()
        if plain in groups:
            if value in groups[plain] or not value or value[0] in "{[":
                continue
            near = _nearest(value, groups[plain])
            return SpecError(
                f"no {plain} {value!r}" + (f", did you mean {plain}={near}?" if near else ""),
                hint=f"{plain} is one of {', '.join(groups[plain])}",
            )
        if plain in known or key.startswith("+"):
            continue
        if plain.startswith(f"{_FREE}."):
            return SpecError(
                f"the architecture is not given {plain.removeprefix(_FREE)[1:]!r} yet",
                hint=f"+{text} adds an argument",
            )
        near = _nearest(plain, sorted(known | groups.keys()))
        return SpecError(
            f"no setting {plain!r}" + (f", did you mean {near}?" if near else ""),
            hint=f"geotiler train {task} --cfg shows all of them",
        )
    return None


def known_keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Dotted keys of a configuration, sections included."""
    for key in node:
        yield f"{prefix}{key}"
        value = None if _is_missing(node, key) else node[key]
        if isinstance(value, Mapping) or hasattr(value, "keys"):
            yield from known_keys(value, f"{prefix}{key}.")


def _is_missing(node: Any, key: str) -> bool:
    from omegaconf import OmegaConf

    return bool(OmegaConf.is_missing(node, key))


def _nearest(wrong: str, known: Sequence[str]) -> str | None:
    """What was probably meant: the words of the path count as much as the path."""

    def likeness(candidate: str) -> float:
        whole = difflib.SequenceMatcher(None, wrong, candidate).ratio()
        last = [text.rpartition(".")[2] for text in (wrong, candidate)]
        return (whole + difflib.SequenceMatcher(None, *last).ratio()) / 2

    best = max(known, key=likeness, default=None)
    return best if best is not None and likeness(best) >= 0.6 else None
