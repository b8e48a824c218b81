"""Fetching a repository from a hub on this machine: what comes, where to, and what breaks off."""

from __future__ import annotations

import errno
import fcntl
import json
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import scan_cache_dir
from support.fake_hub import COMMIT, TOKEN, FakeHub, etag_of, running, set_constants

from gemma4cli.errors import DownloadError, ModelNotFoundError, UnsupportedModelError
from gemma4cli.hub import inventory, names, transfer
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
        monkeypatch.setattr(transfer, "pause", lambda seconds: None)
        yield fake


@pytest.fixture(params=["http", "xet"])
def either_hub(hub: FakeHub, request: pytest.FixtureRequest) -> FakeHub:
    """The same hub, sending its weights by plain HTTP or by Xet."""
    hub.xet = request.param == "xet"
    return hub


def nothing(done: int) -> None:
    pass


def part_of(tmp_path: Path) -> Path:
    blobs = tmp_path / "hub" / "models--someone--gemma" / "blobs"
    return blobs / f"{etag_of('model.safetensors', WEIGHTS)}.incomplete"


def xorb_ranges(hub: FakeHub) -> list[str]:
    """The ranges that the Xet storage was asked for."""
    return [str(r) for _, path, r in hub.asked if path.startswith("/xorbs/")]


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


def test_fetched_files_are_in_the_cache(either_hub: FakeHub, tmp_path: Path) -> None:
    folder = fetch(plan(REPO), nothing)
    assert names.folder_of(REPO) == folder
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    cache = scan_cache_dir(tmp_path / "hub")
    assert not cache.warnings and not cache.incomplete_files


def test_weights_come_by_xet_where_the_hub_offers_it(hub: FakeHub) -> None:
    hub.xet = True
    fetch(plan(REPO), nothing)
    assert hub.ranges("model.safetensors") == [] and len(xorb_ranges(hub)) > 1


