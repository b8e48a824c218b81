"""Checkpoints that cannot run are refused with an error that names the file, or the lack."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from support.checkpoints import INDEX, PARITY, WEIGHTS, json_of, tensors_of, variant
from support.goldens import FOLDER
from support.published import FOLDER as PUBLISHED

from gemma4cli.api import generate, load, model_info
from gemma4cli.engine.model import GenerationConfig
from gemma4cli.errors import (
    CheckpointError,
    LoadError,
    ModelNotFoundError,
    UnsupportedModalityError,
    UnsupportedModelError,
    WeightsMismatchError,
)
from gemma4cli.events import LoadProgress
from gemma4cli.options import GenerateOptions

E2B = PARITY / "e2b"
PHOTO = FOLDER / "media" / "photo.png"
TONE = FOLDER / "media" / "tone.wav"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A copy of a checkpoint, to be broken."""
    return Path(shutil.copytree(E2B, tmp_path / "broken"))


def refusal(folder: Path) -> LoadError:
    with pytest.raises(LoadError) as caught:
        load(str(folder))
    assert "\n" not in str(caught.value)
    return caught.value


def file_at_fault(folder: Path) -> str:
    error = refusal(folder)
    assert isinstance(error, CheckpointError)
    return Path(error.file).name


# Files


def test_empty_folder(tmp_path: Path) -> None:
    error = refusal(tmp_path)
    assert isinstance(error, ModelNotFoundError)
    assert "config.json" in str(error)


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "generation_config.json"])
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"text"', b"\xff\xfe\x00", b'{"a": 1,}'], ids=repr
)
def test_broken_json(name: str, content: bytes, broken: Path) -> None:
    (broken / name).write_bytes(content)
    assert file_at_fault(broken) == name


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\x00" * 64], ids=repr)
def test_broken_tokenizer(content: bytes | None, broken: Path) -> None:
    path = broken / "tokenizer.json"
    path.unlink() if content is None else path.write_bytes(content)
    assert file_at_fault(broken) == "tokenizer.json"


def test_missing_weights(broken: Path) -> None:
    (broken / WEIGHTS).unlink()
    assert file_at_fault(broken) == WEIGHTS


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 50_000, -1])
def test_weights_cut_short(kept: int, broken: Path) -> None:
    path = broken / WEIGHTS
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    assert file_at_fault(broken) == WEIGHTS
    assert "cut short" in str(refusal(broken))


@pytest.mark.parametrize(
    "header", [b"[]", b"{", b'{"a": 5}', b'{"a": {"data_offsets": []}}', b"\xff" * 8], ids=repr
)
def test_broken_header(header: bytes, broken: Path) -> None:
    (broken / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header)
    assert file_at_fault(broken) == WEIGHTS


