"""A checkpoint that cannot run is an error that names the file or what is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checkpoints import INDEX, PARITY, WEIGHTS, json_of, tensors_of, variant
from support.goldens import FOLDER
from support.json_values import JSON_VALUES
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
    """A copy of a checkpoint for a test to break."""
    return Path(shutil.copytree(E2B, tmp_path / "broken"))


def load_error(folder: Path) -> LoadError:
    with pytest.raises(LoadError) as caught:
        load(str(folder))
    assert "\n" not in str(caught.value)
    return caught.value


def broken_file(folder: Path) -> str:
    error = load_error(folder)
    assert isinstance(error, CheckpointError)
    return Path(error.file).name


# Files


def test_an_empty_folder_is_an_error_that_names_config_json(tmp_path: Path) -> None:
    error = load_error(tmp_path)
    assert isinstance(error, ModelNotFoundError)
    assert "config.json" in str(error)


INVALID_JSON = (b"", b"{", b"[]", b'"text"', b"\xff\xfe\x00", b'{"a": 1,}')
JSON_FILES = ("config.json", "processor_config.json", "generation_config.json")


def test_invalid_json_is_an_error_that_names_the_file(broken: Path) -> None:
    for name in JSON_FILES:
        valid = (broken / name).read_bytes()
        for content in INVALID_JSON:
            (broken / name).write_bytes(content)
            assert broken_file(broken) == name
        (broken / name).write_bytes(valid)


def test_an_invalid_or_missing_tokenizer_is_an_error_that_names_the_file(broken: Path) -> None:
    path = broken / "tokenizer.json"
    for content in (b"", b"{}", b"\x00" * 64):
        path.write_bytes(content)
        assert broken_file(broken) == "tokenizer.json"
    path.unlink()
    assert broken_file(broken) == "tokenizer.json"


def test_missing_weights_are_an_error_that_names_the_file(broken: Path) -> None:
    (broken / WEIGHTS).unlink()
    assert broken_file(broken) == WEIGHTS


def test_truncated_weights_are_an_error_that_says_so(broken: Path) -> None:
    path = broken / WEIGHTS
    whole = path.read_bytes()
    for kept in (0, 4, 8, 100, 50_000, -1):
        path.write_bytes(whole[:kept])
        assert broken_file(broken) == WEIGHTS
        assert "is incomplete" in str(load_error(broken))


def test_an_invalid_header_of_weights_is_an_error_that_names_the_file(broken: Path) -> None:
    for header in (b"[]", b"{", b'{"a": 5}', b'{"a": {"data_offsets": []}}', b"\xff" * 8):
        (broken / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header)
        assert broken_file(broken) == WEIGHTS


def test_a_git_lfs_pointer_instead_of_weights_is_an_error(broken: Path) -> None:
    """A clone without Git LFS has one."""
    (broken / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert broken_file(broken) == WEIGHTS


def test_a_missing_shard_is_an_error_that_names_it(broken: Path) -> None:
    index = {"weight_map": dict.fromkeys(tensors_of(E2B), "model-00001-of-00002.safetensors")}
    (broken / INDEX).write_text(json.dumps(index))
    assert broken_file(broken) == "model-00001-of-00002.safetensors"


@pytest.mark.parametrize("index", [{}, {"weight_map": []}], ids=str)
def test_an_invalid_index_is_an_error_that_names_it(index: dict[str, Any], broken: Path) -> None:
    (broken / INDEX).write_text(json.dumps(index))
    assert broken_file(broken) == INDEX


def test_an_index_that_names_no_file_is_an_error(broken: Path) -> None:
    for name in (
        "\ud800",
        5,
        None,
        ["a"],
        "",
        "../model.safetensors",
        "/model.safetensors",
        "x" * 300,
    ):
        (broken / INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
        assert broken_file(broken) == INDEX
        assert "weight_map.a: must be the name of a file" in str(load_error(broken))


def test_a_tensor_missing_from_the_shards_is_an_error_that_names_it(tmp_path: Path) -> None:
    tensors = tensors_of(E2B)
    lost = "model.language_model.norm.weight"
    del tensors[lost]
    error = load_error(variant(E2B, tmp_path, shards={"a.safetensors": tensors}))
    assert isinstance(error, WeightsMismatchError)
    assert error.missing == ("language_model.model.norm.weight",)


def test_another_model_type_is_an_error_that_names_it(broken: Path) -> None:
    config = json_of(E2B) | {"model_type": "gemma3"}
    (broken / "config.json").write_text(json.dumps(config))
    error = load_error(broken)
    assert isinstance(error, UnsupportedModelError)
    assert "gemma3" in str(error)


def test_a_tokenizer_with_other_placeholder_ids_than_the_config_is_an_error(broken: Path) -> None:
    config = json_of(E2B) | {"image_token_id": 399}
    (broken / "config.json").write_text(json.dumps(config))
    error = load_error(broken)
    assert isinstance(error, CheckpointError)
    assert error.file == "tokenizer.json"
    assert "399" in error.problem


def test_without_a_generation_config_stop_ids_come_from_the_config(broken: Path) -> None:
    (broken / "generation_config.json").unlink()
    generation = load(str(broken)).generation
    assert generation.stop_ids == set(json_of(E2B)["eos_token_id"])
    assert (generation.temperature, generation.suppressed_ids) == (0, ())


def test_without_a_processor_config_a_warning_lists_what_is_assumed(
    broken: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (broken / "processor_config.json").unlink()
    model = load(str(broken))
    assert model.processor.config.vision.image_budget == 280
    assert "image_processor, video_processor, feature_extractor" in caplog.text


def test_loading_reports_its_stages() -> None:
    seen: list[LoadProgress] = []
    load(str(E2B), on_progress=seen.append)
    assert list(dict.fromkeys(step.stage for step in seen)) == ["config", "tokenizer", "weights"]
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
def test_a_model_without_a_tower_rejects_its_medium_and_answers_the_rest(
    lost: tuple[str, ...], inputs: tuple[str, ...], tmp_path: Path
) -> None:
    folder = without(tmp_path, *lost)
    model = load(str(folder))
    assert model_info(str(folder)).inputs == inputs
    options = GenerateOptions(max_tokens=2, temperature=0)
    assert isinstance(generate(model, "Hi", options=options), str)
    for name, media in (("image", {"images": [PHOTO]}), ("audio", {"audio": [TONE]})):
        if name in inputs:
            assert isinstance(generate(model, "Hi", options=options, **media), str)
            continue
        with pytest.raises(UnsupportedModalityError) as caught:
            generate(model, "Hi", options=options, **media)
        assert caught.value.model == str(folder)


@pytest.mark.parametrize("part", TOWERS)
def test_a_tower_without_its_projection_or_the_reverse_is_an_error(
    part: str, tmp_path: Path
) -> None:
    error = load_error(without(tmp_path, part))
    assert isinstance(error, WeightsMismatchError)
    assert all(name.startswith(part.removeprefix("model.")) for name in error.missing)


def test_a_text_only_checkpoint_in_mlx_lms_layout_answers_like_the_whole(
    parity_model: Callable[[str], Any], tmp_path: Path
) -> None:
    """It has a flat config, and names without a prefix."""
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


# generation_config.json


def test_published_generation_configs_have_the_known_settings() -> None:
    paths = sorted(PUBLISHED.glob("configs/*/generation_config.json"))
    assert len(paths) > 5
    for path in paths:
        name = path.parent.name
        config = GenerationConfig.from_dict(json.loads(path.read_bytes()), {"eos_token_id": 7})
        assert config == GenerationConfig(
            stop_ids=frozenset({1} if name == "google__gemma-4-12B" else {1, 106, 50}),
            suppressed_ids=(258883, 258882) if "12B" in name else (),
            temperature=1.0,
            top_p=0.95,
            top_k=64,
        ), name


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
def test_stop_ids_come_from_the_file_or_else_from_the_config(
    file: dict[str, Any] | None, config: dict[str, Any], stop: set[int]
) -> None:
    assert GenerationConfig.from_dict(file, config).stop_ids == stop


def test_a_generation_config_without_a_stop_id_is_an_error() -> None:
    for config in ({}, {"eos_token_id": []}, {"eos_token_id": ["</s>"]}, {"eos_token_id": None}):
        with pytest.raises(CheckpointError, match="eos_token_id"):
            GenerationConfig.from_dict(config, {})


KEYS = ("eos_token_id", "do_sample", "temperature", "top_p", "top_k", "suppress_tokens")


@given(st.dictionaries(st.sampled_from(KEYS), JSON_VALUES), JSON_VALUES)
def test_any_generation_config_is_read_or_is_a_checkpoint_error(
    file: dict[str, Any], eos: object
) -> None:
    for given_file in (file, {**file, "do_sample": True, "eos_token_id": 1}):
        with suppress(CheckpointError):
            GenerationConfig.from_dict(given_file, {"eos_token_id": eos})


def test_null_means_that_a_setting_is_missing() -> None:
    file = {"eos_token_id": 1, "do_sample": True}
    nulls = dict.fromkeys(("temperature", "top_p", "top_k", "suppress_tokens"))
    read = GenerationConfig.from_dict(file | nulls, {})
    assert read == GenerationConfig.from_dict(file, {})
    assert (read.temperature, read.top_p, read.top_k, read.suppressed_ids) == (1, 1, 0, ())


def test_a_setting_out_of_range_is_ignored_and_said(caplog: pytest.LogCaptureFixture) -> None:
    plain = GenerationConfig.from_dict({"eos_token_id": 1, "do_sample": True}, {})
    for key, value in (("temperature", -1), ("top_p", 0), ("top_p", 1.5), ("top_k", -3)):
        caplog.clear()
        file = {"eos_token_id": 1, "do_sample": True, key: value}
        assert GenerationConfig.from_dict(file, {}) == plain
        assert f"{key}: must be" in caplog.text


@pytest.mark.parametrize("value", ["false", 1, -1, [0], {"a": 1}])
def test_do_sample_is_true_or_false(value: object) -> None:
    with pytest.raises(CheckpointError, match="do_sample: must be true or false"):
        GenerationConfig.from_dict({"eos_token_id": 1, "do_sample": value}, {})


def test_without_do_sample_the_model_is_greedy() -> None:
    file = {"eos_token_id": 1, "do_sample": False, "temperature": 0.7}
    assert GenerationConfig.from_dict(file, {}).temperature == 0


def test_loading_reads_no_weights() -> None:
    before = mx.get_active_memory()
    model = load(str(E2B), lazy=True)
    assert model.network.config.vision is not None
    assert mx.get_active_memory() - before < 200_000  # the file has 650 kB
