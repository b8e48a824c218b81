"""Files from URLs, downloaded from a server in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma4cli.errors import MediaError, MediaNotFoundError
from gemma4cli.media import downloads
from gemma4cli.media.urls import is_url
from gemma4cli.messages import Source


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
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


Fetch = Callable[..., Source]


@pytest.fixture(scope="module")
def fetch(folder: Path) -> Fetch:
    def fetch_into_folder(url: str, **options: int) -> Source:
        return downloads.fetch(url, folder=folder, **options)

    return fetch_into_folder


def content(source: Source) -> bytes:
    assert source.path is not None
    return source.path.read_bytes()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def test_a_download_is_named_by_its_url(server: str, fetch: Fetch) -> None:
    source = fetch(f"{server}/file")
    assert (source.name, content(source)) == (f"{server}/file", b"x" * 2048)
    assert content(fetch(f"{server}/agent")) == b"g4"


def test_redirects_are_followed(server: str, fetch: Fetch) -> None:
    assert content(fetch(f"{server}/moved")) == b"x" * 2048


def test_a_redirect_to_a_file_is_an_error(server: str, fetch: Fetch) -> None:
    with pytest.raises(MediaError):
        fetch(f"{server}/escape")


def test_only_http_and_https_are_opened(fetch: Fetch) -> None:
    for url in ("file:///etc/passwd", "ftp://127.0.0.1/x"):
        with pytest.raises(MediaError, match="is not an http or https URL"):
            fetch(url)
    for url in ("http://", "http://[::"):
        with pytest.raises(MediaError, match="cannot be downloaded"):
            fetch(url)


def test_a_missing_file_is_an_error(server: str, fetch: Fetch) -> None:
    with pytest.raises(MediaNotFoundError):
        fetch(f"{server}/404")


def test_a_refusal_of_the_server_is_an_error(server: str, fetch: Fetch) -> None:
    with pytest.raises(MediaError, match="the server answered 403 Forbidden"):
        fetch(f"{server}/403")


def test_a_file_above_the_limit_is_an_error(server: str, fetch: Fetch) -> None:
    assert content(fetch(f"{server}/file", most_bytes=2048))
    with pytest.raises(MediaError, match="is larger than 0 MB"):
        fetch(f"{server}/file", most_bytes=2047)


def test_a_lost_connection_is_an_error(server: str, fetch: Fetch) -> None:
    with pytest.raises(MediaError, match="cannot be downloaded"):
        fetch(f"{server}/short")


def test_a_closed_port_is_an_error(fetch: Fetch) -> None:
    with pytest.raises(MediaError, match=r"cannot be downloaded: .*refused"):
        fetch("http://127.0.0.1:9/x.png")


URLS = {
    "http://a/b.png": True,
    "HTTPS://a/b.png": True,
    "a.png": False,
    "http": False,
    "http:a.png": False,
    "file:///a.png": False,
    "C:/a.png": False,
}


def test_urls_begin_with_http_or_https() -> None:
    assert {name: is_url(name) for name in URLS} == URLS


@given(name=st.text(max_size=40))
def test_names_that_are_not_urls_are_never_opened(fetch: Fetch, name: str) -> None:
    assert is_url(f"http://{name}")
    assert is_url(f"HTTPS://{name}")
    if not is_url(name):
        with pytest.raises(MediaError, match="is not an http or https URL"):
            fetch(name)


@given(rest=st.text("[]:/% \\\n\0é", max_size=20))
def test_a_malformed_url_is_a_media_error(fetch: Fetch, rest: str) -> None:
    """The port is closed, so that URLs that happen to be valid fail too."""
    with pytest.raises(MediaError):
        fetch(f"http://127.0.0.1:9{rest}")
