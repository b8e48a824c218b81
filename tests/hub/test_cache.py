"""Names to folders: built in, on disk, or in a Hugging Face cache as the hub's tools leave it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.hub_cache import cached_files

from gemma4cli.errors import ModelNotFoundError
from gemma4cli.hub import inventory, names
from gemma4cli.hub.catalog import BUILTIN, CATALOG, alias_of, entry_of, largest_within, recommended
from gemma4cli.hub.removal import plan_removal, remove

E2B = "mlx-community/gemma-4-e2b-it-4bit"


def test_built_in() -> None:
    for name, folder in BUILTIN.items():
        assert names.folder_of(name) == folder
        assert (folder / "config.json").is_file()


def test_alias_and_repository(cache: Path) -> None:
    snapshot = cached_files(cache, E2B)
    assert names.folder_of("e2b") == names.folder_of("E2B:4bit") == names.folder_of(E2B) == snapshot


def test_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "tiny").mkdir()
    assert names.folder_of("mine") == Path("mine")
    assert names.folder_of(str(tmp_path / "mine")) == tmp_path / "mine"
    assert names.folder_of("tiny") == BUILTIN["tiny"], "an alias wins"
    assert names.folder_of("./tiny") == Path("tiny")


def test_a_model_that_is_not_cached_is_an_error_with_a_hint(
    subtests: pytest.Subtests, cache: Path
) -> None:
    for name, hint in [
        ("e2b", f"{E2B} is not in the local cache; download it with: g4 models pull e2b"),
        ("e2b:8bit", "g4 models pull e2b:8bit"),
        ("someone/model", "g4 models pull someone/model"),
        ("e2b:9bit", "e2b is available as 4bit, 5bit, 6bit, 8bit, mxfp4, mxfp8, bf16"),
        ("tinny", "did you mean tiny?"),
        ("./nowhere", "name a folder, a hub id or an alias"),
        ("a b/c", "not a valid repository name"),
    ]:
        with subtests.test(name=name, hint=hint):
            with pytest.raises(ModelNotFoundError) as caught:
                names.folder_of(name)
            assert name in str(caught.value) and hint in str(caught.value)


def test_available(cache: Path) -> None:
    cached_files(cache, "google/gemma-4-E4B-it", size=30)
    cached_files(cache, E2B, size=20)
    cached_files(cache, "someone/unified", kind="gemma4_unified_text", size=40)
    cached_files(cache, "someone/other", kind="llama")
    (cached_files(cache, "someone/broken", size=5) / "config.json").write_text("{")
    (cached_files(cache, "someone/headless") / "model.safetensors").unlink()
    entries = inventory.available()
    assert [(e.name, e.repo, e.size) for e in entries[len(BUILTIN) :]] == [
        ("someone/headless", "someone/headless", 0),
        ("someone/broken", "someone/broken", 5),
        ("e2b", E2B, 20),
        ("google/gemma-4-E4B-it", "google/gemma-4-E4B-it", 30),
        ("someone/unified", "someone/unified", 40),
    ]
    assert [e.name for e in entries if not e.complete] == ["someone/headless"]
    assert (entries[0].name, entries[0].repo) == ("tiny", None)
    assert all(names.folder_of(entry.name) == entry.folder for entry in entries if entry.complete)


def test_a_cache_that_does_not_exist_holds_no_models(cache: Path) -> None:
    cache.rmdir()
    assert [entry.name for entry in inventory.available()] == list(BUILTIN)
    assert inventory.largest_that_fits() is None


def test_largest_that_fits(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest that leaves memory, never the built-in one, and none that is broken."""
    cached_files(cache, "someone/broken", size=10**9)
    for repo, megabytes in (("someone/huge", 30), ("someone/fitting", 20), (E2B, 1)):
        folder = cached_files(cache, repo)
        (folder / "config.json").write_bytes((BUILTIN["tiny"] / "config.json").read_bytes())
        weights = {"weight": np.zeros((megabytes, 10**6), np.int8)}
        save_file(weights, folder / "model.safetensors")
    needs = {entry.name: entry.needs for entry in inventory.available()}

    def limit(count: int) -> None:
        monkeypatch.setattr(inventory, "memory_limit", lambda found: count)

    limit(needs["someone/fitting"])
    found = inventory.largest_that_fits()
    assert found is not None and found.name == "someone/fitting"
    limit(needs["e2b"] - 1)
    assert inventory.largest_that_fits() is None


