"""A hub or a mirror that answers what it should not: each is one error, and nothing is written."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import close_session
from support.fake_hub import COMMIT, Answer, FakeHub, _listed, running, set_constants
from support.odd_servers import answering

from gemma4cli.errors import DownloadError, Gemma4Error
from gemma4cli.hub import requests, transfer
from gemma4cli.hub.catalog import BUILTIN
from gemma4cli.hub.download import fetch, plan

REPO = "someone/gemma"
API = f"/api/models/{REPO}"
WEIGHTS = bytes(range(256)) * 200


@pytest.fixture
def waits() -> list[float]:
    """How long g4 has waited for the hub."""
    return []


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, waits: list[float]) -> Iterator[FakeHub]:
    """A hub with one Gemma 4."""
    with running(monkeypatch, tmp_path / "cache" / "hub") as fake:
        set_constants(monkeypatch, HF_HUB_DISABLE_XET=True)
        fake.repos[REPO] = {
            "config.json": (BUILTIN["tiny"] / "config.json").read_bytes(),
            "tokenizer.json": b"{}",
            "model.safetensors": WEIGHTS,
        }
        monkeypatch.setattr(requests, "pause", waits.append)
        monkeypatch.setattr(transfer, "pause", waits.append)
        yield fake


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


def pull() -> Path:
    return fetch(plan(REPO), lambda done: None)


def listing(hub: FakeHub, **changed: Any) -> dict[str, Any]:
    files = [_listed(name, content) for name, content in hub.repos[REPO].items()]
    return {"id": REPO, "sha": COMMIT, "siblings": files} | changed


def answer_with(hub: FakeHub, value: object) -> None:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    hub.answers[API] = Answer(body=body)


def change_weights(hub: FakeHub, **changed: Any) -> None:
    """List the weights otherwise."""
    value = listing(hub)
    value["siblings"][2] |= changed
    answer_with(hub, value)


BODIES: dict[str, bytes] = {
    "a login page": b"<!doctype html><title>Sign in</title>",
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "text": b'"sha"',
    "no number": b"NaN",
    "bytes": b"\xff\xfe\x00\x80",
    "deep": b"[" * 100_000,
    "a long number": b"1" * 10_000,
    "an empty object": b"{}",
}


@pytest.mark.parametrize("body", BODIES)
def test_a_listing_that_is_none(hub: FakeHub, tmp_path: Path, body: str) -> None:
    answer_with(hub, BODIES[body])
    with pytest.raises(DownloadError, match=r"not what g4 expects .* login page") as caught:
        plan(REPO)
    assert "\n" not in str(caught.value)
    assert files_below(tmp_path) == set()


FIELDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no commit": lambda it: it.pop("sha"),
    "commit null": lambda it: it.update(sha=None),
    "commit as a path": lambda it: it.update(sha="../../../x"),
    "commit as a name": lambda it: it.update(sha="main"),
    "commit with a newline": lambda it: it.update(sha=COMMIT + "\n"),
    "no files": lambda it: it.pop("siblings"),
    "files null": lambda it: it.update(siblings=None),
    "files as text": lambda it: it.update(siblings="config.json"),
    "files as names": lambda it: it.update(siblings=["config.json"]),
    "a file twice": lambda it: it["siblings"].append(it["siblings"][0]),
    "a name as a number": lambda it: it["siblings"][0].update(rfilename=1),
    "a size as text": lambda it: it["siblings"][0].update(size="10"),
    "a negative size": lambda it: it["siblings"][0].update(size=-1),
    "a huge size": lambda it: it["siblings"][0].update(size=10**15),
    "huge weights": lambda it: it["siblings"][2].update(size=10**400),
    "a size as a float": lambda it: it["siblings"][0].update(size=1e3),
    "a size as a truth": lambda it: it["siblings"][0].update(size=True),
    "no size": lambda it: it["siblings"][0].pop("size"),
    "lfs as text": lambda it: it["siblings"][2].update(lfs="x"),
    "lfs without a checksum": lambda it: it["siblings"][2]["lfs"].pop("sha256"),
    "a checksum as a path": lambda it: it["siblings"][2]["lfs"].update(sha256="../../../x"),
    "a blob as a path": lambda it: it["siblings"][0].update(blobId="/tmp/x"),
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_listing_with_wrong_fields(hub: FakeHub, tmp_path: Path, field: str) -> None:
    value = listing(hub)
    FIELDS[field](value)
    answer_with(hub, value)
    with pytest.raises(DownloadError, match="not what g4 expects"):
        plan(REPO)
    assert files_below(tmp_path) == set()


@pytest.mark.parametrize(
    "name",
    [
        "model\0.safetensors",
        "model\\..\\..\\x.safetensors",
        "model/../../../x.safetensors",
        "../config.json",
        "/tmp/model.safetensors",
        "C:model.safetensors",
        "a/./b",
        "model\n.safetensors",
        "model-\ud800.safetensors",
    ],
)
def test_a_listing_with_unsafe_names(hub: FakeHub, tmp_path: Path, name: str) -> None:
    value = listing(hub)
    value["siblings"].append(value["siblings"][2] | {"rfilename": name})
    answer_with(hub, value)
    with pytest.raises(DownloadError, match="an unsafe name") as caught:
        plan(REPO)
    assert "\n" not in str(caught.value) and "\0" not in str(caught.value)
    assert files_below(tmp_path) == set()


@pytest.mark.parametrize("name", ["model" + "x" * 200, "model" + "x" * 260, "model" + "é" * 120])
def test_names_that_are_too_long(hub: FakeHub, tmp_path: Path, name: str) -> None:
    value = listing(hub)
    value["siblings"].append(value["siblings"][2] | {"rfilename": f"{name}.safetensors"})
    answer_with(hub, value)
    with pytest.raises(DownloadError, match="under a name of more than 200 bytes"):
        plan(REPO)
    assert files_below(tmp_path) == set()


def test_files_in_folders_are_passed_over(hub: FakeHub) -> None:
    hub.repos[REPO] |= {"model-old/x.safetensors": b"x", "aux/CON": b"x"}
    assert len(plan(REPO).files) == 3


ETAGS = ("../../../../x", "/tmp/g4-etag", "", "abc", "d41d8cd98f00b204e9800998ecf8427e", "a\\..\\b")


@pytest.mark.parametrize("etag", ETAGS)
def test_no_etag_becomes_a_path(hub: FakeHub, tmp_path: Path, etag: str) -> None:
    """Nor is one needed: the listing has the checksum."""
    for name, content in hub.repos[REPO].items():
        headers = {"ETag": f'"{etag}"', "X-Linked-Etag": etag, "X-Repo-Commit": COMMIT}
        hub.answers[f"/{name}"] = Answer(body=content, headers=headers if etag else {})
    folder = pull()
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    cache = tmp_path / "cache" / "hub" / f"models--{REPO.replace('/', '--')}"
    assert all(name.startswith(str(cache.relative_to(tmp_path))) for name in files_below(tmp_path))
    assert {p.name for p in (cache / "blobs").iterdir()} == {
        hashlib.sha256(WEIGHTS).hexdigest(),
        *(file["blobId"] for file in listing(hub)["siblings"][:2]),
    }


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_altered_files_are_refused(hub: FakeHub, tmp_path: Path, name: str) -> None:
    content = hub.repos[REPO][name]
    headers = {"ETag": f'"{hashlib.md5(content).hexdigest()}"'}
    hub.answers[f"/{name}"] = Answer(body=content[:-1] + b"!", headers=headers)
    with pytest.raises(DownloadError, match="checksum does not match the hub's"):
        pull()
    blobs = tmp_path / "cache" / "hub" / "models--someone--gemma" / "blobs"
    assert not any(name.endswith(".incomplete") for name in files_below(blobs))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_no_more_is_read_than_is_listed(hub: FakeHub, tmp_path: Path, name: str) -> None:
    hub.answers[f"/{name}"] = Answer(body=b"x" * 100_000, repeat=10_000)
    with pytest.raises(DownloadError, match="sends more"):
        pull()
    assert sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()) < 200_000


def test_a_listing_without_end(hub: FakeHub) -> None:
    hub.answers[API] = Answer(body=b"x" * 1_000_000, repeat=1000)
    with pytest.raises(DownloadError, match="sends more than 16,000,000 bytes"):
        plan(REPO)


def test_fewer_bytes_than_listed(hub: FakeHub) -> None:
    hub.answers["/config.json"] = Answer(body=b"{}")
    with pytest.raises(DownloadError, match="sends fewer"):
        pull()


@pytest.mark.parametrize("body", [b"[" * 100_000, b"[]", b"\xff", b"{", b"null"])
def test_a_config_that_is_none(hub: FakeHub, body: bytes) -> None:
    hub.repos[REPO]["config.json"] = body
    with pytest.raises(Gemma4Error, match=r"its config\.json"):
        pull()
    assert hub.ranges("model.safetensors") == []


def test_every_file_is_of_the_listed_commit(hub: FakeHub) -> None:
    pull()
    fetched = [path for _, path, _ in hub.asked if "/resolve/" in path]
    assert fetched and all(f"/resolve/{COMMIT}/" in path for path in fetched)


STATUS = {
    403: "the hub answers 403 Forbidden",
    404: "the hub does not have http.* .404",
    410: "the hub answers 410 Gone",
    302: "the hub answers 302 Found",
    599: "the hub answers 599",
}


@pytest.mark.parametrize("status", STATUS)
@pytest.mark.parametrize("end", ["/config.json", "/model.safetensors"])
def test_refusals_are_what_they_are(hub: FakeHub, status: int, end: str) -> None:
    hub.answers[end] = Answer(status=status, body=b"x" * 1000, repeat=1000, pause=0.0)
    with pytest.raises(DownloadError, match=STATUS[status]):
        pull()


@pytest.mark.parametrize("end", [API, "/config.json", "/model.safetensors"])
@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("", "redirects more than 10 times"),
        ("ftp://127.0.0.1/x", "redirects to ftp, which g4 does not follow"),
        ("file:///etc/passwd", "redirects to file, which g4 does not follow"),
        ("http://[", "redirects to what is no address"),
        ("http://127.0.0.1:99999/", "redirects to what is no address"),
        ("http://a\x1b[2J/", "redirects to what is no address"),
    ],
)
def test_redirects_that_lead_nowhere(hub: FakeHub, end: str, location: str, problem: str) -> None:
    hub.answers[end] = Answer(status=302, headers={"Location": location or "#loop"})
    with pytest.raises(DownloadError, match=problem):
        pull()


@pytest.mark.parametrize("end", [API, "/config.json", "/model.safetensors"])
@pytest.mark.parametrize("after", ["100000", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_hub_that_asks_to_wait_for_long(
    hub: FakeHub, waits: list[float], end: str, after: str
) -> None:
    hub.answers[end] = Answer(status=429, headers={"Retry-After": after})
    with pytest.raises(DownloadError, match=r"the hub asks to wait .* seconds: try again after"):
        pull()
    assert waits == []


def test_a_hub_that_is_busy(hub: FakeHub, waits: list[float]) -> None:
    hub.answers[API] = Answer(status=503, headers={"Retry-After": "7"})
    with pytest.raises(DownloadError, match="the hub answers 503 Service Unavailable"):
        pull()
    assert waits == [7, 7]
    hub.answers[API] = Answer(status=503, headers={"Retry-After": "soon"})
    with pytest.raises(DownloadError, match="503"):
        pull()
    assert waits == [7, 7, 1, 2]


@pytest.mark.parametrize("end", [API, "/config.json"])
@pytest.mark.parametrize("drips_headers", [True, False])
def test_an_answer_without_end(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, end: str, drips_headers: bool
) -> None:
    monkeypatch.setattr(requests, "SECONDS", 0.3)
    monkeypatch.setattr(transfer, "SECONDS_OF_FILE", 0.3)
    hub.answers[end] = Answer(body=b" ", repeat=500, pause=0.02, drips_headers=drips_headers)
    with pytest.raises(DownloadError, match=r"not answered within 0\.3 seconds"):
        pull()


def test_weights_that_drip(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_PACE_SECONDS", 0.2)
    hub.answers["/model.safetensors"] = Answer(body=b"x", repeat=500, pause=0.02)
    with pytest.raises(DownloadError, match="sends too slowly; the partial download is kept"):
        pull()


def test_headers_of_weights_that_drip(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "SECONDS", 0.3)
    hub.answers["/model.safetensors"] = Answer(repeat=500, pause=0.02, drips_headers=True)
    with pytest.raises(DownloadError, match=r"not answered within 0\.3 seconds"):
        pull()


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"junk\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\njunk",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000,
    ],
)
def test_what_answers_is_no_hub(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, junk: bytes) -> None:
    with answering(junk) as port:
        set_constants(monkeypatch, ENDPOINT=f"http://127.0.0.1:{port}")
        with pytest.raises(DownloadError, match=r"does not send valid HTTP|cannot be reached"):
            plan(REPO)


def test_a_certificate_that_nobody_has_signed(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with answering(b"", signed_by_itself=tmp_path) as port:
        set_constants(monkeypatch, ENDPOINT=f"https://localhost:{port}")
        problem = r"the hub's certificate is not valid \(self"
        with pytest.raises(DownloadError, match=problem) as caught:
            plan(REPO)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("junk", [b"junk\r\n\r\n", b"", None])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_none(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, junk: bytes | None, scheme: str
) -> None:
    monkeypatch.setattr(requests, "SECONDS", 0.5)
    with answering(junk) as port:
        monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "")
        address = f"{scheme}://hub.invalid"
        set_constants(monkeypatch, ENDPOINT=address, HF_HUB_DOWNLOAD_TIMEOUT=1)
        close_session()  # which has read the variables
        problem = "valid HTTP|proxy .* cannot be used|not answered within|cannot be reached"
        with pytest.raises(DownloadError, match=problem) as caught:
            plan(REPO)
    close_session()
    assert "\n" not in str(caught.value)


def test_a_name_that_is_never_found(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's function has no limit."""
    answered = threading.Event()
    monkeypatch.setattr(requests, "SECONDS", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: [answered.wait()])
    set_constants(monkeypatch, ENDPOINT="http://hub.invalid")
    with pytest.raises(DownloadError, match=r"not answered within 0\.1 seconds"):
        plan(REPO)
    answered.set()
