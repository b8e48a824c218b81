"""Published config.json files are parsed; one without a value that affects results is an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.json_values import JSON_VALUES
from support.published import CONFIGS, config_of

from gemma4cli.errors import CheckpointError, LoadError, UnsupportedModelError
from gemma4cli.models.config import FAMILIES, Gemma4Config
from gemma4cli.models.text_config import TextConfig
from gemma4cli.models.tower_config import UnifiedVisionConfig, VisionConfig

RUNNABLE = [name for name in CONFIGS if "assistant" not in name and "-ct/" not in name]
OPTIONAL = {
    "quantization",
    "quantization_config",
    "vision_config",
    "audio_config",
    "text_config.per_layer_config",
}
"""Keys that may be missing: a medium, quantization, or the newer form of two keys."""


class Spy(dict[str, Any]):
    """A JSON object that records which keys are read, as dotted paths."""

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
    """A published config and a dotted key, for each key that parsing reads."""
    known: set[str] = set()
    for model in ("E2B", "26B-A4B", "12B"):
        name = f"google__gemma-4-{model}-it"
        seen: set[str] = set()
        Gemma4Config.from_dict(Spy(config_of(name), seen))
        for key in sorted(seen - known - OPTIONAL):
            yield name, key
        # The 12B has other classes for its towers under the same section names.
        known |= {key for key in seen if not key.startswith(("vision_config", "audio_config"))}


E2B = "google__gemma-4-E2B-it"
SIZES = {
    # layers, width, window, layers that reuse keys, per-layer width, experts
    "E2B": (35, 1536, 512, 20, 256, None),
    "E4B": (42, 2560, 512, 18, 256, None),
    "12B": (48, 3840, 1024, 0, 0, None),
    "26B": (30, 2816, 1024, 0, 0, 128),
    "31B": (60, 5376, 1024, 0, 0, None),
}


def parse_error(config: Any) -> LoadError | None:
    """The error of parsing ``config``, or None. Errors of other kinds are not caught."""
    try:
        Gemma4Config.from_dict(config)
    except LoadError as exc:
        return exc
    return None


def section_at(config: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """The object that holds a dotted key, and the key's last part."""
    *sections, last = path.split(".")
    for part in sections:
        config = config[part]
    return config, last


def summary(config: Gemma4Config) -> tuple[object, ...]:
    text = config.text
    return (
        text.num_layers,
        text.hidden_size,
        text.sliding_window,
        text.num_kv_shared_layers,
        text.ple_size,
        text.moe and text.moe.num_experts,
    )


def check_published(config: Gemma4Config, size: str) -> None:
    text, small = config.text, size.startswith("E")
    assert summary(config) == SIZES[size]
    assert (text.head_dim, text.global_head_dim) == (256, 512)
    assert text.vision_blocks == text.k_eq_v == (not small)
    assert text.double_wide_mlp == (size == "E2B")
    assert text.logit_softcap == 30
    assert (text.rope_sliding.theta, text.rope_full.theta) == (1e4, 1e6)
    assert text.rope_full.partial_factor == 0.25
    assert config.unified == (size == "12B")
    assert type(config.vision) is (UnifiedVisionConfig if size == "12B" else VisionConfig)
    assert (config.audio is None) == (size in ("26B", "31B"))
    ids = config.placeholders
    assert ids is not None
    assert (ids.image, ids.audio, ids.video) == (258880, 258881, 258884)


def test_every_published_config_has_the_sizes_of_its_model() -> None:
    assert len(RUNNABLE) == 20
    for name in RUNNABLE:
        check_published(
            Gemma4Config.from_dict(config_of(name)),
            re.search(r"gemma-4-(\w+)", name)[1].upper(),
        )


def test_the_keys_that_parsing_reads_include_those_that_affect_results() -> None:
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


