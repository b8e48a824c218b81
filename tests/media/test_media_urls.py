"""Files behind addresses, fetched from a server in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gemma4cli.errors import MediaError, MediaNotFoundError
from gemma4cli.media.urls import fetch, is_url


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        port = self.server.server_address[1]
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{port}/file")
            self.end_headers()
        elif self.path == "/escape":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
        elif self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"broken off")
        elif self.path in ("/file", "/agent"):
            self.send_response(200)
            self.end_headers()
            agent = self.headers["User-Agent"].encode()
            self.wfile.write(agent if self.path == "/agent" else b"x" * 2048)
        else:
            self.send_error(int(self.path[1:]))

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def test_bytes_come_under_the_address(server: str) -> None:
    source = fetch(f"{server}/file")
    assert (source.name, source.data) == (f"{server}/file", b"x" * 2048)
    assert fetch(f"{server}/agent").data == b"g4"


def test_redirections_are_followed(server: str) -> None:
    assert fetch(f"{server}/moved").data == b"x" * 2048


def test_no_redirection_leads_to_a_file(server: str) -> None:
    with pytest.raises(MediaError):
        fetch(f"{server}/escape")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://", "http://[::"]
)
def test_nothing_but_http(url: str) -> None:
    with pytest.raises(MediaError):
        fetch(url)


def test_what_is_not_there(server: str) -> None:
    with pytest.raises(MediaNotFoundError):
        fetch(f"{server}/404")


def test_what_the_server_refuses(server: str) -> None:
    with pytest.raises(MediaError, match="the server answered 403 Forbidden"):
        fetch(f"{server}/403")


def test_what_is_too_large(server: str) -> None:
    assert fetch(f"{server}/file", most_bytes=2048).data
    with pytest.raises(MediaError, match="is larger than 0 MB"):
        fetch(f"{server}/file", most_bytes=2047)


def test_what_breaks_off(server: str) -> None:
    with pytest.raises(MediaError, match="cannot be downloaded"):
        fetch(f"{server}/short")


def test_nobody_at_home() -> None:
    with pytest.raises(MediaError, match=r"cannot be downloaded: .*refused"):
        fetch("http://127.0.0.1:9/x.png")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("http://a/b.png", True),
        ("HTTPS://a/b.png", True),
        ("a.png", False),
        ("http", False),
        ("http:a.png", False),
        ("file:///a.png", False),
        ("C:/a.png", False),
    ],
)
def test_addresses_are_known(name: str, expected: bool) -> None:
    assert is_url(name) == expected
