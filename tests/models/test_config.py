"""Every published config.json is read; one that lacks a value which changes results is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from support.published import CONFIGS, config_of

from gemma4cli.errors import CheckpointError, UnsupportedModelError
from gemma4cli.models.config import Gemma4Config, UnifiedVisionConfig, VisionConfig

RUNNABLE = [name for name in CONFIGS if "assistant" not in name and "-ct/" not in name]
OPTIONAL = {
    "quantization",
    "quantization_config",
    "vision_config",
    "audio_config",
    "text_config.per_layer_config",
}
"""What may be missing: a medium, a quantisation, or the newer spelling of two keys."""


class Spy(dict[str, Any]):
    """A JSON object that notes which of its keys are asked for, as dotted paths."""

    def __init__(self, content: dict[str, Any], seen: set[str], prefix: str = "") -> None:
        super().__init__(
            {
                key: Spy(value, seen, f"{prefix}{key}.") if isinstance(value, dict) else value
                for key, value in content.items()
            }
        )
        self._seen, self._prefix = seen, prefix

    def __contains__(self, key: object) -> bool:
        self._seen.add(f"{self._prefix}{key}")
        return super().__contains__(key)

    def __getitem__(self, key: str) -> Any:
        self._seen.add(f"{self._prefix}{key}")
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._seen.add(f"{self._prefix}{key}")
        return super().get(key, default)


def keys_read() -> Iterator[tuple[str, str]]:
    """Model and dotted key, for every key that reading its config asks for."""
    known: set[str] = set()
    for model in ("E2B", "26B-A4B", "12B"):
        name = f"google__gemma-4-{model}-it"
        seen: set[str] = set()
        Gemma4Config.from_dict(Spy(config_of(name), seen))
        for key in sorted(seen - known - OPTIONAL):
            yield name, key
        # The 12B's towers have other classes under the same section names.
        known |= {key for key in seen if not key.startswith(("vision_config", "audio_config"))}


@pytest.mark.parametrize("name", RUNNABLE)
def test_published_config_is_read(name: str) -> None:
    config = Gemma4Config.from_dict(config_of(name))
    text = config.text
    size = re.search(r"gemma-4-(\w+)", name)[1].upper()
    expected = {
        "E2B": (35, 1536, 512, 20, 256, None),
        "E4B": (42, 2560, 512, 18, 256, None),
        "12B": (48, 3840, 1024, 0, 0, None),
        "26B": (30, 2816, 1024, 0, 0, 128),
        "31B": (60, 5376, 1024, 0, 0, None),
    }[size]
    assert expected == (
        text.num_layers,
        text.hidden_size,
        text.sliding_window,
        text.num_kv_shared_layers,
        text.ple_size,
        text.moe and text.moe.num_experts,
    )
    assert (text.head_dim, text.global_head_dim) == (256, 512)
    assert text.vision_blocks == text.k_eq_v == (not size.startswith("E"))
    assert text.double_wide_mlp == (size == "E2B")
    assert text.logit_softcap == 30
    assert (text.rope_sliding.theta, text.rope_full.theta) == (1e4, 1e6)
    assert text.rope_full.partial_factor == 0.25
    assert config.unified == (size == "12B")
    assert type(config.vision) is (UnifiedVisionConfig if size == "12B" else VisionConfig)
    assert (config.audio is None) == (size in ("26B", "31B"))
    places = config.placeholders
    assert places is not None
    assert (places.image, places.audio, places.video) == (258880, 258881, 258884)


@pytest.mark.parametrize(
    ("name", "key"), [pair for pair in keys_read() if pair[1] != "tie_word_embeddings"]
)
def test_missing_key_is_named(name: str, key: str) -> None:
    config = config_of(name)
    *sections, last = key.split(".")
    section = config
    for part in sections:
        section = section[part]
    del section[last]
    wanted = UnsupportedModelError if key == "model_type" else CheckpointError
    with pytest.raises(wanted) as caught:
        Gemma4Config.from_dict(config)
    assert (last if wanted is CheckpointError else "None") in str(caught.value)


def test_outer_word_on_tied_embeddings_wins() -> None:
    config = config_of("google__gemma-4-E2B-it")
    config["tie_word_embeddings"] = False
    assert not Gemma4Config.from_dict(config).text.tied_embeddings
    del config["tie_word_embeddings"]
    assert Gemma4Config.from_dict(config).text.tied_embeddings
    del config["text_config"]["tie_word_embeddings"]
    with pytest.raises(CheckpointError, match="tie_word_embeddings"):
        Gemma4Config.from_dict(config)


def test_keys_that_change_results_are_read() -> None:
    """The list that the test above runs over is not empty of what matters."""
    keys = {key for _, key in keys_read()}
    assert len(keys) > 60
    assert {
        "text_config.attention_k_eq_v",
        "text_config.rope_parameters.full_attention.partial_rotary_factor",
        "text_config.use_bidirectional_attention",
        "text_config.top_k_experts",
        "vision_config.standardize",
        "vision_config.mm_posemb_size",
        "audio_config.attention_context_left",
        "audio_config.audio_embed_dim",
        "image_token_id",
    } <= keys


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", "1536"),
        ("hidden_size", True),
        ("hidden_size", 1536.0),
        ("rms_norm_eps", None),
        ("attention_k_eq_v", 1),
        ("layer_types", ["sliding_attention"] * 3),
        ("layer_types", ["global"] * 35),
        ("layer_types", [[]] * 35),
        ("rope_parameters", []),
        ("sliding_window", None),
    ],
)
def test_odd_value_is_named(key: str, value: object) -> None:
    config = config_of("google__gemma-4-E2B-it")
    config["text_config"][key] = value
    with pytest.raises(CheckpointError, match=key):
        Gemma4Config.from_dict(config)


@pytest.mark.parametrize("key", ["text_config", "vision_config", "audio_config"])
@pytest.mark.parametrize("value", [5, "none", [1]])
def test_section_must_be_an_object(key: str, value: object) -> None:
    config = config_of("google__gemma-4-E2B-it") | {key: value}
    with pytest.raises(CheckpointError, match=key):
        Gemma4Config.from_dict(config)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("text_config", "attention_bias", True),
        ("text_config", "hidden_activation", "silu"),
        ("text_config", "use_bidirectional_attention", "all"),
        ("vision_config", "attention_bias", True),
        ("vision_config", "hidden_activation", "gelu"),
        ("audio_config", "hidden_act", "relu"),
    ],
)
def test_what_no_gemma4_has_is_refused(section: str, key: str, value: object) -> None:
    config = config_of("google__gemma-4-E2B-it")
    config[section][key] = value
    with pytest.raises(UnsupportedModelError, match=str(value)):
        Gemma4Config.from_dict(config)


def test_rope_type_must_be_the_known_one() -> None:
    config = config_of("google__gemma-4-E2B-it")
    config["text_config"]["rope_parameters"]["full_attention"]["rope_type"] = "yarn"
    with pytest.raises(UnsupportedModelError, match="yarn"):
        Gemma4Config.from_dict(config)


@pytest.mark.parametrize("name", [n for n in CONFIGS if "assistant" in n])
def test_drafters_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedModelError, match="assistant"):
        Gemma4Config.from_dict(config_of(name))


@pytest.mark.parametrize("model_type", [None, "gemma3", "llama", "", ["gemma4"], {}])
def test_other_models_are_refused(model_type: object) -> None:
    with pytest.raises(UnsupportedModelError, match="g4 runs Gemma 4 only"):
        Gemma4Config.from_dict({"model_type": model_type})


def test_compressed_tensors_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedModelError, match="compressed-tensors") as caught:
        Gemma4Config.from_dict(config_of("google__gemma-4-12B-it-qat-w4a16-ct"))
    assert "mlx-community" in str(caught.value)


def test_missing_medium_is_no_error() -> None:
    config = config_of("google__gemma-4-E2B-it")
    config["audio_config"] = None
    del config["vision_config"]
    read = Gemma4Config.from_dict(config)
    assert (read.vision, read.audio) == (None, None)


@pytest.mark.parametrize("by", ["index", "type"])
def test_full_layers_described_one_by_one(by: str) -> None:
    """transformers 5.2x saves the full-attention layers' sizes as overrides."""
    config = config_of("google__gemma-4-31B-it")
    text = config["text_config"]
    released = Gemma4Config.from_dict(config).text
    override = {
        "head_dim": text.pop("global_head_dim"),
        "num_key_value_heads": text.pop("num_global_key_value_heads"),
    }
    full = [str(i) for i, kind in enumerate(text["layer_types"]) if kind == "full_attention"]
    text["per_layer_config"] = dict.fromkeys(
        full if by == "index" else ["full_attention"], override
    )
    assert Gemma4Config.from_dict(config).text == released


@pytest.mark.parametrize("overrides", [{}, {"5": {"head_dim": 512}, "11": {"head_dim": 256}}])
def test_overrides_that_describe_no_full_layer(overrides: dict[str, Any]) -> None:
    config = config_of("google__gemma-4-31B-it")
    del config["text_config"]["global_head_dim"]
    config["text_config"]["per_layer_config"] = overrides
    with pytest.raises(CheckpointError, match="per_layer_config"):
        Gemma4Config.from_dict(config)
