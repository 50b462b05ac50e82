"""Whether the network may be used, and what it is asked about it."""

import socket

import pytest

from ptm.base import network


@pytest.fixture
def asked(monkeypatch):
    """The hosts and ports that are asked for; none of them answers."""
    for name in ("HF_HUB_OFFLINE", "PTM_OFFLINE", "HF_ENDPOINT", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    places = []

    def connect(place, timeout):
        places.append(place)
        raise OSError("no route")

    monkeypatch.setattr(socket, "create_connection", connect)
    return places


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "PTM_OFFLINE"])
@pytest.mark.parametrize(
    ("value", "expected"), [("1", True), ("TRUE", True), ("on", True), ("0", False), ("", False)]
)
def test_the_user_may_forbid_it(asked, monkeypatch, name, value, expected):
    monkeypatch.setenv(name, value)
    assert network.offline() == expected
    assert not network.reachable()
    assert bool(asked) != expected  # who forbids it is not asked about either


def test_the_host_of_the_address_is_asked(asked, monkeypatch):
    network.reachable()
    network.reachable("http://files.example:8080/a.pth")
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    network.reachable()
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    network.reachable("https://files.example/a.pth")
    assert asked == [
        ("huggingface.co", 443),
        ("files.example", 8080),
        ("mirror.example", 443),
        ("proxy.example", 3128),
    ]


def test_a_connection_that_opens_is_enough(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "PTM_OFFLINE", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        assert network.reachable(address)
    assert not network.reachable(address)
