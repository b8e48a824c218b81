"""A hub on this machine: as much of huggingface.co's HTTP as fetching a model takes.

Large files come by plain HTTP, or by Xet: the hub names a file's content, and a storage server
(here the same one) says which ranges of which "xorbs" it is made of.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = ".safetensors"
TOKEN = "hf_secret"
CHUNK = 1000
"""Bytes of a chunk of Xet."""
TERM = 4
"""Chunks of a range of Xet that is fetched at once."""


@dataclass(frozen=True)
class Answer:
    """A hostile answer: its body comes ``repeat`` times, ``pause`` seconds apart."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    repeat: int = 1
    pause: float = 0.0
    drips_headers: bool = False


@dataclass
class FakeHub:
    """Repositories by name, their files by name. ``asked`` holds method, path and range of all
    that was asked for, and ``tokens`` the host and path of what came with the user's token.

    ``xet`` offers large files by Xet too; with ``storage_fails`` its storage has none of them.
    ``elsewhere`` redirects their plain transfer to another host. A plain transfer sends no more
    bytes than the first of ``breaks``, the next one than the second; without ``ranged`` it always
    sends whole files. ``commit`` is the revision that it has. ``answers`` replace what
    is sent to GET for paths that end in their keys.
    """

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    xet: bool = False
    storage_fails: bool = False
    elsewhere: bool = False
    ranged: bool = True
    breaks: list[int] = field(default_factory=list)
    commit: str = COMMIT
    answers: dict[str, Answer] = field(default_factory=dict)

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


def _xorb(content: bytes) -> bytes:
    """A xorb of a whole file: its chunks as they are, each with version, sizes and compression."""
    chunks = (content[at : at + CHUNK] for at in range(0, len(content), CHUNK))
    return b"".join(
        b"\0" + len(c).to_bytes(3, "little") + b"\0" + len(c).to_bytes(3, "little") + c
        for c in chunks
    )


