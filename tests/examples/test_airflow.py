"""The example of scheduled retraining: real commands, and a graph that Airflow itself has read."""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from geotiler.models.bundle import Bundle

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "airflow" / "retrain.py"
AIRFLOW = Path(os.environ.get("GEOTILER_AIRFLOW", ROOT / ".make" / "airflow" / "bin" / "python"))

READ = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(dag_folder=sys.argv[1])
assert not bag.import_errors, bag.import_errors
(dag,) = bag.dags.values()
print("RESULT" + json.dumps({
    "id": dag.dag_id, "catchup": dag.catchup, "active": dag.max_active_runs,
    "tasks": {t.task_id: sorted(t.downstream_task_ids) for t in dag.tasks},
    "commands": {t.task_id: t.bash_command for t in dag.tasks},
    "params": {key: value for key, value in dag.params.dump().items()},
}))
"""


def _commands() -> list[list[str]]:
    """The words of every geotiler command of the example, placeholders filled in."""
    tree = ast.parse(EXAMPLE.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "command":
            text = eval(
                ast.unparse(node.args[1]), {"GEOTILER": "geotiler", "which": "w", "model": "m"}
            )
            for part in re.sub(r"\{\{.*?\}\}", "X", text).split("; "):
                words = shlex.split(part)
                if words[0] == "geotiler":
                    found.append(words[1:])
    return found


def test_every_command_of_the_example_exists_with_its_flags() -> None:
    import typer

    from geotiler.cli.main import app

    commands = _commands()
    assert sorted(words[0] for words in commands) == [
        "evaluate", "models", "segment", "tile", "train",
    ]  # fmt: skip
    for words in commands:
        command: Any = typer.main.get_command(app)
        rest = list(words)
        while hasattr(command, "commands"):
            command = command.commands[rest.pop(0)]
        flags = {flag for item in command.params for flag in item.opts}
        for word in rest:
            if word.startswith("-"):
                assert word in flags, f"{command.name} has no flag {word}"


def test_nothing_of_geotiler_is_imported_into_airflow() -> None:
    tree = ast.parse(EXAMPLE.read_text(encoding="utf-8"))
    names = {
        alias.name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert {name.split(".")[0] for name in names} == {"__future__", "datetime", "airflow"}


class _Recorded:
    """What stands in for everything of Airflow: a block, an edge of the graph, a task."""

    tasks: dict[str, str]

    def __init__(self, *_: Any, task_id: str = "", bash_command: str = "", **more: Any) -> None:
        self.params = more.get("params", {})
        if task_id:
            self.tasks[task_id] = bash_command

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __rshift__(self, other: Any) -> Any:
        return other


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, str], dict[str, Any]]:
    """Task → bash command in the order of the source, and the parameters with their defaults."""
    tasks: dict[str, str] = {}
    monkeypatch.setattr(_Recorded, "tasks", tasks, raising=False)
    for name in ("airflow", "airflow.sdk", "airflow.providers", "airflow.providers.standard",
                 "airflow.providers.standard.operators",
                 "airflow.providers.standard.operators.bash"):  # fmt: skip
        module = types.ModuleType(name)
        for kind in ("DAG", "TaskGroup", "BashOperator"):
            setattr(module, kind, _Recorded)
        module.Param = lambda default, **_: default  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    dag = runpy.run_path(str(EXAMPLE))["dag"]
    return tasks, dag.params


GEOTILER = "from geotiler.cli.main import run; run()"
SMALL = (
    "train.steps=4 train.steps_per_epoch=2 train.batch=2 train.crop_px=64 train.workers=0"
    " train.scheduler.warmup_steps=1 train.precision=32-true"
)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="the tasks are lines of bash")
def test_the_commands_run_from_a_scene_to_a_model_that_is_served(
    recorded: tuple[dict[str, str], dict[str, Any]], tiny_bundle: Bundle, tmp_path: Path
) -> None:
    """Each in a shell of its own as Airflow's; what is run again goes on."""
    import jinja2

    from geotiler.models.bundle import open_bundle
    from geotiler.specs import RenderSpec
    from geotiler.tasks.render import render

    tasks, params = recorded
    for name, side_px, seed in (("town", 512, 7), ("held_out", 256, 8)):
        truth = tmp_path / f"{name}.geojson"
        render(
            RenderSpec(
                output=tmp_path / f"{name}.tif",
                truth=truth,
                height=side_px,
                width=side_px,
                seed=seed,
            )
        )
    weights = tmp_path / "weights"
    shutil.copytree(tiny_bundle.folder, weights / params["model"])
    params |= {
        "geotiler": shlex.join([sys.executable, "-c", GEOTILER]),
        "folder": str(tmp_path / "retrain"),
        "scenes": str(tmp_path / "tow*.tif"),
        "labels": str(tmp_path / "town.geojson"),
        "overrides": SMALL,
        "held_out": str(tmp_path / "held_out.tif"),
        "truth": str(tmp_path / "held_out.geojson"),
        "weights": str(weights),
    }
    environment = {**os.environ, "GEOTILER_TILE_TILE": "128", "GEOTILER_TILE_OVERLAP": "0"}

    def run(task: str, **changes: str) -> str:
        values = {**params, **changes}
        line = jinja2.Template(tasks[task]).render(params=values, ds_nodash="20260105")
        done = subprocess.run(
            ["bash", "-c", line], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{task}: {done.stderr[-2000:]}"
        return done.stdout

    folder = tmp_path / "retrain" / "20260105"
    order = list(tasks)
    assert order[-2:] == ["promote", "reload"]
    for task in order[: order.index("promote")]:
        if task == "train":
            assert "--resume" not in run(task, geotiler="echo").split()
        printed = run(task)
        if task == "train":
            assert "--resume" in run(task, geotiler="echo").split()
        if task == "tile":
            assert json.loads(run(task))["resumed"] == json.loads(printed)["chips"]
    trained = open_bundle(folder / "run" / "model")
    assert trained.card.arguments["encoder_depth"] == 3, "it began from the weights that serve"
    said = json.loads(run("promote"))
    scores = [json.loads((folder / f"{w}.json").read_text()) for w in ("candidate", "current")]
    assert [said["candidate"], said["current"]] == [score["iou"] for score in scores]
    assert said["promoted"] == (said["candidate"] > said["current"])
    served = open_bundle(weights / params["model"])
    assert served.digest == (trained if said["promoted"] else tiny_bundle).digest


@pytest.mark.slow
def test_airflow_reads_the_graph(tmp_path: Path) -> None:
    if not AIRFLOW.with_name("airflow").is_file():  # beside a Python that is there before it
        pytest.skip("no environment with Airflow; `make test-system` makes one")
    environment = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    done = subprocess.run(
        [str(AIRFLOW), "-c", READ, str(EXAMPLE.parent)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    dag = json.loads(line.removeprefix("RESULT"))
    assert dag["id"] == "geotiler_retrain"
    assert (dag["catchup"], dag["active"]) == (False, 1)
    ahead = dag["tasks"]
    assert ahead["tile"] == ["train"]
    assert ahead["train"] == ["held_out.segment_candidate", "held_out.segment_current"]
    for which in ("candidate", "current"):
        assert ahead[f"held_out.segment_{which}"] == [f"held_out.evaluate_{which}"]
        assert ahead[f"held_out.evaluate_{which}"] == ["promote"]
    assert ahead["promote"] == ["reload"]
    assert ahead["reload"] == []
    named = set(re.findall(r"params\.(\w+)", " ".join(dag["commands"].values())))
    assert named == dag["params"].keys()
