"""How a server is reached: through proxies, with TLS, by a unix socket."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.odd_servers import answering, certificate
from support.relays import tls_before, tunnels_to
from support.scripted_server import response, scripted

from gemma4cli.errors import OptionError, ServerError
from gemma4cli.lookups import UNIX
from gemma4cli.remote.address import address_of
from gemma4cli.remote.connection import Connection
from gemma4cli.remote.route import route_to
from gemma4cli.server.app import make_app
from gemma4cli.server.listening import HttpThread, bound_socket, url_of
from gemma4cli.server.served import Served, ServerOptions

ANSWER = response(200, b"answer")


def got(url: str, path: str = "/g4/v1/model") -> bytes:
    return Connection(address_of(url), "secret").get(path)


# Proxies


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY"])
def test_a_proxy_is_asked_for_what_it_cannot_be_known_otherwise(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with scripted([ANSWER, ANSWER]) as proxy:
        monkeypatch.setenv(variable, f"http://me:pass%40word@127.0.0.1:{proxy.port}/")
        link = Connection(address_of("http://studio.invalid:8000/g4"), "secret")
        assert link.get("/g4/v1/model") == link.get("/g4/v1/model") == b"answer"
    for head in proxy.heads:
        assert head.startswith("GET http://studio.invalid:8000/g4/g4/v1/model HTTP/1.1\r\n")
        assert "\r\nHost: studio.invalid:8000\r\n" in head
        assert "\r\nProxy-Authorization: Basic bWU6cGFzc0B3b3Jk\r\n" in head
        assert "\r\nAuthorization: Bearer secret" in head


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "g4.localhost", "127.0.0.9"])
def test_nothing_for_this_machine_goes_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:1")
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:1")
    for scheme in ("http", "https"):
        assert route_to(address_of(f"{scheme}://{host}:1")).proxy is None


@pytest.mark.parametrize(
    ("without", "direct"),
    [
        ("studio", True),
        ("other,.studio", True),
        ("studio:8000", True),
        ("studio:8001", False),
        ("*", True),
        ("", False),
    ],
)
def test_no_proxy_is_read_as_by_pythons_library(
    monkeypatch: pytest.MonkeyPatch, without: str, *, direct: bool
) -> None:
    monkeypatch.setenv("http_proxy", "proxy:3128")
    monkeypatch.setenv("no_proxy", without)
    proxy = route_to(address_of("studio:8000")).proxy
    assert str(proxy) == ("None" if direct else "proxy:3128")
    assert route_to(address_of("https://other")).proxy is None


@pytest.mark.parametrize(
    ("proxy", "problem"),
    [
        ("socks5://user:secret@proxy:1080", "http_proxy is a proxy of socks5; only those of http"),
        ("http://:3128", "http_proxy is not the address of a proxy"),
        ("http://proxy:port", "http_proxy is not the address of a proxy"),
        ("http://proxy.invalid", "no such host as the proxy proxy.invalid:80; check http_proxy"),
        ("http://127.0.0.1:9", r"the proxy 127.0.0.1:9 \(Connection refused\): check http_proxy"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, proxy: str, problem: str
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ServerError, match=problem) as raised:
        got("studio.invalid")
    assert "secret" not in str(raised.value)


def test_what_a_proxy_answers_itself_is_not_taken_for_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for status in (403, 407, 502):
        with scripted(response(status, b"<html>")) as proxy:
            monkeypatch.setenv("http_proxy", f"127.0.0.1:{proxy.port}")
            problem = rf"through the proxy 127\.0\.0\.1:\d+ \(HTTP status {status}\)"
            with pytest.raises(ServerError, match=problem):
                got("studio.invalid")


# TLS


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The port of a server with TLS, and its certificate."""
    pem = certificate(tmp_path)
    with scripted(ANSWER, ANSWER) as server, tls_before(server.port, pem) as port:
        yield port, pem


def test_a_certificate_must_be_trusted_and_of_that_name(
    secured: tuple[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, pem = secured
    with pytest.raises(
        ServerError, match=r"not trusted \(self.signed certificate\): .* SSL_CERT_FILE"
    ):
        got(f"https://localhost:{port}")
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    assert got(f"https://localhost:{port}") == b"answer"
    with pytest.raises(ServerError, match="its certificate is for another name"):
        got(f"https://127.0.0.1:{port}")


def test_tls_goes_through_a_tunnel_of_the_proxy(
    secured: tuple[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, pem = secured
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    with tunnels_to(port) as (own, heads):
        monkeypatch.setenv("https_proxy", f"http://me:word@127.0.0.1:{own}")
        assert got("https://studio.invalid") == b"answer"
    (head,) = heads
    assert head.startswith("CONNECT studio.invalid:443 HTTP/1.")
    assert "Proxy-Authorization: Basic bWU6d29yZA==" in head
    assert "secret" not in head, "the token is for the server"


def test_a_proxy_that_opens_no_tunnel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for said, cause in ((response(403, b""), "403 Said"), (b"SSH-2.0\r\n", "SSH-2.0")):
        with scripted(said) as proxy:
            monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.port}")
            with pytest.raises(ServerError, match=rf"through the proxy .*{cause}.*https_proxy"):
                got("https://studio.invalid")


def test_https_to_a_server_that_has_none_says_so() -> None:
    with answering(response(400, b"")) as port, pytest.raises(ServerError, match="as https does"):
        got(f"https://localhost:{port}")


# Unix sockets


@pytest.fixture
def place() -> Iterator[str]:
    """Where a socket can be: paths are limited to about 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="g4-") as folder:
        yield f"{folder}/g4.sock"


def test_a_socket_is_for_its_owner_and_goes_with_its_server(place: str) -> None:
    with closing(bound_socket(f"{UNIX}{place}", 0)) as bound:
        assert url_of(bound) == f"{UNIX}{place}"
        assert Path(place).stat().st_mode & 0o777 == 0o600
        with pytest.raises(OptionError, match=r"cannot listen on .*: Address already in use"):
            bound_socket(f"{UNIX}{place}", 0)
    assert not Path(place).exists()


def test_a_server_answers_at_a_socket(place: str) -> None:
    served = Served(ServerOptions(), ("tiny",))
    bound = bound_socket(f"{UNIX}{place}", 0)
    with HttpThread(make_app(served, lambda line: None), bound):
        assert got(f"{UNIX}{place}", "/").startswith(b"<!doctype html>")
    assert not Path(place).exists()


def test_what_a_killed_server_left_is_replaced_and_nothing_else(place: str) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(place)
    with closing(bound_socket(f"{UNIX}{place}", 0)):
        pass
    Path(place).write_text("mine")
    with pytest.raises(OptionError, match="cannot listen on"):
        bound_socket(f"{UNIX}{place}", 0)
    assert Path(place).read_text() == "mine"
    with pytest.raises(OptionError, match="Not a directory"):
        bound_socket(f"{UNIX}{place}/there", 0)


def test_nobody_at_a_socket_is_an_error_that_says_how_to_start_one(place: str) -> None:
    with pytest.raises(ServerError, match=rf"start it with g4 serve --host {UNIX}{place}"):
        got(f"{UNIX}{place}")