def test_pointer_instead_of_weights(broken: Path) -> None:
    """What a clone without Git LFS leaves behind."""
    (broken / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert file_at_fault(broken) == WEIGHTS


def test_missing_shard(broken: Path) -> None:
    index = {"weight_map": dict.fromkeys(tensors_of(E2B), "model-00001-of-00002.safetensors")}
    (broken / INDEX).write_text(json.dumps(index))
    assert file_at_fault(broken) == "model-00001-of-00002.safetensors"


@pytest.mark.parametrize("index", [{}, {"weight_map": []}], ids=str)
def test_broken_index(index: dict[str, Any], broken: Path) -> None:
    (broken / INDEX).write_text(json.dumps(index))
    assert file_at_fault(broken) == INDEX


def test_index_that_names_no_file(broken: Path) -> None:
    (broken / INDEX).write_text(json.dumps({"weight_map": {"a": 5}}))
    assert file_at_fault(broken) == "5"


def test_shard_that_holds_too_little(tmp_path: Path) -> None:
    tensors = tensors_of(E2B)
    lost = "model.language_model.norm.weight"
    del tensors[lost]
    error = refusal(variant(E2B, tmp_path, shards={"a.safetensors": tensors}))
    assert isinstance(error, WeightsMismatchError)
    assert error.missing == ("language_model.model.norm.weight",)


def test_other_model(broken: Path) -> None:
    config = json_of(E2B) | {"model_type": "gemma3"}
    (broken / "config.json").write_text(json.dumps(config))
    error = refusal(broken)
    assert isinstance(error, UnsupportedModelError)
    assert "gemma3" in str(error)


def test_tokenizer_of_another_model(broken: Path) -> None:
    """Its placeholders would be other ids than those that soft tokens are put in for."""
    config = json_of(E2B) | {"image_token_id": 399}
    (broken / "config.json").write_text(json.dumps(config))
    error = refusal(broken)
    assert isinstance(error, CheckpointError)
    assert error.file == "tokenizer.json"
    assert "399" in error.problem


def test_missing_generation_config_falls_back(broken: Path) -> None:
    (broken / "generation_config.json").unlink()
    generation = load(str(broken)).generation
    assert generation.stop_ids == set(json_of(E2B)["eos_token_id"])
    assert (generation.temperature, generation.suppressed_ids) == (0, ())


def test_missing_processor_config_is_told(broken: Path, caplog: pytest.LogCaptureFixture) -> None:
    (broken / "processor_config.json").unlink()
    model = load(str(broken))
    assert model.processor.config.vision.image_budget == 280
    assert "image_processor, video_processor, feature_extractor" in caplog.text


def test_progress_names_the_stages() -> None:
    seen: list[LoadProgress] = []
    load(str(E2B), on_progress=seen.append)
    assert [step.stage for step in seen] == ["config", "tokenizer", "weights"]
    assert {step.model for step in seen} == {str(E2B)}


# Parts of a model


TOWERS = ("model.vision_tower.", "model.embed_vision.", "model.audio_tower.", "model.embed_audio.")


def without(target: Path, *prefixes: str) -> Path:
    kept = {n: v for n, v in tensors_of(E2B).items() if not n.startswith(prefixes)}
    return variant(E2B, target, tensors=kept)


@pytest.mark.parametrize(
    ("lost", "inputs"),
    [
        (TOWERS, ("text",)),
        (TOWERS[:2], ("text", "audio")),
        (TOWERS[2:], ("text", "image", "video")),
    ],
)
def test_model_without_towers(
    lost: tuple[str, ...], inputs: tuple[str, ...], tmp_path: Path
) -> None:
    folder = without(tmp_path, *lost)
    model = load(str(folder))
    assert model_info(str(folder)).inputs == inputs
    options = GenerateOptions(max_tokens=2, temperature=0)
    assert isinstance(generate(model, "Hi", options=options), str)
    for name, given in (("image", {"images": [PHOTO]}), ("audio", {"audio": [TONE]})):
        if name in inputs:
            assert isinstance(generate(model, "Hi", options=options, **given), str)
            continue
        with pytest.raises(UnsupportedModalityError) as caught:
            generate(model, "Hi", options=options, **given)
        assert caught.value.model == str(folder)


@pytest.mark.parametrize("part", TOWERS)
def test_half_a_tower_is_refused(part: str, tmp_path: Path) -> None:
    error = refusal(without(tmp_path, part))
    assert isinstance(error, WeightsMismatchError)
    assert all(name.startswith(part.removeprefix("model.")) for name in error.missing)


def test_text_only_checkpoint(parity_model: Callable[[str], Any], tmp_path: Path) -> None:
    """mlx-lm's layout: a flat config, and names without a prefix."""
    inner = "model.language_model."
    tensors = {
        f"model.{n.removeprefix(inner)}": v
        for n, v in tensors_of(E2B).items()
        if n.startswith(inner)
    }
    config = json_of(E2B)
    folder = variant(E2B, tmp_path, tensors=tensors, config=config["text_config"])
    model = load(str(folder))
    assert not model.processor.sees
    assert not model.processor.hears
    options = GenerateOptions(max_tokens=8, temperature=0)
    whole = generate(parity_model("e2b"), "Hi there", options=options)
    assert generate(model, "Hi there", options=options) == whole
    with pytest.raises(UnsupportedModalityError):
        generate(model, "Hi", images=[PHOTO])


# What a checkpoint says of generation


@pytest.mark.parametrize(
    "path", sorted(PUBLISHED.glob("configs/*/generation_config.json")), ids=lambda p: p.parent.name
)
def test_published_generation_config(path: Path) -> None:
    config = GenerationConfig.from_dict(json.loads(path.read_bytes()), {"eos_token_id": 7})
    base = path.parent.name == "google__gemma-4-12B"
    assert config.stop_ids == ({1} if base else {1, 106, 50})
    assert config.suppressed_ids == ((258883, 258882) if "12B" in path.parent.name else ())
    assert (config.temperature, config.top_p, config.top_k) == (1.0, 0.95, 64)


@pytest.mark.parametrize(
    ("file", "config", "stop"),
    [
        (None, {"eos_token_id": [1, 106]}, {1, 106}),
        (None, {"eos_token_id": 1}, {1}),
        ({"eos_token_id": 5}, {"eos_token_id": [1, 106]}, {5}),
        ({}, {"eos_token_id": [1, 106]}, {1, 106}),
        ({"eos_token_id": None}, {"eos_token_id": [1, 106]}, {1, 106}),
    ],
)
def test_stop_ids(file: dict[str, Any] | None, config: dict[str, Any], stop: set[int]) -> None:
    assert GenerationConfig.from_dict(file, config).stop_ids == stop


def test_model_that_never_stops_is_refused() -> None:
    for config in ({}, {"eos_token_id": []}, {"eos_token_id": ["</s>"]}, {"eos_token_id": None}):
        with pytest.raises(CheckpointError, match="eos_token_id"):
            GenerationConfig.from_dict(config, {})


def test_null_means_not_set() -> None:
    file = {"eos_token_id": 1, "do_sample": True}
    nulls = dict.fromkeys(("temperature", "top_p", "top_k", "suppress_tokens"))
    read = GenerationConfig.from_dict(file | nulls, {})
    assert read == GenerationConfig.from_dict(file, {})
    assert (read.temperature, read.top_p, read.top_k, read.suppressed_ids) == (1, 1, 0, ())


def test_sampling_values_count_where_the_model_samples() -> None:
    file = {"eos_token_id": 1, "do_sample": False, "temperature": 0.7}
    assert GenerationConfig.from_dict(file, {}).temperature == 0


def test_weights_of_every_dtype_are_kept_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """ "auto" leaves the checkpoint's dtype, except where it would crawl."""
    from gemma4cli.machine import backend

    monkeypatch.setattr(backend, "on_cpu", lambda: False)
    assert backend.weights_dtype("auto") is None
    monkeypatch.setattr(backend, "on_cpu", lambda: True)
    assert backend.weights_dtype("auto") == "float32"
    assert backend.weights_dtype("bfloat16") == "bfloat16"


def test_lazy_weights_are_not_computed_by_loading() -> None:
    before = mx.get_active_memory()
    model = load(str(E2B))
    assert model.network.config.vision is not None
    assert mx.get_active_memory() - before < 200_000  # the file has 650 kB
