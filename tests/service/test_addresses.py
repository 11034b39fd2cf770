"""A service knows that it may have its port before it begins anything that takes long."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from geotiler.errors import OutputError
from geotiler.models.bundle import Bundle
from geotiler.service import app
from geotiler.service.addresses import bound, listen
from geotiler.service.settings import Settings


def test_a_port_in_use_is_told_before_a_model_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "start_logging", lambda level: None)
    monkeypatch.setattr(app, "create_app", lambda settings: pytest.fail("models are read"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OutputError, match=f"port {port} of 127.0.0.1 is in use") as caught:
            app.serve(Settings(port=port, folder=tmp_path / "serve"))
    assert "--port" in str(caught.value)
    assert not (tmp_path / "serve").exists()


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    code = "from geotiler.cli.main import run; run()"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = ["serve", "--port", str(taken.getsockname()[1]), "--folder", str(tmp_path / "s")]
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120
        )
    assert done.returncode == OutputError.exit_code
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr
    assert "startup" not in done.stderr


def test_who_began_to_listen_meanwhile_is_told_too() -> None:
    with bound("127.0.0.1", 0) as sockets:
        port = sockets[0].getsockname()[1]
        with bound("127.0.0.1", port) as others:
            listen(sockets, 5)
            with pytest.raises(OutputError, match=f"port {port} of 127.0.0.1 is in use"):
                listen(others, 5)


def test_a_name_has_one_port_at_all_its_addresses_until_the_block_ends() -> None:
    with bound("localhost", 0) as sockets:
        assert len({one.getsockname()[1] for one in sockets}) == 1
    assert all(one.fileno() == -1 for one in sockets)


def test_the_body_of_an_answer_does_not_wait_for_a_receipt_of_its_head() -> None:
    """Where it does, each answer takes 40 ms longer, on systems that delay receipts."""
    delays = []

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = writer.get_extra_info("socket")
        delays.append(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0)
        writer.close()

    async def one_call(listening: socket.socket) -> None:
        async with await asyncio.start_server(accepted, sock=listening):
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            await reader.read()
            writer.close()

    with bound("127.0.0.1", 0) as sockets:
        asyncio.run(one_call(sockets[0]))
    assert delays == [False]


@pytest.mark.parametrize("host", ["192.0.2.7", "no-such-host.invalid", "x" * 300, "a..b"])
def test_an_address_of_another_machine_is_told(host: str) -> None:
    with pytest.raises(OutputError, match="is no address of this machine"), bound(host, 0):
        pass


def test_it_says_where_it_runs(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """On a free port, whose number nobody knows before."""
    code = "from geotiler.cli.main import run; run()"
    words = ["serve", "--port", "0", "--folder", str(tmp_path / "s"), "--model", "tiny"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words, "--weights", str(tiny_bundle.folder.parent)],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        line = next(line for line in process.stderr if "running on" in line)
        url = line.partition("running on ")[2].partition('"')[0]
        with urllib.request.urlopen(f"{url}/readyz", timeout=60) as answer:
            assert answer.status == 200
    finally:
        process.terminate()
        process.communicate(timeout=60)
