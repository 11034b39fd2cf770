"""Scenes on other machines are read as local ones are, and their secrets stay where they are."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.shutil import copy as copy_raster

from geotiler.cli.main import main
from geotiler.errors import GeotilerError, InputError, SpecError
from geotiler.io.fingerprint import scene_fingerprint
from geotiler.io.raster import open_scene
from geotiler.io.remote import gdal_name, is_remote, redacted, shown
from geotiler.io.stac import scene_of_item
from geotiler.specs import Window

SECRET = "Tops3cret"
WHOLE = Window(row=0, col=0, height=900, width=1100)


@dataclass
class Server:
    """A server on this machine that answers ranges of the files in a folder, as S3 does."""

    folder: Path
    port: int = 0
    sent_bytes: int = 0
    refusals: int = 0
    """How many of the next requests are answered with "come back later"."""
    answers_ranges: bool = True
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    state = Server(tmp_path / "served")
    state.folder.mkdir()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            return

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            state.headers.append(dict(self.headers))
            path = state.folder / self.path.split("?")[0].lstrip("/")
            if state.refusals:
                state.refusals -= 1
                self.finish_with(503, b"", {})
            elif not path.is_file():
                self.finish_with(404, b"", {})
            else:
                content = path.read_bytes()
                wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
                if wanted is None or not state.answers_ranges:
                    self.finish_with(200, content, {}, with_body)
                    return
                first = int(wanted[1])
                last = min(len(content) - 1, int(wanted[2] or len(content) - 1))
                place = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
                self.finish_with(206, content[first : last + 1], place, with_body)

        def finish_with(
            self, code: int, body: bytes, headers: dict[str, str], with_body: bool = True
        ) -> None:
            self.send_response(code)
            ranges = {"Accept-Ranges": "bytes"} if state.answers_ranges else {}
            for key, value in {**headers, **ranges}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                state.sent_bytes += len(body)
                self.wfile.write(body)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        state.port = listening.server_address[1]
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield state
        listening.shutdown()
        thread.join()


def _write(path: Path) -> np.ndarray:
    image = np.random.default_rng(4).integers(0, 256, (3, 900, 1100), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=900, width=1100, dtype="uint8", tiled=True,
        blockxsize=128, blockysize=128, crs="EPSG:32633",
        transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6),
    ) as out:  # fmt: skip
        out.write(image)
    return image


def test_an_address_is_read_by_ranges(server: Server) -> None:
    image = _write(server.folder / "scene.tif")
    with open_scene(f"{server.address}/scene.tif") as scene:
        part = Window(row=300, col=400, height=50, width=60)
        np.testing.assert_array_equal(scene.read(part), image[:, 300:350, 400:460])
        assert server.sent_bytes < image.size / 2
        np.testing.assert_array_equal(scene.read(WHOLE), image)
        assert scene.path == f"{server.address}/scene.tif"


def test_a_notice_names_a_scene_without_its_secrets(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(server.folder / "scene.tif")
    place = f"http://me:{SECRET}@127.0.0.1:{server.port}/scene.tif?sig={SECRET}"
    assert main(["preview", place, "-o", str(tmp_path / "p.png"), "--width", "1500"]) == 0
    said = capsys.readouterr()
    assert f"1100 columns of {server.address}/scene.tif" in said.err
    assert SECRET not in said.out + said.err


def test_a_busy_server_is_asked_again(server: Server) -> None:
    image = _write(server.folder / "scene.tif")
    with open_scene(f"{server.address}/scene.tif") as scene:
        server.refusals = 2
        np.testing.assert_array_equal(scene.read(WHOLE), image)
    assert server.refusals == 0


def test_a_bucket_is_read_with_the_users_keys(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    (server.folder / "bucket").mkdir()
    image = _write(server.folder / "bucket" / "scene.tif")
    settings = {
        "AWS_S3_ENDPOINT": f"127.0.0.1:{server.port}", "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE", "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }  # fmt: skip
    for key, value in settings.items():
        monkeypatch.setenv(key, value)
    with open_scene("s3://bucket/scene.tif") as scene:
        np.testing.assert_array_equal(scene.read(WHOLE), image)
        assert SECRET not in f"{scene.path} {scene.files} {scene.tags}"
    signed = [headers.get("Authorization", "") for headers in server.headers]
    assert all("AWS4-HMAC-SHA256" in text and "AKIATEST" in text for text in signed)


def test_what_is_not_there_is_one_line_without_secrets(server: Server) -> None:
    address = f"http://user:{SECRET}@127.0.0.1:{server.port}/none.tif?sig={SECRET}"
    with pytest.raises(InputError, match=r"none\.tif") as caught:
        open_scene(address)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_of_whole_files_is_told_so_and_what_to_do(server: Server) -> None:
    """As `python -m http.server` is one."""
    server.answers_ranges = False
    _write(server.folder / "scene.tif")
    with pytest.raises(InputError, match=r"scene\.tif cannot be read in parts") as caught:
        open_scene(f"{server.address}/scene.tif?sig={SECRET}")
    assert "download" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_file_that_breaks_off_is_told_without_secrets(server: Server) -> None:
    _write(server.folder / "scene.tif")
    content = (server.folder / "scene.tif").read_bytes()
    (server.folder / "scene.tif").write_bytes(content[: len(content) // 2])
    with (
        open_scene(f"{server.address}/scene.tif?sig={SECRET}") as scene,
        pytest.raises(InputError, match="truncated or damaged") as caught,
    ):
        scene.read(WHOLE)
    assert SECRET not in str(caught.value)


def test_a_virtual_raster_leads_elsewhere_only_if_it_may(server: Server, tmp_path: Path) -> None:
    image = _write(server.folder / "scene.tif")
    virtual = tmp_path / "scene.vrt"
    copy_raster(f"/vsicurl/{server.address}/scene.tif", virtual, driver="VRT")
    outer = tmp_path / "outer.vrt"
    asked = len(server.headers)
    outer.write_text(
        '<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1">'
        '<SimpleSource><SourceFilename relativeToVRT="1">scene.vrt</SourceFilename>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    for path in (virtual, outer):
        with pytest.raises(InputError, match="--allow-remote"):
            open_scene(str(path))
    assert len(server.headers) == asked, "a refused raster was asked for"
    with open_scene(str(virtual), allow_remote=True) as scene:
        np.testing.assert_array_equal(scene.read(WHOLE), image)


HIDDEN = [
    "/vsizip//vsicurl/http://a.b/c.zip/d.tif",
    "&#47;vsicurl/http://a.b/c.tif",
    "HTTP://a.b/c.tif",
    "  https://a.b/c.tif",
    "/vsis3_streaming/bucket/c.tif",
    "/vsicurl?url=http%3A%2F%2Fa.b%2Fc.tif",
    "&lt;GDAL_WMS&gt;&lt;Service name='TMS'/&gt;&lt;/GDAL_WMS&gt;",
    "WMS:http://a.b",
]


@pytest.mark.parametrize("source", HIDDEN)
@pytest.mark.parametrize("tag", ["SourceFilename", "SourceDataset"])
def test_an_address_in_disguise_is_one(tmp_path: Path, source: str, tag: str) -> None:
    path = tmp_path / "scene.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><{tag}>{source}</{tag}></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(InputError, match="--allow-remote"):
        open_scene(str(path))


def test_virtual_rasters_in_a_circle_end(tmp_path: Path) -> None:
    path = tmp_path / "scene.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1">'
        '<SimpleSource><SourceFilename relativeToVRT="1">scene.vrt</SourceFilename>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(InputError, match="without end"):
        open_scene(str(path))


@given(user=st.text("abcXYZ%40", min_size=1), path=st.text("abc/._-"), query=st.text("a=&%1"))
def test_nothing_secret_is_shown(user: str, path: str, query: str) -> None:
    for scheme in ("https", "http", "s3", "gs", "az"):
        address = f"{scheme}://{user}:{SECRET}@host:81/{path}?{query}{SECRET}#{SECRET}"
        for text in (address, f"/vsicurl/{address}", f"error at '{address}' and {address} again"):
            assert SECRET not in redacted(text)
            assert "host:81" in redacted(text)
            assert SECRET not in shown(text)
        assert is_remote(address)
        assert is_remote(gdal_name(address))


@pytest.mark.parametrize(
    "path",
    [
        f"https://u:p'{SECRET}@host/a.tif?sig={SECRET}",
        f"/vsicurl?url=https%3A%2F%2Fhost%2Fa.tif%3Fsig%3D{SECRET}",
        f"/vsizip//vsicurl?url=https%3A%2F%2Fhost%2Fa.zip%3Fsig%3D{SECRET}/a.tif",
    ],
)
def test_secrets_in_odd_places_are_not_shown(path: str) -> None:
    assert SECRET not in shown(path)
    assert SECRET not in redacted(f"cannot open {path}: 404", path)


@pytest.mark.parametrize("path", ["http://h:99x/a.json", f"http://host/a b.json?sig={SECRET}"])
def test_an_address_that_is_none_is_one_line(path: str) -> None:
    with pytest.raises(InputError, match="cannot be read as a STAC item") as caught:
        scene_of_item(path, None)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("path", ["a.tif", "/data/s3/a b.tif", "C:\\a.tif", "NETCDF:a.nc:v", "-"])
def test_local_names_stay_as_they_are(path: str) -> None:
    assert not is_remote(path)
    assert shown(path) == gdal_name(path) == path


def _item(assets: dict[str, Any]) -> str:
    return json.dumps({"type": "Feature", "stac_version": "1.0.0", "assets": assets})


def test_an_item_leads_to_its_asset(server: Server, tmp_path: Path) -> None:
    assets = {
        "visual": {"href": "./a/scene.tif?x=1", "type": "image/tiff; application=geotiff"},
        "B02": {"href": "https://a.b/c.jp2"},
        "preview": {"href": "p.tif", "roles": ["thumbnail"]},
    }
    item = tmp_path / "item.json"
    item.write_text(_item(assets))
    (server.folder / "item.json").write_text(_item({"visual": assets["visual"]}))
    assert scene_of_item(str(item), "B02") == "https://a.b/c.jp2"
    assert scene_of_item(str(item), "visual") == str(tmp_path / "a" / "scene.tif?x=1")
    address = f"{server.address}/item.json"
    assert scene_of_item(address, None) == f"{server.address}/a/scene.tif?x=1"
    with pytest.raises(SpecError, match="visual, B02"):
        scene_of_item(str(item), None)
    with pytest.raises(SpecError, match="no asset 'B99'"):
        scene_of_item(str(item), "B99")
    assert scene_of_item("scene.tif", None) == "scene.tif"


@pytest.mark.parametrize(
    "content", ["", "[", "[]", "1", '{"assets": {}}', _item({"a": {}}), '{"assets": 3}', "[" * 9999]
)
def test_what_is_no_item_is_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "item.json"
    path.write_text(content)
    error: type[GeotilerError] = GeotilerError
    with pytest.raises(error) as caught:
        scene_of_item(str(path), "visual")
    assert caught.value.exit_code in (2, 3)
    assert "\n" not in str(caught.value)


def test_a_fingerprint_holds_no_secret(server: Server) -> None:
    """It goes into the journal, the only place where a scene's name is stored."""
    _write(server.folder / "scene.tif")
    with open_scene(f"{server.address}/scene.tif?sig={SECRET}") as scene:
        text = json.dumps(scene_fingerprint(scene))
    assert SECRET not in text
    assert "scene.tif" in text
