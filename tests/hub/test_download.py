"""Fetching a repository from a hub on this machine: what comes, where to, and what breaks off."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from support.fake_hub import FakeHub, etag_of, running

from gemma4cli.errors import DownloadError, ModelNotFoundError, UnsupportedModelError
from gemma4cli.hub import cache as names
from gemma4cli.hub.catalog import BUILTIN
from gemma4cli.hub.download import Download, fetch, plan, require_disk

REPO = "someone/gemma"
WEIGHTS = bytes(range(256)) * 200


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub with one Gemma 4 of 51,200 bytes of weights, and an empty cache."""
    with running(monkeypatch, tmp_path / "hub") as fake:
        config = (BUILTIN["tiny"] / "config.json").read_bytes()
        fake.repos[REPO] = {
            "config.json": config,
            "tokenizer.json": b"{}",
            "model.safetensors": WEIGHTS,
            "README.md": b"# A card",
            "pytorch_model.bin": b"not for g4",
        }
        yield fake


def nothing(done: int) -> None:
    pass


def part_of(tmp_path: Path) -> Path:
    blobs = tmp_path / "hub" / "models--someone--gemma" / "blobs"
    return blobs / f"{etag_of('model.safetensors', WEIGHTS)}.incomplete"


def break_off(download: Download, at: int) -> None:
    """Fetch until ``at`` bytes are there, and be interrupted."""

    def interrupt(done: int) -> None:
        if done >= at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(download, interrupt)


def test_plan_counts_what_g4_reads(hub: FakeHub) -> None:
    planned = plan(REPO)
    assert [f.name for f in planned.files] == ["config.json", "tokenizer.json", "model.safetensors"]
    assert (
        planned.size == planned.missing == sum(len(hub.repos[REPO][f.name]) for f in planned.files)
    )


def test_plan_fetches_nothing(hub: FakeHub, tmp_path: Path) -> None:
    plan(REPO)
    assert not (tmp_path / "hub").exists()


def test_fetched_files_are_in_the_cache(hub: FakeHub) -> None:
    folder = fetch(plan(REPO), nothing)
    assert names.folder_of(REPO) == folder
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_progress_ends_with_all_bytes(hub: FakeHub) -> None:
    seen: list[int] = []
    planned = plan(REPO)
    fetch(planned, seen.append)
    assert seen == sorted(seen) and seen[-1] == planned.size
    assert len(set(seen)) > 10, "bytes are told as they come"


def test_interrupted_download_goes_on(hub: FakeHub, tmp_path: Path) -> None:
    break_off(plan(REPO), 30_000)
    kept = part_of(tmp_path).stat().st_size
    assert 0 < kept < len(WEIGHTS)
    assert plan(REPO).missing == len(WEIGHTS) - kept
    folder = fetch(plan(REPO), nothing)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.ranges("model.safetensors") == [None, f"bytes={kept}-"]
    assert not part_of(tmp_path).exists()


def test_interrupted_model_is_not_taken_for_whole(hub: FakeHub) -> None:
    break_off(plan(REPO), 30_000)
    with pytest.raises(ModelNotFoundError, match="go on with: g4 models pull someone/gemma"):
        names.folder_of(REPO)
    (entry,) = names.available()[len(BUILTIN) :]
    assert (entry.repo, entry.complete) == (REPO, False)
    assert names.largest_that_fits() is None


def test_second_fetch_asks_for_no_weights(hub: FakeHub) -> None:
    fetch(plan(REPO), nothing)
    hub.asked.clear()
    planned = plan(REPO)
    assert planned.missing == 0
    fetch(planned, nothing)
    assert hub.ranges("model.safetensors") == []


def test_spoilt_part_is_not_kept(hub: FakeHub, tmp_path: Path) -> None:
    break_off(plan(REPO), 30_000)
    part = part_of(tmp_path)
    part.write_bytes(bytes(part.stat().st_size))
    with pytest.raises(DownloadError, match="another checksum"):
        fetch(plan(REPO), nothing)
    assert not part.exists()


def test_shards(hub: FakeHub) -> None:
    files = hub.repos[REPO]
    del files["model.safetensors"]
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    files |= {first: WEIGHTS, second: WEIGHTS[:100]}
    files["model.safetensors.index.json"] = json.dumps(
        {"weight_map": {"a": first, "b": second}}
    ).encode()
    folder = fetch(plan(REPO), nothing)
    assert [(folder / name).read_bytes() for name in (first, second)] == [WEIGHTS, WEIGHTS[:100]]


def test_no_gemma_4_is_found_out_before_its_weights_come(hub: FakeHub) -> None:
    hub.repos[REPO]["config.json"] = b'{"model_type": "llama"}'
    with pytest.raises(UnsupportedModelError, match="llama"):
        fetch(plan(REPO), nothing)
    assert hub.ranges("model.safetensors") == []


@pytest.mark.parametrize(
    ("missing", "problem"),
    [("config.json", "no config.json"), ("model.safetensors", "no weights as safetensors")],
)
def test_repository_without_a_checkpoint(hub: FakeHub, missing: str, problem: str) -> None:
    del hub.repos[REPO][missing]
    with pytest.raises(DownloadError, match=problem):
        plan(REPO)


def test_full_disk_is_told_before(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=60_000))
    planned = plan(REPO)
    with pytest.raises(DownloadError, match="make room, or set HF_HUB_CACHE"):
        require_disk(planned)
    with pytest.raises(DownloadError):
        fetch(planned, nothing)
    assert hub.ranges("model.safetensors") == []


def test_unknown_repository(hub: FakeHub) -> None:
    with pytest.raises(DownloadError, match="the hub has no such repository"):
        plan("someone/else")


def test_gated_repository(hub: FakeHub) -> None:
    hub.gated.add(REPO)
    with pytest.raises(DownloadError, match="ask for access"):
        plan(REPO)


def test_offline(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="offline"):
        plan(REPO)


def test_unreachable_hub(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match="the hub cannot be reached"):
        plan(REPO)
