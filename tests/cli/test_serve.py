"""``ptm serve``: options, a process that serves and drains, and what is refused before it serves."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ptm.cli.app import app, run


@pytest.fixture
def asked(monkeypatch):
    """What the command line came to."""
    seen = {}

    def serve(target, settings, **how):
        seen.update(how, target=target, settings=settings)
        how["ready"]("http://127.0.0.1:8000", "text-classification")

    monkeypatch.setattr("ptm.serve.command.serve", serve)
    return seen


def test_14_05_options_are_handed_on(asked):
    words = "r --port 0 --max-batch 8 --max-wait 5 --queue 9 --max-body 2 --timeout 7 --allow-host a --allow-host b"
    result = CliRunner().invoke(app, ["serve", *words.split(), "--set", "runtime.threads=1"])
    assert result.exit_code == 0, result.exception
    settings = asked["settings"]
    assert (settings.host, settings.port, settings.batch, settings.wait_ms) == ("127.0.0.1", 0, 8, 5)
    assert (settings.queue, settings.timeout, settings.hosts) == (9, 7, ("a", "b"))
    assert settings.body_bytes(images=True) == settings.body_bytes(images=False) == 2_000_000
    assert asked["overrides"] == ["runtime.threads=1"] and asked["threshold"] is None
    assert result.stdout == "" and "serving r (text-classification) at http://127.0.0.1:8000" in result.stderr


def test_14_05_json_is_one_line_with_the_address(asked):
    result = CliRunner().invoke(app, ["serve", "r", "--json"])
    assert json.loads(result.stdout)["url"] == "http://127.0.0.1:8000" and result.stdout.count("\n") == 1
    assert asked["settings"].body_bytes(images=True) == 16 * asked["settings"].body_bytes(images=False)


def test_14_05_what_cannot_be_served_is_refused_before_it_listens(tmp_path, capfd):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert run(["serve", str(tmp_path), "--port", port, "--json"]) == 2
    out = capfd.readouterr().out
    assert json.loads(out)["error"]["problems"][0]["where"] == "--port"
    assert run(["serve", str(tmp_path), "--port", "0"]) == 2
    assert "a run directory, an export or a config file" in capfd.readouterr().err
    assert run(["serve", str(tmp_path), "--host", "192.0.2.1"]) == 2
    assert "--host" in capfd.readouterr().err


def digests(folder: Path):
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def begun_request(address, body):
    """A connection on which half of a request has been sent, and the other half."""
    connection = socket.create_connection(address, timeout=60)
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    connection.sendall(f"{head}\r\n\r\n".encode() + body[:10])
    return connection, body[10:]


@pytest.mark.slow
@pytest.mark.processes
def test_14_05_a_process_serves_writes_nothing_and_drains(reviews_run, tmp_path):
    before = digests(reviews_run)
    command = [sys.executable, "-m", "ptm", "serve", str(reviews_run), "--port", "0", "--json"]
    places = {"TMPDIR": str(tmp_path), "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    with (
        ExitStack() as cleanup,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **places},
            cwd=tmp_path,
        ) as server,
    ):
        try:
            url = json.loads(server.stdout.readline())["url"]
            with urllib.request.urlopen(f"{url}/healthz", timeout=60) as answer:
                assert json.load(answer)["task"] == "text-classification"
            address = ("127.0.0.1", int(url.rpartition(":")[2]))
            opened = cleanup.enter_context
            connection, rest = begun_request(address, b'{"inputs": ["a fine film", "dull"]}')
            opened(connection)
            idle = opened(socket.create_connection(address, timeout=60))
            server.send_signal(signal.SIGTERM)
            assert idle.recv(1) == b""  # closed as soon as it drains
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address, timeout=60)
            connection.sendall(rest)
            head, _, body = b"".join(iter(lambda: connection.recv(65_536), b"")).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200") and len(json.loads(body)["predictions"]) == 2
            assert server.wait(60) == 0
            assert "SIGTERM: answering what was begun" in server.stderr.read()
        finally:
            server.kill()
    # torch makes an empty folder for its compiler where it is imported.
    assert digests(reviews_run) == before and digests(tmp_path) == {}
