"""Sockets in this process: connections that keep it waiting, signals, addresses."""

import os
import signal
import socket
import threading
import time
from contextlib import ExitStack, suppress

import pytest

from ptm.errors import ConfigError
from ptm.serve import server
from ptm.serve.server import address_of, is_loopback, listen, run_server
from served import Stand, app_of

HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def serving(scenario, app=None, stop=signal.SIGTERM):
    """Run ``scenario(address)`` in a thread beside a server of this process, then stop it; what came of it, and what
    was said. ``stop`` None: the scenario itself does."""
    said, result = [], []
    with listen("127.0.0.1", 0) as place:

        def client():
            try:
                result.append(scenario(place.getsockname()))
            except BaseException as error:
                result.append(error)
            if stop is not None:
                os.kill(os.getpid(), stop)

        thread = threading.Thread(target=client)
        run_server(app or app_of(Stand()), place, timeout=5, ready=thread.start, say=said.append)
        thread.join(10)
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0], said


def answer_of(connection):
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_14_05_a_connection_that_sends_nothing_or_slowly_is_closed(monkeypatch):
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.3)

    opened = ExitStack()

    def scenario(address):
        silent, slow, kept = (
            opened.enter_context(socket.create_connection(address, timeout=5)) for _ in range(3)
        )
        kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert kept.recv(65_536).startswith(b"HTTP/1.1 200")
        begun = time.monotonic()
        for letter in b"GET /heal":
            for connection in (slow, kept):
                with suppress(OSError):
                    connection.sendall(bytes([letter]))
            time.sleep(0.06)
        ends = []
        for connection in (silent, slow, kept):
            try:
                ends.append(answer_of(connection))
            except ConnectionResetError:
                ends.append(b"")
        return ends, time.monotonic() - begun

    with opened:
        (ends, seconds), said = serving(scenario)
    assert ends[:2] == [b"", b""] and b"HTTP" not in ends[2] and seconds < 3
    assert said == ["SIGTERM: answering what was begun, taking nothing new (again to stop at once)"]


def test_14_05_what_is_no_http_and_what_says_two_lengths_is_refused():
    def scenario(address):
        answers = []
        for content in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 3_000_000 + b"\r\n\r\n",
            HEAD + b"Content-Length: 9999999999999\r\n\r\n",
            b"GET /healthz HTTP/1.0\r\n\r\n",
        ):
            with socket.create_connection(address, timeout=5) as connection:
                try:
                    connection.sendall(content)
                    answers.append(answer_of(connection)[:12])
                except (ConnectionResetError, BrokenPipeError):
                    answers.append(b"HTTP/1.1 400")
        return answers

    answers, _ = serving(scenario)
    assert answers == [b"HTTP/1.1 400"] * 3 + [b"HTTP/1.1 413", b"HTTP/1.1 421"]


def test_14_05_a_signal_lets_what_was_begun_be_answered():
    def scenario(address):
        body = b'{"inputs": ["abc"]}'
        with socket.create_connection(address, timeout=5) as connection:
            connection.sendall(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)
            return answer_of(connection)

    answer, said = serving(scenario, app=app_of(Stand(seconds=0.6)), stop=None)
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b'"prediction": "3"}]}')
    assert [line.partition(":")[0] for line in said] == ["SIGINT"]


def test_14_05_addresses_are_told_apart():
    with listen("127.0.0.1", 0) as place:
        port = place.getsockname()[1]
        assert is_loopback(place) and address_of(place) == f"http://127.0.0.1:{port}"
        with pytest.raises(ConfigError) as caught:
            listen("127.0.0.1", port)
        assert caught.value.problems[0].where == "--port"
    with listen("0.0.0.0", 0) as place:
        assert not is_loopback(place)
    with pytest.raises(ConfigError) as caught:
        listen("no such host.invalid", 0)
    assert caught.value.problems[0].where == "--host"


def test_14_05_no_handler_of_a_signal_is_left_behind():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    serving(lambda address: None)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
