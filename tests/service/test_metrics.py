"""What is counted is what happened, and a real Prometheus finds everything it is asked for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from geotiler.models.bundle import Bundle
from geotiler.service.settings import Settings

from .conftest import live, wait

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "geotiler.json").read_text("utf-8"))


def _values(service: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = service.get("/metrics").text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _sum(values: dict[Any, float], name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(v for (found, with_), v in values.items() if found == name and wanted <= with_)


def test_counts_agree_with_what_was_asked(service: TestClient, scene: Path) -> None:
    before = _values(service)
    for _ in range(3):
        answer = service.post("/predict", files={"file": scene.read_bytes()}).json()
    service.post("/predict", files={"file": b"no image"})
    service.get("/no/such/route")
    wait(service, service.post("/batch", files={"file": scene.read_bytes()}).headers["Location"])
    after = _values(service)

    def rise(name: str, **labels: str) -> float:
        return _sum(after, name, **labels) - _sum(before, name, **labels)

    by_route = {"route": "/predict", "method": "POST", "model": "tiny"}
    assert rise("geotiler_requests_total", status="200", **by_route) == 3
    assert rise("geotiler_requests_total", status="422", **by_route) == 1
    assert rise("geotiler_requests_total", status="404", route="other") == 1
    assert rise("geotiler_request_seconds_count", **by_route) == 4
    assert rise("geotiler_pixels_total", model="tiny") == 4 * 150 * 170
    assert rise("geotiler_batch_tiles_sum", model="tiny") == 4
    assert rise("geotiler_inference_seconds_count", model="tiny") == 4
    assert rise("geotiler_predicted_fraction_count", model="tiny") == 4
    valid = answer["class_px"]["background"] + answer["class_px"]["building"]
    share = answer["class_px"]["building"] / valid
    assert rise("geotiler_predicted_fraction_sum") == pytest.approx(4 * share)
    assert 0.5 <= rise("geotiler_confidence_sum") / rise("geotiler_confidence_count") <= 1
    assert rise("geotiler_jobs_finished_total", state="done") == 1
    assert _sum(after, "geotiler_jobs", state="done") == 1
    assert _sum(after, "geotiler_queue_depth", queue="requests") == 0
    assert _sum(after, "geotiler_model_load_seconds", model="tiny") > 0
    assert _sum(after, "process_resident_memory_bytes") > 1e6


def test_no_label_is_taken_from_a_caller(service: TestClient) -> None:
    before = len(_values(service))
    for index in range(30):
        service.get(f"/unknown/{index}")
        service.get(f"/jobs/{index:032x}")
        service.post(f"/predict?model=m{index}", content=b"")
        service.request(f"VERB{index}", "/models")
    labels = {key: value for _, with_ in _values(service) for key, value in with_}
    assert "m3" not in labels.values()
    assert len(_values(service)) - before < 120


# A real Prometheus


def _queries() -> list[tuple[str, str]]:
    """(where it is from, expression) of the dashboard's queries, and of every rule's quantity."""
    found = []
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "1m")
            found.append((f"panel {panel['title']} {target['refId']}", expression))
    for rule in RULES["groups"][0]["rules"]:
        name = rule.get("record") or rule["alert"]
        found.append((name, re.split(r" [<>] [\d.e]+$", rule["expr"])[0]))
    return found


def test_every_alert_compares_a_quantity() -> None:
    for rule in RULES["groups"][0]["rules"]:
        if "alert" in rule:
            assert re.search(r" [<>] [\d.e]+$", rule["expr"]), rule["alert"]
            assert rule["annotations"]["summary"]


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        box = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(box["x"], box["x"] + box["w"])
            for y in range(box["y"], box["y"] + box["h"])
        }
        assert box["x"] + box["w"] <= 24
        assert not taken & cells
        taken |= cells


def test_what_dashboard_and_rules_ask_for_exists(service: TestClient, scene: Path) -> None:
    """Every metric name in a query is exposed or recorded."""
    service.post("/predict", files={"file": scene.read_bytes()})
    known = {name for name, _ in _values(service)}
    known |= {rule["record"] for rule in RULES["groups"][0]["rules"] if "record" in rule} | {"up"}
    for where, expression in _queries():
        bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|by \([^)]*\)", "", expression)
        for name in re.findall(r"\b(?:geotiler|process)[a-z_:0-9]+|\bup\b", bare):
            assert name in known, f"{where}: {name}"


@pytest.fixture(scope="module")
def prometheus(
    tiny_bundle: Bundle, scene: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a Prometheus that scrapes a running service, with the rules of deploy/."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no Prometheus on this machine; `make test-system` installs one")
    folder = tmp_path_factory.mktemp("prometheus")
    settings = Settings(weights=tiny_bundle.folder.parent, model="tiny", folder=folder / "serve")
    with live(settings) as service:
        config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["scrape_configs"] = [
            {**job, "static_configs": [{"targets": [f"127.0.0.1:{service.port}"]}]}
            for job in config["scrape_configs"]
            if job["job_name"] == "geotiler"
        ]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        shutil.copy(DEPLOY / "prometheus" / "rules.yml", folder)
        port = service.port + 1 if service.port < 65_000 else service.port - 1
        process = subprocess.Popen(
            [
                program, f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
            ],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            for _ in range(8):
                _send(service.url, scene)
                time.sleep(1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _send(url: str, scene: Path) -> None:
    request = urllib.request.Request(
        f"{url}/predict", scene.read_bytes(), {"Content-Type": "image/tiff"}
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        assert answer.status == 200


def _result(prometheus: str, expression: str) -> list[Any]:
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{prometheus}/api/v1/query?{query}", timeout=60) as answer:
        return list(json.load(answer)["data"]["result"])


@pytest.mark.slow
@pytest.mark.parametrize(("where", "expression"), _queries(), ids=[name for name, _ in _queries()])
def test_a_real_prometheus_has_data_for_it(prometheus: str, where: str, expression: str) -> None:
    for _ in range(60):
        found = _result(prometheus, expression)
        if found and all(one["value"][1] != "NaN" for one in found):
            return
        time.sleep(1)
    raise AssertionError(f"{where}: {found}")


@pytest.mark.slow
def test_every_rule_is_evaluated_without_an_error(prometheus: str) -> None:
    for _ in range(60):
        with urllib.request.urlopen(f"{prometheus}/api/v1/rules", timeout=60) as answer:
            rules = json.load(answer)["data"]["groups"][0]["rules"]
        if all(rule["health"] == "ok" for rule in rules):
            break
        time.sleep(1)
    assert {rule["name"]: rule["health"] for rule in rules} == {
        rule.get("record") or rule["alert"]: "ok" for rule in RULES["groups"][0]["rules"]
    }
    firing = [rule["name"] for rule in rules if rule.get("state") == "firing"]
    assert firing == []
