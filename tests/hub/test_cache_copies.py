"""However a cache was copied, what is listed can be loaded, and the rest says why not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gemma4cli.api import load, model_info
from gemma4cli.errors import CheckpointError, LoadError, ModelNotFoundError
from gemma4cli.hub import inventory, names, needs, removal, resolving
from gemma4cli.hub.catalog import BUILTIN
from gemma4cli.hub.download import FILES

TINY = BUILTIN["tiny"]
REPO = "someone/gemma-4-Tiny"
ROOT = "models--someone--gemma-4-Tiny"
MAIN, OTHER = "a" * 40, "b" * 40


def put(cache: Path, *, commit: str = MAIN, main: str | None = MAIN, links: bool = True) -> Path:
    """A loadable repository, as huggingface_hub stores it; with ``links`` to blobs."""
    root = cache / ROOT
    snapshot = root / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (root / "blobs").mkdir(exist_ok=True)
    (root / "refs").mkdir(exist_ok=True)
    for name in (*FILES, "model.safetensors"):
        if not (TINY / name).is_file():
            continue
        if links:
            blob = root / "blobs" / f"{commit[:4]}-{name}"
            shutil.copy(TINY / name, blob)
            (snapshot / name).symlink_to(Path("..", "..", "blobs", blob.name))
        else:
            shutil.copy(TINY / name, snapshot / name)
    if main is not None:
        (root / "refs" / "main").write_text(main)
    return snapshot


def listed() -> list[inventory.ModelEntry]:
    return [entry for entry in inventory.available() if entry.repo is not None]


def assert_loads(snapshot: Path, name: str = REPO) -> None:
    """Every way to a model finds the same folder."""
    (entry,) = listed()
    assert (entry.repo, entry.folder, entry.problem) == (REPO, snapshot, None)
    assert names.folder_of(name) == resolving.resolve(name).folder == snapshot
    default = inventory.largest_that_fits()
    assert default is not None and default.folder == snapshot
    assert inventory.cached_repos() == [REPO]
    assert model_info(name).folder == snapshot
    assert load(name).folder == snapshot
    assert removal.plan_removal(name).repo == REPO


def as_is(cache: Path) -> Path:
    return put(cache)


def plain_copies(cache: Path) -> Path:
    return put(cache, links=False)


def without_blobs(cache: Path) -> Path:
    snapshot = put(cache, links=False)
    shutil.rmtree(cache / ROOT / "blobs")
    return snapshot


def without_refs(cache: Path) -> Path:
    snapshot = put(cache)
    shutil.rmtree(cache / ROOT / "refs")
    return snapshot


def refs_with_a_line_end(cache: Path) -> Path:
    put(cache, commit=OTHER, main=None)
    return put(cache, main=f"{MAIN}\r\n")


def refs_to_a_missing_snapshot(cache: Path) -> Path:
    return put(cache, main=OTHER)


def refs_that_are_binary(cache: Path) -> Path:
    snapshot = put(cache)
    (cache / ROOT / "refs" / "main").write_bytes(b"\xff\xfe\x00")
    return snapshot


def two_snapshots(cache: Path) -> Path:
    put(cache, commit=OTHER, main=None)
    return put(cache)


def no_refs_and_two_snapshots(cache: Path) -> Path:
    """The newer one."""
    snapshot = put(cache, main=None)
    older = put(cache, commit=OTHER, main=None)
    os.utime(older, (1, 1))
    return snapshot


def a_truncated_one_beside_it(cache: Path) -> Path:
    broken = put(cache, links=False)
    (broken / "model.safetensors").write_bytes((TINY / "model.safetensors").read_bytes()[:5000])
    return put(cache, commit=OTHER, main=None)


def an_unfinished_one_beside_it(cache: Path) -> Path:
    broken = put(cache)
    (broken / "model.safetensors").unlink()
    return put(cache, commit=OTHER, main=None)


def one_with_a_broken_config_beside_it(cache: Path) -> Path:
    broken = put(cache, links=False)
    (broken / "config.json").write_text('{"model_type": "gemma4"}')
    return put(cache, commit=OTHER, main=None)


def with_the_hubs_own_files(cache: Path) -> Path:
    snapshot = put(cache)
    (cache / ROOT / ".no_exist" / MAIN).mkdir(parents=True)
    (cache / ROOT / "blobs" / "abc.incomplete").write_bytes(b"123")
    (cache / ".locks" / ROOT).mkdir(parents=True)
    (cache / "version.txt").write_text("1")
    (cache / "CACHEDIR.TAG").write_text("")
    (cache / "datasets--a--b" / "snapshots" / MAIN).mkdir(parents=True)
    return snapshot


def a_link_to_another_disk(cache: Path) -> Path:
    put(cache)
    (cache / ROOT).rename(cache.parent / "elsewhere")
    (cache / ROOT).symlink_to(cache.parent / "elsewhere")
    return cache / ROOT / "snapshots" / MAIN


def read_only(cache: Path) -> Path:
    snapshot = put(cache)
    for path in (snapshot, cache / ROOT / "blobs", cache / ROOT, cache):
        path.chmod(0o555)
    return snapshot


@pytest.mark.parametrize(
    "copy",
    [
        as_is,
        plain_copies,
        without_blobs,
        without_refs,
        refs_with_a_line_end,
        refs_to_a_missing_snapshot,
        refs_that_are_binary,
        two_snapshots,
        no_refs_and_two_snapshots,
        a_truncated_one_beside_it,
        an_unfinished_one_beside_it,
        one_with_a_broken_config_beside_it,
        with_the_hubs_own_files,
        a_link_to_another_disk,
        read_only,
    ],
    ids=lambda copy: copy.__name__,
)
def test_a_copy_is_listed_and_loads(copy: Callable[[Path], Path], cache: Path) -> None:
    assert_loads(copy(cache))


@pytest.mark.parametrize("name", [REPO.lower(), REPO.upper(), "Someone/Gemma-4-tiny"])
def test_the_case_of_an_id_does_not_matter(name: str, cache: Path) -> None:
    assert_loads(put(cache), name)


def test_of_two_ids_that_differ_in_case_the_exact_one_is_meant(cache: Path) -> None:
    put(cache)
    other = cache / ROOT.lower()
    shutil.copytree(cache / ROOT, other, symlinks=True)
    assert names.folder_of(REPO.lower()).is_relative_to(other)
    assert names.folder_of(REPO).is_relative_to(cache / ROOT)


@pytest.mark.parametrize("lost", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named_by_the_list_and_by_the_error(lost: str, cache: Path) -> None:
    (put(cache) / lost).unlink()
    with pytest.raises(ModelNotFoundError) as caught:
        resolving.resolve(REPO)
    assert f"{lost} is missing" in str(caught.value)
    assert f"g4 models pull {REPO}" in str(caught.value)
    entries = listed()
    assert [entry.problem for entry in entries] == (
        [] if lost == "config.json" else [f"{lost} is missing"]
    )
    assert not any(entry.complete for entry in entries)
    assert inventory.largest_that_fits() is None


def test_links_to_blobs_that_were_not_copied_are_missing_files(cache: Path) -> None:
    snapshot = put(cache)
    (snapshot / "model.safetensors").resolve().unlink()
    (entry,) = listed()
    assert (entry.problem, entry.size) == ("model.safetensors is missing", 0)
    with pytest.raises(ModelNotFoundError, match=r"model\.safetensors is missing"):
        names.folder_of(REPO)


def test_a_download_that_has_just_begun_can_be_resumed_or_removed(cache: Path) -> None:
    (cache / ROOT / "blobs").mkdir(parents=True)
    (cache / ROOT / "blobs" / "abc.incomplete").write_bytes(b"123")
    with pytest.raises(ModelNotFoundError, match="unfinished; resume it"):
        resolving.resolve(REPO)
    assert listed() == []
    assert removal.plan_removal(REPO).size == 3


def spoil(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


def as_a_folder(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()


def sizes_of_zero(folder: Path) -> None:
    config = json.loads((TINY / "config.json").read_bytes())
    config["audio_config"]["attention_chunk_size"] = 0
    config["vision_config"]["pooling_kernel_size"] = 0
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    "change",
    [
        spoil("config.json", "{"),
        spoil("config.json", "[" * 100_000),
        spoil("config.json", '{"model_type": ["gemma4"]}'),
        spoil("config.json", '{"model_type": "gemma4", "text_config": 5}'),
        spoil("model.safetensors", ""),
        spoil("model.safetensors", "x" * 100),
        spoil("model.safetensors.index.json", "{"),
        spoil("model.safetensors.index.json", '{"weight_map": {"a": "../../../etc/passwd"}}'),
        as_a_folder,
        sizes_of_zero,
    ],
    ids=range(10),
)
def test_a_broken_model_does_not_break_the_list(
    change: Callable[[Path], None], cache: Path
) -> None:
    """And is an error only when it is asked for."""
    good = put(cache)
    bad = cache / "models--a--bad" / "snapshots" / MAIN
    shutil.copytree(TINY, bad)
    change(bad)
    loadable = [entry for entry in listed() if entry.problem is None]
    assert [entry.folder for entry in loadable] in ([good], [bad, good], [good, bad])
    assert all((entry.model is None) == (entry.problem is not None) for entry in listed())
    if len(loadable) == 1:
        with pytest.raises(LoadError):
            needs.needs_of(resolving.resolve("a/bad"), inventory.COMMON_WORK)


def test_a_truncated_file_alone_says_so(cache: Path) -> None:
    snapshot = put(cache, links=False)
    (snapshot / "model.safetensors").write_bytes((TINY / "model.safetensors").read_bytes()[:5000])
    (entry,) = listed()
    assert entry.complete and entry.model is None
    assert entry.problem is not None and "is incomplete" in entry.problem
    with pytest.raises(CheckpointError, match="is incomplete"):
        resolving.resolve(REPO)


def test_a_folder_of_local_dir_loads(cache: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TINY, tmp_path / "mine"))
    (folder / ".cache" / "huggingface" / "download").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "download" / "config.json.metadata").write_text("x")
    assert load(f"{folder}/").folder == folder


@pytest.mark.parametrize("name", ["caf\udce9", "with space", "日本語", "-dash", "é"])
def test_a_folder_of_any_name_loads(name: str, tmp_path: Path) -> None:
    """Also a name that is not UTF-8."""
    folder = Path(shutil.copytree(TINY, tmp_path / name))
    model = load(str(folder))
    assert model.network.language_model.model.norm.weight.sum().item()
    (tmp_path / "link").symlink_to(folder)
    assert load(str(tmp_path / "link")).folder == tmp_path / "link"


def test_removal_follows_a_link_to_another_disk(cache: Path) -> None:
    a_link_to_another_disk(cache)
    removal.remove(removal.plan_removal(REPO))
    assert list(cache.iterdir()) == []
    assert not (cache.parent / "elsewhere").exists()