def test_published_models_are_widened_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 becomes float32 there; packed weights stay as they are."""
    needs = {}
    for size in (4, None):
        monkeypatch.setattr(inventory, "float_size", lambda size=size: size)
        needs[size] = {model.name: model.needs for model in inventory.published()}
    assert needs[4]["e2b:bf16"] - needs[None]["e2b:bf16"] == entry_of("e2b:bf16").bytes  # type: ignore[union-attr]
    assert needs[4]["e2b"] == needs[None]["e2b"]


def test_what_a_model_needs_is_more_than_its_weights() -> None:
    (tiny, *_) = inventory.available()
    assert tiny.needs > tiny.size and tiny.fits


def test_incomplete_shards(cache: Path) -> None:
    folder = cached_files(cache, E2B)
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelNotFoundError, match="download is unfinished"):
        names.folder_of("e2b")
    (folder / "model-2.safetensors").write_bytes(b"")
    assert names.folder_of("e2b") == folder


def test_a_removal_frees_the_planned_bytes(cache: Path) -> None:
    """And nothing of a copy, which has the same revision."""
    cached_files(cache, E2B, size=5000)
    cached_files(cache, "someone/copy")
    removal = plan_removal("e2b")
    assert removal.size > 5000
    remove(removal)
    assert not removal.folder.exists()
    assert [entry.name for entry in inventory.available()] == [*BUILTIN, "someone/copy"]


def test_a_partial_download_can_be_removed(cache: Path) -> None:
    blobs = cache / "models--someone--model" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "ab.incomplete").write_bytes(b"12345")
    removal = plan_removal("someone/model")
    assert removal.size == 5
    remove(removal)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tiny", "it is built in; name a model in the hub cache"),
        ("e2b", "is not in the local cache"),
        ("./mine", "delete it yourself"),
        ("mine/model", "delete it yourself"),
        ("../hub", "delete it yourself"),
        ("a b/c", "not a valid repository name"),
    ],
)
def test_only_cached_models_can_be_removed(
    name: str, hint: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "mine" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ModelNotFoundError) as caught:
        plan_removal(name)
    assert hint in str(caught.value)
    assert cache.is_dir()


GIB = 2**30


def test_memory_decides_on_the_recommended_model(subtests: pytest.Subtests) -> None:
    for gibibytes, alias in [
        (4, None),
        (7.6, "e2b"),
        (16, "e4b"),
        (23.5, "12b"),
        (32, "26b"),
        (64, "31b"),
    ]:
        with subtests.test(gibibytes=gibibytes, alias=alias):
            assert recommended(int(gibibytes * GIB), on_cpu=False) == alias


def test_a_cpu_gets_the_smallest() -> None:
    assert recommended(64 * GIB, on_cpu=True) == "e2b"
    assert recommended(4 * GIB, on_cpu=True) is None


def test_the_largest_model_within_a_limit(subtests: pytest.Subtests) -> None:
    for gigabytes, alias in [(4, None), (5, "e2b"), (8, "12b"), (17, "26b"), (100, "31b")]:
        with subtests.test(gigabytes=gigabytes, alias=alias):
            assert largest_within(int(gigabytes * 1e9)) == alias


def test_catalog() -> None:
    for alias, entries in CATALOG.items():
        assert entry_of(alias) == next(iter(entries.values()))
        for quant, entry in entries.items():
            assert entry_of(f"{alias}:{quant}") == entry
            name = alias_of(entry.repo)
            assert name is not None and entry_of(name) == entry
    assert entry_of("tiny") is None and alias_of("someone/model") is None