def test_xet_can_be_turned_off(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.xet = True
    set_constants(monkeypatch, HF_HUB_DISABLE_XET=True)
    fetch(plan(REPO), nothing)
    assert hub.ranges("model.safetensors") == [None] and xorb_ranges(hub) == []


def test_progress_ends_with_all_bytes(either_hub: FakeHub) -> None:
    seen: list[int] = []
    planned = plan(REPO)
    fetch(planned, seen.append)
    assert seen == sorted(seen) and seen[-1] == planned.size
    assert len(set(seen)) > 10, "progress is reported as bytes come"


def test_an_interrupted_download_is_resumed(either_hub: FakeHub, tmp_path: Path) -> None:
    break_off(plan(REPO), 30_000)
    kept = part_of(tmp_path).stat().st_size
    assert 25_000 < kept < len(WEIGHTS)
    assert plan(REPO).missing == len(WEIGHTS) - kept
    either_hub.asked.clear()
    seen: list[int] = []
    folder = fetch(plan(REPO), seen.append)
    assert seen[0] > kept, "what was there counts from the start"
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert not part_of(tmp_path).exists()
    if either_hub.xet:
        starts = [int(r.removeprefix("bytes=").partition("-")[0]) for r in xorb_ranges(either_hub)]
        assert min(starts) > kept - 1000, "no chunk before the one that broke off is sent again"
    else:
        assert either_hub.ranges("model.safetensors") == [f"bytes={kept}-"]


def test_xet_resumes_window_by_window(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.xet = True
    monkeypatch.setattr(transfer, "_WINDOW", 7_500)
    folder = fetch(plan(REPO), nothing)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_part_that_only_had_to_be_renamed(hub: FakeHub, tmp_path: Path) -> None:
    part_of(tmp_path).parent.mkdir(parents=True)
    part_of(tmp_path).write_bytes(WEIGHTS)
    fetch(plan(REPO), nothing)
    assert hub.ranges("model.safetensors") == []


def test_server_that_sends_only_whole_files(hub: FakeHub) -> None:
    break_off(plan(REPO), 30_000)
    hub.ranged = False
    folder = fetch(plan(REPO), nothing)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_broken_connections_are_replaced(hub: FakeHub) -> None:
    hub.breaks = [20_000, 0, 0, 15_000]
    folder = fetch(plan(REPO), nothing)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.ranges("model.safetensors") == [None, *["bytes=20000-"] * 3, "bytes=35000-"]


def test_connection_that_stays_broken(hub: FakeHub, tmp_path: Path) -> None:
    hub.breaks = [20_000, *[0] * 5]
    with pytest.raises(DownloadError, match="the partial download is kept"):
        fetch(plan(REPO), nothing)
    assert part_of(tmp_path).stat().st_size == 20_000


def test_xet_storage_that_does_not_answer(hub: FakeHub) -> None:
    hub.xet = hub.storage_fails = True
    with pytest.raises(DownloadError, match=r"interrupted .* is kept: try again"):
        fetch(plan(REPO), nothing)


def test_interrupted_model_is_not_taken_for_whole(hub: FakeHub) -> None:
    break_off(plan(REPO), 30_000)
    with pytest.raises(ModelNotFoundError, match="resume it with: g4 models pull someone/gemma"):
        names.folder_of(REPO)
    (entry,) = inventory.available()[len(BUILTIN) :]
    assert (entry.repo, entry.complete) == (REPO, False)
    assert inventory.largest_that_fits() is None


def test_second_fetch_asks_for_no_weights(either_hub: FakeHub) -> None:
    fetch(plan(REPO), nothing)
    either_hub.asked.clear()
    planned = plan(REPO)
    assert planned.missing == 0
    fetch(planned, nothing)
    assert either_hub.ranges("model.safetensors") == xorb_ranges(either_hub) == []


def test_one_at_a_time(hub: FakeHub, tmp_path: Path) -> None:
    break_off(plan(REPO), 30_000)
    kept = part_of(tmp_path).read_bytes()
    with part_of(tmp_path).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="another g4 is downloading it"):
            fetch(plan(REPO), nothing)
    assert part_of(tmp_path).read_bytes() == kept


def test_other_commit_than_planned(hub: FakeHub) -> None:
    planned = plan(REPO)
    assert planned.commit == COMMIT
    hub.commit = "f" * 40
    with pytest.raises(DownloadError, match="has just changed"):
        fetch(planned, nothing)


def test_token_is_only_for_the_hub(either_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    either_hub.elsewhere = not either_hub.xet
    fetch(plan(REPO), nothing)
    assert all(place.startswith("127.0.0.1/") for place in either_hub.tokens)
    places = [place.removeprefix("127.0.0.1/") for place in either_hub.tokens]
    fetched = f"api/models/{REPO}/xet-read-token/{COMMIT}"
    if not either_hub.xet:
        fetched = f"{REPO}/resolve/{COMMIT}/model.safetensors"
        assert len(either_hub.ranges("model.safetensors")) == 2, "here and elsewhere"
    assert fetched in places
    assert not any(place.startswith(("xorbs", "v1", "v2")) for place in places)


def test_a_corrupt_partial_download_is_deleted(either_hub: FakeHub, tmp_path: Path) -> None:
    break_off(plan(REPO), 30_000)
    part = part_of(tmp_path)
    part.write_bytes(bytes(part.stat().st_size))
    with pytest.raises(DownloadError, match="checksum does not match"):
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


def test_another_architecture_is_refused_before_its_weights_are_fetched(hub: FakeHub) -> None:
    hub.repos[REPO]["config.json"] = b'{"model_type": "llama"}'
    with pytest.raises(UnsupportedModelError, match="llama"):
        fetch(plan(REPO), nothing)
    assert hub.ranges("model.safetensors") == []


@pytest.mark.parametrize(
    ("missing", "problem"),
    [("config.json", "no config.json"), ("model.safetensors", "no safetensors files")],
)
def test_repository_without_a_checkpoint(hub: FakeHub, missing: str, problem: str) -> None:
    del hub.repos[REPO][missing]
    with pytest.raises(DownloadError, match=problem):
        plan(REPO)


def test_a_disk_that_is_too_full_is_an_error_before_the_download(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=60_000))
    planned = plan(REPO)
    with pytest.raises(DownloadError, match="free disk space, or set HF_HUB_CACHE"):
        require_disk(planned)
    with pytest.raises(DownloadError):
        fetch(planned, nothing)
    assert hub.ranges("model.safetensors") == []


def test_unknown_repository(hub: FakeHub) -> None:
    with pytest.raises(DownloadError, match="the hub has no such repository"):
        plan("someone/else")


def test_disk_that_fills_up(either_hub: FakeHub, tmp_path: Path) -> None:
    """A limit for files replaces the disk's; both end in an error of the system."""
    planned = plan(REPO)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(DownloadError, match="cannot be saved") as caught:
            fetch(planned, nothing)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG
    assert 0 < part_of(tmp_path).stat().st_size <= 20_000
    folder = fetch(plan(REPO), nothing)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_gated_repository(hub: FakeHub) -> None:
    """The hub says what is in one, and keeps its files."""
    hub.gated.add(REPO)
    with pytest.raises(DownloadError, match="request access"):
        fetch(plan(REPO), nothing)


def test_refused_token(hub: FakeHub) -> None:
    hub.refused.add(REPO)
    with pytest.raises(DownloadError, match="the hub rejects your token; run: hf auth login"):
        plan(REPO)


def test_offline(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    set_constants(monkeypatch, HF_HUB_OFFLINE=True)
    with pytest.raises(DownloadError, match="offline"):
        plan(REPO)


def test_gone_offline_since_it_was_planned(
    either_hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fetch(plan(REPO), nothing)
    part_of(tmp_path).with_suffix("").rename(part_of(tmp_path))
    with part_of(tmp_path).open("r+b") as part:
        part.truncate(30_000)
    planned = plan(REPO)
    either_hub.asked.clear()
    set_constants(monkeypatch, HF_HUB_OFFLINE=True)
    with pytest.raises(DownloadError, match="offline"):
        fetch(planned, nothing)
    assert either_hub.asked == []


def test_unreachable_hub(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    set_constants(monkeypatch, ENDPOINT="http://127.0.0.1:9")
    with pytest.raises(DownloadError, match="the hub cannot be reached"):
        plan(REPO)


def test_an_adapter_is_fetched_without_a_model(hub: FakeHub) -> None:
    files = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x" * 5000}
    hub.repos["me/lora"] = {**files, "README.md": b"", "training_args.bin": b""}
    folder = fetch(plan("me/lora"), lambda done: None)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    hub.repos["me/lora"] = {"adapter_config.json": b"{}", "adapter_model.bin": b""}
    with pytest.raises(DownloadError, match=r"has no config\.json"):
        plan("me/lora")


def test_adapter_files_beside_a_model_are_not_fetched(hub: FakeHub) -> None:
    hub.repos[REPO]["adapters.safetensors"] = b"x"
    assert "adapters.safetensors" not in [file.name for file in plan(REPO).files]
