"""Retrain every week, and serve the new model only if it is better on scenes held out.

    tile → train → segment → evaluate → promote → reload
                   (both models)        (if better)

For Airflow 3. geotiler is called by its commands, in an environment of its own: GEOTILER is the
path of the command. Nothing here imports geotiler, so Airflow's packages and its own never meet.
A task that is run again, by `retries` or by hand, goes on from what it left in the run's folder.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Param, TaskGroup

GEOTILER = "{{ params.geotiler }}"
RUN = "{{ params.folder }}/{{ ds_nodash }}"
"""Everything that one run of the DAG makes."""


def command(task_id: str, text: str, **more: object) -> BashOperator:
    """A task that runs a command in the folder of the run; a failing part of it fails the task."""
    script = f"set -euo pipefail; mkdir -p {RUN}; cd {RUN}; {text}"
    return BashOperator(task_id=task_id, bash_command=script, **more)


with DAG(
    dag_id="geotiler_retrain",
    description="Tile, train, evaluate on held-out scenes, promote if better, reload the service.",
    schedule="@weekly",
    start_date=datetime(2026, 1, 5),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 1, "retry_delay": timedelta(minutes=10)},
    tags=["geotiler"],
    params={
        "geotiler": Param("geotiler", type="string", description="The command."),
        "folder": Param("/var/lib/geotiler/retrain", type="string"),
        "scenes": Param("/data/train/*.tif", type="string", description="To learn from."),
        "labels": Param("/data/train/buildings.gpkg", type="string"),
        "overrides": Param(
            None, type=["null", "string"], description="More of train, as train.steps=300."
        ),
        "held_out": Param("/data/held_out/scene.tif", type="string", description="Never learnt."),
        "truth": Param("/data/held_out/buildings.gpkg", type="string"),
        "weights": Param("/var/lib/geotiler/weights", type="string"),
        "model": Param("buildings", type="string", description="Name that the service serves."),
        "service": Param("http://localhost:8000", type="string"),
    },
) as dag:
    tile = command(
        "tile",
        f"{GEOTILER} tile {{{{ params.scenes }}}} --labels {{{{ params.labels }}}} -o chips --json",
    )
    train = command(
        "train",
        "[ -f run/last.ckpt ] && resume=--resume || resume=; "
        f"{GEOTILER} train buildings train=finetune data=chips data.root=chips output=run"
        " init={{ params.weights }}/{{ params.model }} {{ params.overrides or '' }} $resume",
        execution_timeout=timedelta(days=2),
    )
    with TaskGroup("held_out") as held_out:
        for which, model in (
            ("candidate", "run/model"),
            ("current", "{{ params.weights }}/{{ params.model }}"),
        ):
            segment = command(
                f"segment_{which}",
                f"{GEOTILER} segment {{{{ params.held_out }}}} -o {which}.tif --model {model}"
                " --overwrite --quiet",
            )
            evaluate = command(
                f"evaluate_{which}",
                f"{GEOTILER} evaluate {which}.tif --truth {{{{ params.truth }}}} --json"
                f" > {which}.json",
            )
            segment >> evaluate
    promote = command(
        "promote",
        f"{GEOTILER} models promote run --weights {{{{ params.weights }}}}"
        " --name {{ params.model }} --if-better iou --scores candidate.json current.json --json",
    )
    reload = command(
        "reload",
        'curl --fail --silent --show-error --request POST --header "X-API-Key: $GEOTILER_KEY"'
        " {{ params.service }}/models/reload",
        env={"GEOTILER_KEY": "{{ var.value.get('geotiler_key', '') }}"},
        append_env=True,
    )
    tile >> train >> held_out >> promote >> reload
