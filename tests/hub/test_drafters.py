"""The drafter that goes with a model: named, beside it, or in the cache."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.goldens import FOLDER
from support.hub_cache import cached

from gemma4cli.errors import CheckpointError, ModelNotFoundError, UnsupportedModelError
from gemma4cli.hub.drafters import cached_drafters, drafter_names, find_drafter
from gemma4cli.hub.inventory import available, cached_repos
from gemma4cli.hub.resolving import resolve
from gemma4cli.models.drafter_config import DrafterConfig

MODEL, DRAFTER = FOLDER / "checkpoints" / "e2b", FOLDER / "drafters" / "e2b"


def chosen(model: str, choice: str = "auto") -> Path | None:
    drafter = find_drafter(resolve(model), choice)
    return None if drafter is None else drafter.folder


def test_the_one_named_after_the_model_whatever_its_owner_and_quantization(cache: Path) -> None:
    cached(cache, "mlx-community/gemma-4-e2b-it-4bit", MODEL)
    other = cached(cache, "google/gemma-4-E2B-assistant", DRAFTER)
    right = cached(cache, "google/gemma-4-E2B-it-assistant", DRAFTER)
    cached(cache, "google/gemma-4-E4B-it-assistant", DRAFTER)
    cached(cache, "someone/gemma-4-E2B-it-tuned", MODEL)
    cached(cache, "someone/gemma-4-E2B", MODEL)
    assert chosen("mlx-community/gemma-4-e2b-it-4bit") == right
    assert chosen("someone/gemma-4-E2B-it-tuned") == right
    assert chosen("someone/gemma-4-E2B") == other


def test_none_that_does_not_fit_or_cannot_be_read(cache: Path) -> None:
    cached(cache, "google/gemma-4-E2B-it", MODEL)
    assert chosen("google/gemma-4-E2B-it") is None
    cached(cache, "google/gemma-4-E2B-it-assistant", FOLDER / "drafters" / "12b")
    assert chosen("google/gemma-4-E2B-it") is None
    broken = cached(cache, "other/gemma-4-E2B-it-assistant", DRAFTER)
    (broken / "model.safetensors").unlink()
    assert chosen("google/gemma-4-E2B-it") is None
    (broken / "config.json").write_text("{")
    assert chosen("google/gemma-4-E2B-it") is None


def test_the_folder_beside_a_model_in_a_folder(tmp_path: Path) -> None:
    shutil.copytree(MODEL, tmp_path / "mine")
    assert chosen(str(tmp_path / "mine")) is None
    shutil.copytree(DRAFTER, tmp_path / "mine-assistant")
    assert chosen(str(tmp_path / "mine")) == tmp_path / "mine-assistant"
    assert chosen(str(tmp_path / "mine"), "none") is None


def test_one_that_is_named(cache: Path) -> None:
    folder = cached(cache, "a/b", DRAFTER)
    assert chosen(str(MODEL), str(DRAFTER)) == DRAFTER
    assert chosen(str(MODEL), "a/b") == folder
    with pytest.raises(ModelNotFoundError, match="g4 models pull a/c"):
        chosen(str(MODEL), "a/c")


def test_drafters_are_no_models(cache: Path) -> None:
    cached(cache, "a/drafter", DRAFTER)
    broken = cached(cache, "a/half", DRAFTER)
    (broken / "model.safetensors").unlink()
    assert drafter_names() == ["a/drafter", "a/half"]
    whole, half = cached_drafters()
    assert (whole.repo, whole.problem) == ("a/drafter", None)
    assert whole.size == (DRAFTER / "model.safetensors").stat().st_size
    assert (half.repo, half.size) == ("a/half", 0) and half.problem is not None
    assert cached_repos() == []
    assert [each.repo for each in available()] == [None]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("backbone_hidden_size", 0),
        ("backbone_hidden_size", "x"),
        ("num_centroids", 7),
        ("num_centroids", 10**9),
        ("centroid_intermediate_top_k", 21),
        ("use_ordered_embeddings", 1),
        ("text_config", None),
    ],
)
def test_values_that_cannot_be(key: str, value: object) -> None:
    config = json.loads((DRAFTER / "config.json").read_text())
    with pytest.raises(CheckpointError, match=key):
        DrafterConfig.from_dict(config | {key: value})


def test_layers_with_keys_of_their_own() -> None:
    config = json.loads((DRAFTER / "config.json").read_text())
    config["text_config"]["num_kv_shared_layers"] = 3
    with pytest.raises(CheckpointError, match="num_kv_shared_layers"):
        DrafterConfig.from_dict(config)


def test_another_model_as_a_drafter() -> None:
    config = json.loads((MODEL / "config.json").read_text())
    with pytest.raises(UnsupportedModelError, match="type 'gemma4' as a drafter"):
        DrafterConfig.from_dict(config)
