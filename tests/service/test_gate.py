"""Who may enter, how many, and what may be opened for them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.testclient import TestClient

from geotiler import errors
from geotiler.errors import GeotilerError, InputError, SpecError
from geotiler.service.app import create_app
from geotiler.service.logs import JsonLines
from geotiler.service.negotiation import preferred
from geotiler.service.options import BatchQuery, ClassifyQuery
from geotiler.service.problems import PARAMETERS, STATUS_OF_EXIT_CODE, Problem, problem_of
from geotiler.service.settings import Settings
from geotiler.service.slots import Slots
from geotiler.service.sources import allowed_source

from .conftest import KEY, wait

MakeService = Callable[..., TestClient]


# Keys


def test_without_a_key_only_this_machine_is_served() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(SpecError, match="API key"):
            create_app(Settings(host=host))


@pytest.mark.parametrize("header", [("Authorization", f"Bearer {KEY}"), ("X-API-Key", KEY)])
def test_a_key_opens_and_nothing_else_does(
    make_service: MakeService, header: tuple[str, str]
) -> None:
    service = make_service(api_keys=(SecretStr("another-key-of-this-service"), SecretStr(KEY)))
    for path in ("/models", "/jobs"):
        assert service.get(path).status_code == 401
        assert service.get(path, headers={header[0]: header[1] + "x"}).status_code == 401
        assert service.get(path, headers={header[0]: header[1][:-1]}).status_code == 401
        assert service.get(path, headers={header[0]: ""}).status_code == 401
        assert service.get(path, headers=dict([header])).status_code == 200
    assert service.post("/predict", content=b"").status_code == 401
    assert service.post("/models/reload").status_code == 401
    for path in ("/healthz", "/readyz", "/metrics", "/docs", "/redoc", "/openapi.json", "/"):
        assert service.get(path).status_code == 200


def test_a_job_belongs_to_its_key(make_service: MakeService, scene: Path) -> None:
    other = "another-key-of-this-service"
    service = make_service(api_keys=(SecretStr(other), SecretStr(KEY)))
    mine, theirs = {"X-API-Key": KEY}, {"X-API-Key": other}
    made = service.post("/batch", files={"file": scene.read_bytes()}, headers=mine)
    href = made.headers["Location"]
    assert service.get(href, headers=theirs).status_code == 404
    assert service.delete(href, headers=theirs).status_code == 404
    assert service.get("/jobs", headers=theirs).json() == {"jobs": []}
    service.headers.update(mine)
    assert wait(service, href)["state"] == "done"


def test_pages_of_other_sites_may_not_use_a_service_without_keys(service: TestClient) -> None:
    foreign = {"Origin": "https://example.org"}
    assert service.post("/models/reload", headers=foreign).status_code == 403
    assert service.get("/models", headers={"Host": "evil.example.org"}).status_code == 421
    own = {"Origin": "http://localhost"}
    assert service.post("/models/reload", headers=own).status_code == 200


# Sources


@pytest.fixture(scope="module")
def open_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("open")
    (folder / "scene.tif").write_bytes(b"x")
    (folder.parent / "secret.tif").write_bytes(b"x")
    (folder / "link.tif").symlink_to(folder.parent / "secret.tif")
    (folder.parent / f"{folder.name}2").mkdir()
    (folder.parent / f"{folder.name}2" / "scene.tif").write_bytes(b"x")
    return folder


URL = "https://data.example.org:8443/open"


@pytest.mark.parametrize(
    "name",
    [
        "{folder}/../secret.tif", "{folder}/link.tif", "{folder}2/scene.tif", "{folder}",
        "scene.tif", "/etc/passwd", "/vsizip/{folder}/scene.tif", "/vsicurl/https://x/y.tif",
        "GTIFF_DIR:1:{folder}/scene.tif", "{folder}/none.tif", "{folder}/scene.tif\0", "",
        "file://{folder}/scene.tif", "https://data.example.org:8443@evil.org/open/a.tif",
        "https://data.example.org:8443.evil.org/open/a.tif", "http://data.example.org:8443/open/a",
        "https://data.example.org/open/a.tif", "https://data.example.org:8443/open/../a.tif",
        "https://data.example.org:8443/open/%2e%2e/a.tif", "https://data.example.org:8443/open2/a",
        "https://data.example.org:8443/open/%252e%252e/a.tif", "https://[::1]/open",
        "https://data.example.org:8443/open/..\\a.tif", "https://data.example.org:port/open/a",
        "https://u:p@data.example.org:8443/open/a.tif",
    ],
)  # fmt: skip
def test_places_that_nobody_allowed_are_not_opened(open_folder: Path, name: str) -> None:
    with pytest.raises(Problem) as refusal:
        allowed_source(name.format(folder=open_folder), [str(open_folder), URL])
    assert refusal.value.status == 403


def test_allowed_places_are_opened(open_folder: Path) -> None:
    prefixes = [str(open_folder), URL]
    path = open_folder / "scene.tif"
    assert allowed_source(str(path), prefixes) == str(path.resolve())
    assert allowed_source(f"{URL}/a/b.tif?v=1", prefixes) == f"{URL}/a/b.tif?v=1"
    with pytest.raises(Problem):
        allowed_source(str(path), [])


@given(text=st.text(max_size=40))
def test_no_text_leads_out_of_the_allowed_folder(open_folder: Path, text: str) -> None:
    for name in (text, f"{open_folder}/{text}"):
        try:
            found = allowed_source(name, [str(open_folder)])
        except Problem:
            continue
        assert Path(found).parent == open_folder.resolve()


def test_a_scene_that_may_not_be_read_is_403_and_no_job(service: TestClient, scene: Path) -> None:
    answer = service.post("/batch", json={"scenes": [str(scene)]})
    assert answer.status_code == 403
    assert service.get("/jobs").json() == {"jobs": []}
    for wrong in (
        {},
        {"scenes": []},
        {"scenes": [1]},
        {"scenes": "a"},
        [],
        {"scenes": ["a"], "b": 1},
    ):
        assert service.post("/batch", json=wrong).status_code == 422


# How many


def test_more_than_the_queue_holds_are_told_to_come_back() -> None:
    async def scenario() -> None:
        slots = Slots(running=2, queue=3)
        leave = asyncio.Event()
        most = 0

        async def request() -> None:
            nonlocal most
            async with slots.admission(), slots.turn():
                most = max(most, slots.computing)
                await leave.wait()

        inside = [asyncio.create_task(request()) for _ in range(5)]
        await asyncio.sleep(0.01)
        assert (slots.admitted, slots.computing, slots.waiting) == (5, 2, 3)
        with pytest.raises(Problem) as refusal:
            async with slots.admission():
                pass
        assert refusal.value.status == 429
        assert int(refusal.value.headers["Retry-After"]) >= 1
        leave.set()
        await asyncio.gather(*inside)
        assert (slots.admitted, slots.computing, most) == (0, 0, 2)
        async with slots.admission():
            pass

    asyncio.run(scenario())


def test_a_full_service_answers_429_and_recovers(
    make_service: MakeService, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from geotiler.service.work import Workbench

    service = make_service(running=1, queue=0)
    inside, leave = threading.Event(), threading.Event()
    real = Workbench.segmented

    def held(self: Workbench, *given: Any) -> Any:
        inside.set()
        leave.wait(60)
        return real(self, *given)

    monkeypatch.setattr(Workbench, "segmented", held)
    codes: list[int] = []

    def ask() -> None:
        codes.append(service.post("/predict", files={"file": scene.read_bytes()}).status_code)

    first = threading.Thread(target=ask)
    first.start()
    inside.wait(60)
    refused = service.post("/predict", files={"file": scene.read_bytes()})
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    leave.set()
    first.join()
    ask()
    assert codes == [200, 200]


def test_a_scene_that_takes_too_long_is_given_up(make_service: MakeService, scene: Path) -> None:
    service = make_service(time_s=1e-6)
    answer = service.post("/predict", files={"file": scene.read_bytes()})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]


def test_jobs_have_a_limit_too(make_service: MakeService, scene: Path) -> None:
    service = make_service(jobs_queued=1, scene_px=10)
    refused = service.post("/predict", files={"file": scene.read_bytes()})
    assert refused.status_code == 413
    assert "150×170" in refused.json()["detail"]


# Answers


@given(exit_code=st.sampled_from(sorted(STATUS_OF_EXIT_CODE)))
def test_every_error_of_geotiler_has_a_status(exit_code: int) -> None:
    assert 400 <= STATUS_OF_EXIT_CODE[exit_code] < 600


def test_no_class_of_errors_is_forgotten() -> None:
    def tree(kind: type[GeotilerError]) -> list[type[GeotilerError]]:
        return [kind, *(item for child in kind.__subclasses__() for item in tree(child))]

    assert {kind.exit_code for kind in tree(errors.GeotilerError)} == set(STATUS_OF_EXIT_CODE)


def test_hints_name_parameters_and_not_flags() -> None:
    error = SpecError("bad --gsd", hint="try --min-area 5 or --bands 4,3,2; --scale once")
    problem = problem_of(error, {"bad": "good"})
    assert problem.detail == "good gsd"
    assert problem.more["hint"] == "try min_area=5 or bands=4,3,2; scale once"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("geotiler segment --scenes x.txt reads one", None),
        ("geotiler models list shows what each does", "GET /models shows what each does"),
        ("try --batch 1 or a smaller --tile", None),
        ("make room and run the same command again", None),
        ('run: pip install "geotiler[serve]"', None),
        ("--scene-gsd 0.5 runs it on the pixels as they are",
         "gsd=0.5 runs it on the pixels as they are"),
        ("--restart drops it; or give its settings to go on", "give its settings to go on"),
        ("a mask is for geotiler vectorize; name a scene", "name a scene"),
        ("the file may be truncated or damaged", "the file may be truncated or damaged"),
        (None, None),
    ],
)  # fmt: skip
def test_hints_that_help_no_request_are_left_out(said: str | None, told: str | None) -> None:
    assert problem_of(InputError("no", hint=said)).more.get("hint") == told


def test_a_text_is_refused_without_a_command(service: TestClient) -> None:
    answer = service.post("/predict", files={"file": ("x.txt", b"no image")})
    assert answer.json()["detail"].startswith("x.txt is no raster but a text")
    assert "geotiler" not in answer.text


def test_hints_know_every_parameter() -> None:
    assert set(PARAMETERS) == BatchQuery.model_fields.keys() | ClassifyQuery.model_fields.keys()


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "a/json"), ("", "a/json"), ("*/*", "a/json"), ("b/*", "b/tiff"),
        ("b/png", "b/png"), ("b/*;q=0.5, b/png", "b/png"), ("b/tiff;q=0, b/*", "b/png"),
        ("*/*;q=0.1, b/tiff;q=nonsense", "a/json"), ("a/json;q=0.5, b/png;q=0.5", "a/json"),
    ],
)  # fmt: skip
def test_the_preferred_form_is_chosen(accept: str | None, chosen: str) -> None:
    assert preferred(accept, ("a/json", "b/tiff", "b/png")) == chosen


def test_an_impossible_wish_is_406(service: TestClient, scene: Path) -> None:
    answer = service.post(
        "/predict", files={"file": scene.read_bytes()}, headers={"Accept": "video/mp4"}
    )
    assert answer.status_code == 406


def test_ids_go_through_and_are_made_where_they_are_missing(service: TestClient) -> None:
    assert service.get("/healthz", headers={"X-Request-ID": "a-1"}).headers["x-request-id"] == "a-1"
    for bad in ("", "a b", "x" * 65, "<script>"):
        made = service.get("/healthz", headers={"X-Request-ID": bad}).headers["x-request-id"]
        assert made != bad
        assert len(made) == 32


@pytest.mark.parametrize("path", ["/", "/healthz", "/jobs", "/models", "/metrics", "/docs"])
def test_head_answers_as_get_without_the_body(service: TestClient, path: str) -> None:
    """As balancers and monitors ask."""
    full, head = service.get(path), service.head(path)
    assert (head.status_code, head.content) == (full.status_code, b"") == (200, b"")
    assert head.headers["content-type"] == full.headers["content-type"]
    counted = service.get("/metrics").text
    assert re.search(r'requests_total{method="HEAD",[^}]*route="' + re.escape(path), counted)


def test_head_has_no_way_where_get_has_none(service: TestClient) -> None:
    assert service.head("/predict").status_code == 405
    assert service.head("/nothing").status_code == 404


def test_a_defect_is_500_without_its_trace(
    service: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from geotiler.service.shelf import Shelf

    def broken(self: Shelf) -> None:
        raise RuntimeError("a secret of the machine")

    monkeypatch.setattr(Shelf, "reload", broken)
    answer = service.post("/models/reload")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert any(record.exc_info for record in caplog.records)
    assert service.get("/readyz").status_code == 200


def test_logs_are_lines_of_json() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.info("a\nline", extra={"request_id": "x", "path": Path("p")})
    try:
        raise ValueError("why")
    except ValueError:
        logger.exception("failed")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["event"], first["request_id"], first["path"]) == ("a\nline", "x", "p")
    assert "ValueError: why" in second["traceback"]
