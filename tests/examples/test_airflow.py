"""The example of scheduled retraining: real commands, and a graph that Airflow itself has read."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

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
            words = shlex.split(re.sub(r"\{\{.*?\}\}", "X", text))
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


@pytest.mark.slow
def test_airflow_reads_the_graph(tmp_path: Path) -> None:
    if not AIRFLOW.is_file():
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
