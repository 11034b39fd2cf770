"""Whatever the description of the API allows: never a 500."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error

from geotiler.models.bundle import Bundle
from geotiler.service.settings import Settings

from .conftest import Live, live, wait  # noqa: F401


@pytest.fixture(scope="module")
def running(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder: Path = tmp_path_factory.mktemp("serve")
    with live(
        Settings(weights=tiny_bundle.folder.parent, model="tiny", folder=folder, jobs_queued=10_000)
    ) as service:
        yield service


@pytest.fixture
def schema(running: Live) -> Any:
    return schemathesis.openapi.from_url(f"{running.url}/openapi.json")


described = schemathesis.pytest.from_fixture("schema")


@pytest.mark.slow
@described.parametrize()
@settings(
    max_examples=15, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_no_request_is_a_defect(case: Any) -> None:
    case.call_and_validate(checks=[not_a_server_error], timeout=120)