def test_a_missing_key_is_an_error_that_names_it() -> None:
    unnamed = []
    for name, key in keys_read():
        if key == "tie_word_embeddings":
            continue
        config = config_of(name)
        section, last = section_at(config, key)
        del section[last]
        error = parse_error(config)
        wanted = UnsupportedModelError if key == "model_type" else CheckpointError
        naming = "None" if key == "model_type" else last
        if not (isinstance(error, wanted) and naming in str(error)):
            unnamed.append((name, key, error))
    assert unnamed == []


def test_either_config_can_tie_the_head_to_the_embeddings() -> None:
    """Where they disagree, the tensors decide; this matters only if there is no head."""
    config = config_of(E2B)
    for outer, inner in ((False, False), (False, True), (True, False), (True, True)):
        config["tie_word_embeddings"] = outer
        config["text_config"]["tie_word_embeddings"] = inner
        assert Gemma4Config.from_dict(config).text.tied_embeddings == (outer or inner)
    del config["tie_word_embeddings"]
    assert Gemma4Config.from_dict(config).text.tied_embeddings
    del config["text_config"]["tie_word_embeddings"]
    with pytest.raises(CheckpointError, match="tie_word_embeddings"):
        Gemma4Config.from_dict(config)


WRONG_VALUES = [
    ("text_config.hidden_size", "1536"),
    ("text_config.hidden_size", True),
    ("text_config.hidden_size", 1536.0),
    ("text_config.rms_norm_eps", None),
    ("text_config.rms_norm_eps", float("nan")),
    ("text_config.final_logit_softcapping", 10**400),
    ("text_config.attention_k_eq_v", 1),
    ("text_config.layer_types", ["sliding_attention"] * 3),
    ("text_config.layer_types", ["global"] * 35),
    ("text_config.layer_types", [[]] * 35),
    ("text_config.rope_parameters", []),
    ("text_config.sliding_window", None),
    ("tie_word_embeddings", "yes"),
    ("audio_config.subsampling_conv_channels", ["128", 32]),
    ("audio_config.subsampling_conv_channels", [128]),
    *((key, value) for key in ("text_config", "vision_config") for value in (5, "none", [1])),
    ("audio_config", "none"),
]


def test_a_value_of_the_wrong_kind_is_an_error_that_names_its_key() -> None:
    unnamed = []
    for key, value in WRONG_VALUES:
        config = config_of(E2B)
        section, last = section_at(config, key)
        section[last] = value
        error = parse_error(config)
        if not (isinstance(error, CheckpointError) and last in str(error)):
            unnamed.append((key, value, error))
    assert unnamed == []


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("audio_config.attention_chunk_size", 2**20, "from 1 to 256"),
        ("audio_config.attention_context_left", 0, "from 1 to 256"),
        ("audio_config.attention_context_right", 10**6, "from 0 to 256"),
        ("audio_config.conv_kernel_size", 10**6, "from 1 to 256"),
        ("audio_config.residual_weight", -1, "above 0 and at most 100"),
        ("audio_config.num_attention_heads", 7, "a multiple of num_attention_heads"),
        ("audio_config.subsampling_conv_channels", [126, 32], "a multiple of 4"),
        ("vision_config.pooling_kernel_size", 64, "from 1 to 16"),
        ("vision_config.num_key_value_heads", 5, "a multiple of num_key_value_heads"),
        ("vision_config.head_dim", 66, "a multiple of 4"),
        ("text_config.num_hidden_layers", 10**6, "from 1 to 1024"),
        ("image_token_id", -1, "from 0"),
    ],
)
def test_sizes_that_no_tensor_shows_are_bounded(key: str, value: object, problem: str) -> None:
    """Each error names the place once, as a path in the file."""
    config = config_of(E2B)
    section, last = section_at(config, key)
    section[last] = value
    error = str(parse_error(config))
    assert problem in error
    assert error.startswith(f"config.json: {key.split('.')[0]}")
    assert error.count("config.json") == 1


PATHS = sorted({key for _, key in keys_read()} | OPTIONAL)


