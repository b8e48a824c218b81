"""A hub on this machine: as much of huggingface.co's HTTP as fetching a model takes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = ".safetensors"


@dataclass
class FakeHub:
    """Repositories by name, their files by name. ``asked`` holds method, path and range of all
    that was asked for."""

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)

    def ranges(self, name: str) -> list[str | None]:
        """The ranges in which the file ``name`` was fetched; None is the whole."""
        return [r for method, path, r in self.asked if method == "GET" and path.endswith(name)]


def etag_of(name: str, content: bytes) -> str:
    """What the hub names a file by: large ones by sha256, others by a git hash."""
    if name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _listed(name: str, content: bytes) -> dict[str, Any]:
    etag = etag_of(name, content)
    entry: dict[str, Any] = {"type": "file", "path": name, "rfilename": name, "size": len(content)}
    if name.endswith(LARGE):
        size = {"size": len(content), "pointerSize": 130}
        return (
            entry
            | {"oid": "1" * 40, "blobId": "1" * 40}
            | {"lfs": {"oid": etag, "sha256": etag, **size}}
        )
    return entry | {"oid": etag, "blobId": etag}


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            path = self.path.partition("?")[0]
            hub.asked.append((self.command, path, self.headers.get("Range")))
            parts = path.strip("/").removeprefix("api/models/").split("/")
            repo, rest = "/".join(parts[:2]), parts[2:]
            if repo in hub.gated:
                self._send(403, b"", {"X-Error-Code": "GatedRepo"})
            elif repo not in hub.repos:
                self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
            elif rest[:1] == ["resolve"]:
                self._send_file("/".join(rest[2:]), hub.repos[repo])
            else:
                files = [_listed(name, content) for name, content in hub.repos[repo].items()]
                model = {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": files}
                self._send(200, json.dumps(files if rest[:1] == ["tree"] else model).encode())

        def _send_file(self, name: str, files: dict[str, bytes]) -> None:
            content = files.get(name)
            if content is None:
                self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
                return
            etag = etag_of(name, content)
            headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            if name.endswith(LARGE):
                headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content))}
            wanted = self.headers.get("Range")
            if wanted and self.command == "GET":
                start = int(wanted.removeprefix("bytes=").partition("-")[0])
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                self._send(206, content[start:], headers)
            else:
                self._send(200, content, headers)

        def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                try:
                    self.wfile.write(body)
                except (BrokenPipeError, ConnectionResetError):  # the other side has enough
                    self.close_connection = True

    return Handler


@contextmanager
def running(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[FakeHub]:
    """A hub that huggingface_hub takes for the real one, and an empty cache."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    # Small pieces, so that a small file comes in many.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
