"""Names to folders: built in, on disk, or in a Hugging Face cache as the hub's tools leave it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from huggingface_hub import constants

from gemma4cli.engine import hub
from gemma4cli.engine.catalog import BUILTIN, CATALOG, alias_of, entry_of
from gemma4cli.errors import ModelNotFoundError

E2B = "mlx-community/gemma-4-e2b-it-4bit"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


def put(cache: Path, repo: str, *, kind: str = "gemma4", size: int = 10) -> Path:
    """A repository in the cache, with weights of ``size`` bytes."""
    root = cache / f"models--{repo.replace('/', '--')}"
    snapshot = root / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("0123abcd")
    (snapshot / "config.json").write_text(json.dumps({"model_type": kind}))
    with (snapshot / "model.safetensors").open("wb") as file:
        file.truncate(size)
    return snapshot


def test_built_in() -> None:
    assert hub.resolve("tiny") == BUILTIN["tiny"]
    assert (BUILTIN["tiny"] / "config.json").is_file()


def test_alias_and_repository(cache: Path) -> None:
    snapshot = put(cache, E2B)
    assert hub.resolve("e2b") == hub.resolve("E2B:4bit") == hub.resolve(E2B) == snapshot


def test_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "tiny").mkdir()
    assert hub.resolve("mine") == Path("mine")
    assert hub.resolve(str(tmp_path / "mine")) == tmp_path / "mine"
    assert hub.resolve("tiny") == BUILTIN["tiny"], "an alias wins"
    assert hub.resolve("./tiny") == Path("tiny")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("e2b", f"hf download {E2B}"),
        ("e2b:8bit", "hf download mlx-community/gemma-4-e2b-it-8bit"),
        ("someone/model", "hf download someone/model"),
        ("e2b:9bit", "e2b comes as 4bit, 5bit, 6bit, 8bit, mxfp4, mxfp8, bf16"),
        ("tinny", "did you mean tiny?"),
        ("./nowhere", "name a folder, a hub id or an alias"),
        ("a b/c", "no valid repository name"),
    ],
)
def test_what_is_not_there(name: str, hint: str, cache: Path) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        hub.resolve(name)
    assert name in str(caught.value) and hint in str(caught.value)


def test_available(cache: Path) -> None:
    put(cache, "google/gemma-4-E4B-it", size=30)
    put(cache, E2B, size=20)
    put(cache, "someone/unified", kind="gemma4_unified_text", size=40)
    put(cache, "someone/other", kind="llama")
    (put(cache, "someone/broken") / "config.json").write_text("{")
    (put(cache, "someone/headless") / "model.safetensors").unlink()
    entries = hub.available()
    assert [(e.name, e.repo, e.size) for e in entries[1:]] == [
        ("e2b", E2B, 20),
        ("google/gemma-4-E4B-it", "google/gemma-4-E4B-it", 30),
        ("someone/unified", "someone/unified", 40),
    ]
    assert (entries[0].name, entries[0].repo) == ("tiny", None)
    assert all(hub.resolve(entry.name) == entry.folder for entry in entries)


def test_nothing_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "none"))
    assert [entry.name for entry in hub.available()] == ["tiny"]
    assert hub.largest_that_fits() is None


def test_largest_that_fits(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest that leaves room, never the built-in one."""
    monkeypatch.setattr(os, "sysconf", lambda name: 100 if name == "SC_PHYS_PAGES" else 10)
    put(cache, "someone/huge", size=701)
    assert hub.largest_that_fits() is None
    put(cache, "someone/fitting", size=700)
    put(cache, E2B, size=20)
    entry = hub.largest_that_fits()
    assert entry is not None and entry.name == "someone/fitting"


def test_catalog() -> None:
    for alias, entries in CATALOG.items():
        assert entry_of(alias) == next(iter(entries.values()))
        for quant, entry in entries.items():
            assert entry_of(f"{alias}:{quant}") == entry
            name = alias_of(entry.repo)
            assert name is not None and entry_of(name) == entry
    assert entry_of("tiny") is None and alias_of("someone/model") is None
