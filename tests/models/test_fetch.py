"""A model at an address is fetched once, and believed no more than one in a folder."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from geotiler.cli.models import app
from geotiler.errors import ModelError
from geotiler.models import fetch
from geotiler.models.bundle import Bundle, open_bundle
from geotiler.models.registry import find_model


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Any static host, which remembers what it was asked for."""

    asked: list[str]
    elsewhere: dict[str, str]
    """Path → where it is said to lie."""

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path in self.elsewhere:
            self.send_response(302)
            self.send_header("Location", self.elsewhere[self.path])
            self.end_headers()
            return
        super().do_GET()

    def log_message(self, *args: object) -> None:
        pass


class Host:
    """A folder of model folders at an address."""

    def __init__(
        self, root: Path, address: str, asked: list[str], elsewhere: dict[str, str]
    ) -> None:
        self.root, self.address, self.asked, self.elsewhere = root, address, asked, elsewhere


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(fetch, "cache_folder", lambda: tmp_path / "cache" / "models")
    root, asked = tmp_path / "published", []
    root.mkdir()
    elsewhere: dict[str, str] = {}
    kind = type("Handler", (Quiet,), {"asked": asked, "elsewhere": elsewhere})
    handler = functools.partial(kind, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Host(root, f"http://127.0.0.1:{server.server_port}", asked, elsewhere)
        server.shutdown()
        thread.join()


@pytest.fixture
def other_bundle(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    """The same network with another threshold, which makes it another model."""
    folder = Path(shutil.copytree(tiny_bundle.folder, tmp_path / "other"))
    card = (folder / "card.json").read_text()
    (folder / "card.json").write_text(card.replace('"threshold": 0.5', '"threshold": 0.25'))
    return open_bundle(folder)


def cached(host: Host) -> list[Path]:
    return list((host.root.parent / "cache").rglob("card.json"))


def test_a_model_is_fetched_once_and_is_the_same_one(host: Host, tiny_bundle: Bundle) -> None:
    shutil.copytree(tiny_bundle.folder, host.root / "mine")
    found = find_model(f"{host.address}/mine")
    assert found.digest == tiny_bundle.digest
    for name in tiny_bundle.card.files:
        assert found.read(name) == tiny_bundle.read(name)
    asked = len(host.asked)
    assert asked == 1 + len(tiny_bundle.card.files)
    for same in ("mine/", "mine/card.json"):
        assert find_model(f"{host.address}/{same}").folder == found.folder
    assert len(host.asked) == asked, "what is in the cache is not asked for again"


def test_fetching_anew_takes_what_is_published_now(
    host: Host, tiny_bundle: Bundle, other_bundle: Bundle
) -> None:
    shutil.copytree(tiny_bundle.folder, host.root / "mine")
    before = find_model(f"{host.address}/mine")
    shutil.rmtree(host.root / "mine")
    shutil.copytree(other_bundle.folder, host.root / "mine")
    assert find_model(f"{host.address}/mine").digest == before.digest
    after = fetch.fetched_model(f"{host.address}/mine", anew=True)
    assert after.digest == other_bundle.digest != before.digest
    assert find_model(f"{host.address}/mine").digest == after.digest


@pytest.mark.parametrize("damage", ["byte", "short", "missing", "card"])
def test_what_is_not_as_its_card_says_gets_no_place(
    host: Host, tiny_bundle: Bundle, damage: str
) -> None:
    folder = Path(shutil.copytree(tiny_bundle.folder, host.root / "mine"))
    file = folder / ("card.json" if damage == "card" else "model.onnx")
    content = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    elif damage == "byte":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=host.address) as told:
        find_model(f"{host.address}/mine")
    assert ".fetched" not in str(told.value), "a folder that is gone by then"
    assert not cached(host)


def test_a_copy_that_is_damaged_or_cut_off_is_fetched_again(
    host: Host, tiny_bundle: Bundle
) -> None:
    shutil.copytree(tiny_bundle.folder, host.root / "mine")
    place = find_model(f"{host.address}/mine").folder
    (place / "model.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match="models fetch"):
        find_model(f"{host.address}/mine")
    assert fetch.fetched_model(f"{host.address}/mine", anew=True).digest == tiny_bundle.digest
    (place / "card.json").unlink()
    assert find_model(f"{host.address}/mine").digest == tiny_bundle.digest


def test_a_server_sends_to_the_web_alone(host: Host, tiny_bundle: Bundle) -> None:
    shutil.copytree(tiny_bundle.folder, host.root / "mine")
    host.elsewhere["/old/card.json"] = f"{host.address}/mine/card.json"
    for name in tiny_bundle.card.files:
        host.elsewhere[f"/old/{name}"] = f"{host.address}/mine/{name}"
    assert find_model(f"{host.address}/old").digest == tiny_bundle.digest
    for target in ("ftp://127.0.0.1:9/card.json", (tiny_bundle.folder / "card.json").as_uri()):
        host.elsewhere["/moved/card.json"] = target
        with pytest.raises(ModelError, match=r"not followed|not allowed"):
            find_model(f"{host.address}/moved")


def test_what_is_safe_stays_safe() -> None:
    handler = fetch._NoDowngrade()
    asked = fetch.Request("https://example.org/mine/card.json")
    with pytest.raises(ModelError, match="not followed"):
        handler.redirect_request(asked, None, 302, "", {}, "http://example.org/card.json")  # type: ignore[arg-type]


def test_an_address_may_have_any_letters(host: Host, tiny_bundle: Bundle) -> None:
    shutil.copytree(tiny_bundle.folder, host.root / "Dächer 2")
    assert find_model(f"{host.address}/Dächer 2").digest == tiny_bundle.digest
    assert find_model(f"{host.address}/D%C3%A4cher%202").digest == tiny_bundle.digest


def test_the_command_says_where_it_is_now(host: Host, tiny_bundle: Bundle) -> None:
    shutil.copytree(tiny_bundle.folder, host.root / "mine")
    told = CliRunner().invoke(app, ["fetch", f"{host.address}/mine", "--json"])
    found = json.loads(told.stdout)
    assert found["digest"] == tiny_bundle.digest
    assert open_bundle(Path(found["folder"])).digest == tiny_bundle.digest


def test_a_failure_leaves_the_model_that_was_there(host: Host, tiny_bundle: Bundle) -> None:
    shutil.copytree(tiny_bundle.folder, host.root / "mine")
    find_model(f"{host.address}/mine")
    (host.root / "mine" / "model.onnx").unlink()
    with pytest.raises(ModelError, match="cannot be fetched"):
        fetch.fetched_model(f"{host.address}/mine", anew=True)
    assert find_model(f"{host.address}/mine").digest == tiny_bundle.digest


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:9/none",
        "http://",
        "http://user:secret@127.0.0.1/m",
        "http://h/m?key=secret",
        "https://[::1/m",
    ],
)
def test_an_address_without_a_model_is_refused(host: Host, address: str) -> None:
    with pytest.raises(ModelError) as told:
        find_model(address)
    assert "secret" not in str(told.value)
    assert not cached(host)


def test_other_schemes_are_no_addresses(host: Host, tiny_bundle: Bundle) -> None:
    with pytest.raises(ModelError):
        fetch.fetched_model(tiny_bundle.folder.as_uri())


def test_a_file_without_end_is_not_kept(
    host: Host, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_bundle.folder, host.root / "mine")
    monkeypatch.setattr(fetch, "_LARGEST_BYTES", 1000)
    with pytest.raises(ModelError, match="larger than 1,000 bytes"):
        find_model(f"{host.address}/mine")
    assert not cached(host)