def _reconstruction(content: bytes, start: int, end: int, url: str) -> dict[str, Any]:
    """Which ranges of the xorb hold the bytes of a file from ``start`` to ``end``."""
    xorb = etag_of(LARGE, content)
    chunks = -(-len(content) // CHUNK)
    terms, infos = [], []
    for first in range(start // CHUNK, -(-end // CHUNK), TERM):
        last = min(first + TERM, -(-end // CHUNK), chunks)
        span = {"start": first, "end": last}
        length = min(last * CHUNK, len(content)) - first * CHUNK
        terms.append({"hash": xorb, "unpacked_length": length, "range": span})
        at = first * (CHUNK + 8)
        url_range = {"start": at, "end": at + length + 8 * (last - first) - 1}
        infos.append({"range": span, "url": url, "url_range": url_range})
    offset = start % CHUNK
    return {"offset_into_first_range": offset, "terms": terms, "fetch_info": {xorb: infos}}


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
            if TOKEN in self.headers.get("Authorization", ""):
                hub.tokens.append(self.headers["Host"].partition(":")[0] + path)
            answer = next((a for end, a in hub.answers.items() if path.endswith(end)), None)
            if answer is not None and self.command == "GET":
                self._send_hostile(answer)
                return
            parts = path.strip("/").removeprefix("api/models/").split("/")
            repo, rest = "/".join(parts[:2]), parts[2:]
            if parts[1:2] == ["reconstructions"] or parts[0] == "xorbs":
                self._send_xet(parts)
            elif repo in hub.refused:
                message = "Invalid credentials in Authorization header"
                self._send(401, b"", {"X-Error-Message": message})
            elif repo in hub.gated and rest[:1] == ["resolve"]:
                self._send(403, b"", {"X-Error-Code": "GatedRepo"})
            elif repo not in hub.repos:
                self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
            elif rest[:1] == ["xet-read-token"]:
                self._send_token()
            elif rest[:1] == ["resolve"]:
                self._send_file(repo, "/".join(rest[2:]))
            else:
                files = [_listed(name, content) for name, content in hub.repos[repo].items()]
                model = {"id": repo, "modelId": repo, "sha": hub.commit, "siblings": files}
                self._send(200, json.dumps(files if rest[:1] == ["tree"] else model).encode())

        def _send_file(self, repo: str, name: str) -> None:
            content = hub.repos[repo].get(name)
            if content is None:
                self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
                return
            etag = etag_of(name, content)
            headers = {"ETag": f'"{etag}"', "X-Repo-Commit": hub.commit, "Accept-Ranges": "bytes"}
            if name.endswith(LARGE):
                headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content))}
                if hub.xet:
                    route = f"{self._address()}/api/models/{repo}/xet-read-token/{COMMIT}"
                    headers |= {"X-Xet-Hash": etag, "X-Xet-Refresh-Route": route}
                if hub.elsewhere and self.headers["Host"].startswith("127."):
                    headers["Location"] = f"{self._address()}{self.path}".replace(
                        "127.0.0.1", "localhost"
                    )
                    self._send(302, b"", headers)
                    return
            if self.command == "HEAD":
                self._send(200, content, headers)
            else:
                at_most = hub.breaks.pop(0) if hub.breaks and name.endswith(LARGE) else None
                self._send_range(content, headers, at_most)

        def _send_range(
            self, content: bytes, headers: dict[str, str], at_most: int | None = None
        ) -> None:
            """What is asked for of ``content``; the connection breaks after ``at_most`` bytes."""
            start, end = self._range(len(content)) if hub.ranged else (0, len(content))
            status = 200 if (start, end) == (0, len(content)) else 206
            if status == 206:
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
            self._send(status, content[start:end], headers, at_most)

        def _range(self, size: int) -> tuple[int, int]:
            """What is asked for of ``size`` bytes, its end excluded."""
            first, _, last = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
            return int(first or 0), min(int(last) + 1, size) if last else size

        def _address(self) -> str:
            return f"http://{self.headers['Host']}"

        def _send_token(self) -> None:
            answer = {"accessToken": "xet", "exp": 2**32, "casUrl": self._address()}
            names = ("X-Xet-Access-Token", "X-Xet-Token-Expiration", "X-Xet-Cas-Url")
            headers = dict(zip(names, map(str, answer.values()), strict=True))
            self._send(200, json.dumps(answer).encode(), headers)

        def _send_xet(self, parts: list[str]) -> None:
            contents = [c for files in hub.repos.values() for c in files.values()]
            content = next((c for c in contents if etag_of(LARGE, c) == parts[-1]), None)
            if content is None or parts[0] == "v2" or hub.storage_fails:
                self._send(404, b"")
            elif parts[0] == "xorbs":
                self._send_range(_xorb(content), {})
            else:
                url = f"{self._address()}/xorbs/{parts[-1]}"
                answer = _reconstruction(content, *self._range(len(content)), url)
                self._send(200, json.dumps(answer).encode())

        def _send_hostile(self, answer: Answer) -> None:
            """Without a length, so that the end of the connection ends the body."""
            self.close_connection = True
            with suppress(OSError):  # the other side has enough
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.drips_headers:
                    self.flush_headers()
                else:
                    self.end_headers()
                for _ in range(answer.repeat):
                    self.wfile.write(b"X: y\r\n" if answer.drips_headers else answer.body)
                    time.sleep(answer.pause)

        def _send(
            self,
            status: int,
            body: bytes,
            headers: dict[str, str] | None = None,
            at_most: int | None = None,
        ) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                try:
                    self.wfile.write(body[:at_most])
                    self.close_connection = self.close_connection or at_most is not None
                except (BrokenPipeError, ConnectionResetError):  # the other side has enough
                    self.close_connection = True

    return Handler


def set_constants(monkeypatch: pytest.MonkeyPatch, **values: str | int) -> None:
    """What huggingface_hub reads from variables as it is imported."""
    for name, value in values.items():
        monkeypatch.setattr(constants, name, value)


@contextmanager
def running(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[FakeHub]:
    """A hub that huggingface_hub takes for the real one, and an empty cache."""
    with serving() as (hub, address):
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        # Small chunks, so that a small file comes in many.
        set_constants(
            monkeypatch,
            ENDPOINT=address,
            HUGGINGFACE_CO_URL_TEMPLATE=template,
            HF_HUB_OFFLINE=False,
            HF_HUB_CACHE=str(cache),
            DOWNLOAD_CHUNK_SIZE=1000,
        )
        yield hub


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show what went wrong, unless the other side was killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving() -> Iterator[tuple[FakeHub, str]]:
    """A hub and its address, for ``HF_ENDPOINT``."""
    hub = FakeHub()
    server = _Server(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