@given(st.sampled_from(["E2B", "26B-A4B", "12B", "31B"]), st.sampled_from(PATHS), JSON_VALUES)
def test_any_json_at_any_key_parses_or_is_a_load_error(size: str, path: str, value: object) -> None:
    config = config_of(f"google__gemma-4-{size}-it")
    try:
        section, last = section_at(config, path)
        section[last] = value
    except (KeyError, TypeError):  # this model has no such section
        return
    parse_error(config)


@given(st.dictionaries(st.sampled_from(sorted({p.split(".")[0] for p in PATHS})), JSON_VALUES))
def test_any_object_of_a_supported_type_parses_or_is_a_load_error(raw: dict[str, Any]) -> None:
    for model_type in FAMILIES:
        parse_error({**raw, "model_type": model_type})


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
def test_a_feature_that_no_gemma_4_has_is_unsupported(
    section: str, key: str, value: object
) -> None:
    config = config_of(E2B)
    config[section][key] = value
    with pytest.raises(UnsupportedModelError, match=str(value)):
        Gemma4Config.from_dict(config)


def test_another_rope_type_is_unsupported() -> None:
    config = config_of(E2B)
    config["text_config"]["rope_parameters"]["full_attention"]["rope_type"] = "yarn"
    with pytest.raises(UnsupportedModelError, match="yarn"):
        Gemma4Config.from_dict(config)


def test_a_drafter_is_no_model() -> None:
    drafters = [name for name in CONFIGS if "assistant" in name]
    assert drafters
    for name in drafters:
        with pytest.raises(UnsupportedModelError, match="this with --draft"):
            Gemma4Config.from_dict(config_of(name))


@pytest.mark.parametrize("model_type", [None, "gemma3", "llama", "", ["gemma4"], {}])
def test_other_models_are_unsupported(model_type: object) -> None:
    with pytest.raises(UnsupportedModelError, match="g4 runs Gemma 4 only"):
        Gemma4Config.from_dict({"model_type": model_type})


def test_compressed_tensors_are_unsupported_and_the_error_names_an_alternative() -> None:
    with pytest.raises(UnsupportedModelError, match="compressed-tensors") as caught:
        Gemma4Config.from_dict(config_of("google__gemma-4-12B-it-qat-w4a16-ct"))
    assert "mlx-community" in str(caught.value)


def test_a_config_may_lack_a_medium() -> None:
    config = config_of(E2B)
    config["audio_config"] = None
    del config["vision_config"]
    parsed = Gemma4Config.from_dict(config)
    assert (parsed.vision, parsed.audio) == (None, None)


# Full-attention layers as transformers 5.2x saves them: overrides per layer


def saved_again(overrides: Any) -> dict[str, Any]:
    """The 31B's config with ``per_layer_config`` instead of the keys of released files."""
    config = config_of("google__gemma-4-31B-it")
    text = config["text_config"]
    del text["global_head_dim"], text["num_global_key_value_heads"]
    text["per_layer_config"] = overrides
    return config


def released_text() -> TextConfig:
    return Gemma4Config.from_dict(config_of("google__gemma-4-31B-it")).text


@pytest.mark.parametrize("by", ["index", "type"])
def test_overrides_per_layer_give_the_released_config(by: str) -> None:
    released = released_text()
    override = {
        "head_dim": released.global_head_dim,
        "num_key_value_heads": released.num_global_kv_heads,
    }
    full = [str(i) for i, kind in enumerate(released.layer_types) if kind == "full_attention"]
    keys = full if by == "index" else ["full_attention"]
    assert Gemma4Config.from_dict(saved_again(dict.fromkeys(keys, override))).text == released


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"5": {"head_dim": 512}, "11": {"head_dim": 256}},
        {"full_attention": 5},
        {"full_attention": {"head_dim": 512, "num_key_value_heads": "4"}},
    ],
    ids=["none", "contradicting", "no object", "text for a number"],
)
def test_overrides_that_do_not_describe_the_full_layers_are_an_error(overrides: Any) -> None:
    with pytest.raises(CheckpointError, match="per_layer_config"):
        Gemma4Config.from_dict(saved_again(overrides))
