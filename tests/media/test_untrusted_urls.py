"""Servers that lead a download to private places, never end, or repeat what is secret."""

from __future__ import annotations

import http.client
import socket
import threading
import urllib.error
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gemma4cli.errors import MediaError
from gemma4cli.media import downloads, guarded_http
from gemma4cli.media.downloads import fetch
from gemma4cli.media.pace import Pace, Watch
from gemma4cli.media.public_hosts import Resolved, is_public
from gemma4cli.media.urls import shown_url

QUICK = Pace(patience=0.2, least=1000, total=0.5)


class Handler(BaseHTTPRequestHandler):
    """``/to?URL`` redirects there, ``/loop`` to itself; a ``/drip`` never ends.

    Everything else is answered with the credentials that came.
    """

    def do_GET(self) -> None:
        kind, _, rest = self.path.partition("?")
        if kind in ("/to", "/loop"):
            self.send_response(302)
            self.send_header("Location", rest or kind)
            self.end_headers()
        elif kind == "/drip-headers":
            self._drip(b"HTTP/1.0 200 OK\r\n", b"X: y\r\n")
        elif kind == "/drip-body":
            self._drip(b"HTTP/1.0 200 OK\r\n\r\n", b"x")
        elif kind == "/flood":
            self._drip(b"HTTP/1.0 200 OK\r\n\r\n", b"x" * 2000)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(str(self.headers.get("Authorization")).encode())

    def _drip(self, start: bytes, block: bytes) -> None:
        with suppress(OSError):
            self.wfile.write(start)
            while not self.server.closing.wait(0.02):  # type: ignore[attr-defined]
                self.wfile.write(block)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.closing = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield httpd.server_address[1]
        httpd.closing.set()  # type: ignore[attr-defined]
        httpd.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Addresses of names; a server under any of them is the one of this test."""
    known = {"far.example": "127.0.0.1"}

    def resolve(host: str, port: int, seconds: float) -> Resolved:
        return ((socket.AF_INET, (known.get(host, host), port)),)

    monkeypatch.setattr(guarded_http, "resolve", resolve)
    return known


@pytest.mark.parametrize(
    "number",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.1.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "2002:7f00:1::",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        "fc00::1",
        "fd12::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_of_private_networks(number: str) -> None:
    assert not is_public(number)


@pytest.mark.parametrize(
    "number", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_addresses(number: str) -> None:
    assert is_public(number)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.2",
        "0",
        "0x7f.2",
        "2130706434",
        "0177.0.0.2",
        "[::1]",
        "[::ffff:7f00:2]",
        "localhost",
    ],
)
def test_a_redirect_to_a_private_address_is_refused(port: int, tmp_path: Path, host: str) -> None:
    with pytest.raises(MediaError, match="on this machine or a private network: name that"):
        fetch(f"http://127.0.0.1:{port}/to?http://{host}:{port}/file", folder=tmp_path)
    assert list(tmp_path.iterdir()) == [], "nothing of a failed download stays"


def test_a_redirect_to_the_host_that_was_named_is_followed(port: int, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{port}/to?http://127.0.0.1:{port}/file"
    assert fetch(url, folder=tmp_path).path is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "[::1]", "169.254.169.254"])
def test_what_a_stranger_names_must_be_public(port: int, tmp_path: Path, host: str) -> None:
    with pytest.raises(MediaError, match="not on the public network"):
        fetch(f"http://{host}:{port}/", folder=tmp_path, pace=QUICK, only_public=True)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_only_a_proxy_knows_is_not_known_to_be_public(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(host: str, port: int, seconds: float) -> Resolved:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(guarded_http, "resolve", unknown)
    monkeypatch.setattr(guarded_http._Guard, "_is_proxied", lambda *arguments: True)
    with pytest.raises(MediaError, match="cannot be downloaded"):
        fetch("http://inside.example/", folder=tmp_path, only_public=True)


def test_a_name_is_resolved_once(port: int, tmp_path: Path, names: dict[str, str]) -> None:
    """What a name stands for later does not matter: the checked address is connected to."""
    asked = []
    known = guarded_http.resolve

    def first_only(host: str, at: int, seconds: float) -> Resolved:
        asked.append(host)
        return known(host, at, seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guarded_http, "resolve", first_only)
        fetch(f"http://far.example:{port}/to?http://far.example:{port}/file", folder=tmp_path)
    assert asked == ["far.example"]


def test_a_redirect_to_a_name_of_a_private_address(
    port: int, tmp_path: Path, names: dict[str, str]
) -> None:
    names["inside.example"] = "10.0.0.1"
    with pytest.raises(MediaError, match=r"redirects to inside\.example, on this machine"):
        fetch(f"http://far.example:{port}/to?http://inside.example/", folder=tmp_path)


@pytest.mark.parametrize("target", ["ftp://a/b", "file:///etc/passwd", "data:,x", "gopher://a/"])
def test_a_redirect_to_another_scheme(port: int, tmp_path: Path, target: str) -> None:
    with pytest.raises(MediaError, match="which is not an http or https URL"):
        fetch(f"http://127.0.0.1:{port}/to?{target}", folder=tmp_path)


def test_redirects_without_end(port: int, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="redirects more than 10 times"):
        fetch(f"http://127.0.0.1:{port}/loop", folder=tmp_path)


@pytest.mark.parametrize(
    ("path", "pace", "problem"),
    [
        ("/drip-headers", QUICK, "the server sent nothing of the file in"),
        # On a busy machine not one byte comes in that time.
        ("/drip-body", QUICK, "sent nothing of the file in|fewer than 1,000 bytes came in"),
        ("/flood", Pace(total=0.5), "not complete after 0.5 seconds: .* set G4_URL_TIMEOUT"),
    ],
)
def test_a_download_without_end(
    port: int, tmp_path: Path, path: str, pace: Pace, problem: str
) -> None:
    with pytest.raises(MediaError, match=problem):
        fetch(f"http://127.0.0.1:{port}{path}", folder=tmp_path, pace=pace)


@pytest.mark.parametrize(
    ("received", "why"),
    [
        (0, "cannot be downloaded: the server sent nothing of the file in 0.01 seconds"),
        (999, "cannot be downloaded: fewer than 1,000 bytes came in 0.01 seconds"),
        (1000, "cannot be downloaded: fewer than 1,000 bytes came in 0.01 seconds"),
    ],
)
def test_why_a_download_is_too_slow(received: int, why: str) -> None:
    """The last one brings enough in the first period, and nothing in the second."""
    watch = Watch(Pace(patience=0.01, least=1000))
    watch.received = received
    with watch:
        watch.ended.wait()
    assert watch.why == why


REASONS: dict[str, Exception] = {
    "Connection refused": urllib.error.URLError(ConnectionRefusedError(111, "Connection refused")),
    "Name not known": urllib.error.URLError(socket.gaierror(-2, "Name not known")),
    "the connection was lost": http.client.IncompleteRead(b""),
    "the server's answer is not HTTP": http.client.BadStatusLine("x" * 60_000),
    "its address, or one that it leads to, has no valid host name": UnicodeError("label too long"),
    f"its address, or one that it leads to, is not valid ({'x' * 100})": ValueError("x" * 60_000),
}


@pytest.mark.parametrize("reason", REASONS)
def test_reasons_are_not_the_words_of_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    def fail(url: str, watch: Watch, *, only_public: bool) -> None:
        raise REASONS[reason]

    monkeypatch.setattr(downloads, "open_url", fail)
    with pytest.raises(MediaError) as caught:
        fetch("http://a.example/", folder=tmp_path)
    assert str(caught.value) == f"http://a.example/: cannot be downloaded: {reason}"


def test_a_name_that_is_never_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: [answered.wait()])
    with pytest.raises(
        MediaError, match=r"no answer within .* to where a\.example is|sent nothing"
    ):
        fetch("http://a.example/", folder=tmp_path, pace=QUICK)
    answered.set()


def test_user_and_password_are_sent_and_never_shown(port: int, tmp_path: Path) -> None:
    source = fetch(f"http://me:pw%21@127.0.0.1:{port}/file", folder=tmp_path)
    assert source.path is not None
    assert source.path.read_bytes() == b"Basic bWU6cHch"
    assert source.name == f"http://127.0.0.1:{port}/file"
    for url in (f"http://me:secret@127.0.0.1:{port}/to?ftp://me:secret@a/", "http://me:secret@["):
        with pytest.raises(MediaError) as caught:
            fetch(url, folder=tmp_path)
        assert "secret" not in str(caught.value)


def test_the_password_is_not_sent_to_another_host(
    port: int, tmp_path: Path, names: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names["other.example"] = "127.0.0.1"
    monkeypatch.setattr(guarded_http, "are_public", lambda resolved: True)
    url = f"http://me:secret@far.example:{port}/to?http://other.example:{port}/file"
    source = fetch(url, folder=tmp_path)
    assert source.path is not None
    assert source.path.read_bytes() == b"None"


SHOWN = {
    "https://a:b@c/d?e=f": "https://c/d?e=f",
    "HTTP://token@c": "HTTP://c",
    "http://a@b:c@d/e@f": "http://d/e@f",
    "https://c/d?X-Amz-Signature=abc&n=1&access_token=def": (
        "https://c/d?X-Amz-Signature=***&n=1&access_token=***"
    ),
}


def test_what_is_shown_of_urls() -> None:
    assert {url: shown_url(url) for url in SHOWN} == SHOWN
