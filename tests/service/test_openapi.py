"""Whatever the description of the API allows: never a 500."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from geotiler.models.bundle import Bundle
from geotiler.service.settings import Settings

from .conftest import Live, live

OPERATIONS = [
    "POST /predict", "POST /classify", "POST /batch", "GET /jobs", "GET /jobs/{job_id}",
    "DELETE /jobs/{job_id}", "GET /jobs/{job_id}/scenes/{scene}/{file}", "GET /healthz",
    "GET /readyz", "GET /metrics",
    "GET /models", "POST /models/reload",
]  # fmt: skip


@pytest.fixture(scope="module")
def running(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder: Path = tmp_path_factory.mktemp("serve")
    with live(
        Settings(weights=tiny_bundle.folder.parent, model="tiny", folder=folder, jobs_queued=10_000)
    ) as service:
        yield service


@pytest.fixture(scope="module")
def schema(running: Live) -> Any:
    return schemathesis.openapi.from_url(f"{running.url}/openapi.json")


def test_every_operation_is_described(schema: Any) -> None:
    assert {operation.ok().label for operation in schema.get_all_operations()} == set(OPERATIONS)


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("label", OPERATIONS)
def test_no_request_is_a_defect(schema: Any, label: str, mode: GenerationMode) -> None:
    """Requests that fit the description, and ones that break it somewhere."""
    (operation,) = (o.ok() for o in schema.get_all_operations() if o.ok().label == label)
    seen: list[int] = []

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=25, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def ask(case: Any) -> None:
        answer = case.call(timeout=120)
        seen.append(answer.status_code)
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert answer.headers["content-type"][0] == "application/problem+json"

    try:
        ask()
    except Exception as error:
        if "Unsatisfiable" not in type(error).__name__ or seen:
            raise
        pytest.skip("nothing of this operation can break its description")
    assert seen
