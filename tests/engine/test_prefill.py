"""Chunks of a prefill: they do not change results, and nothing is computed needlessly."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import islice, pairwise

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.goldens import ARCHS, inputs_of, logits_of, soft_tokens_of
from support.models import logits_after

from gemma4cli.engine.decode import decode_tokens
from gemma4cli.engine.model import LoadedModel
from gemma4cli.engine.prefill import chunk_ends, make_prefill
from gemma4cli.engine.sampling import make_sampler
from gemma4cli.events import PrefillProgress
from gemma4cli.models.language import LanguageModel
from gemma4cli.options import LoadOptions
from gemma4cli.processing.prompt import MediaSpan

ParityModel = Callable[[str], LoadedModel]
GREEDY = make_sampler(temperature=0, top_p=1, top_k=0)
TOLERANCE = 1e-3
"""Chunks change the order of summation. The largest error measured on a CPU is 3e-5."""


def span(start: int, end: int, kind: str = "image") -> MediaSpan:
    return MediaSpan(kind=kind, start=start, end=end, item=0)


# Chunks


def test_chunks_as_drawn_in_the_docstring() -> None:
    assert chunk_ends(10, 4, [span(2, 7)]) == [2, 7, 9, 10]


def test_chunk_ends_of_known_prompts() -> None:
    cases = [
        (1, 4, [], [1]),
        (2, 4, [], [1, 2]),
        (5, 4, [], [4, 5]),
        (9, 4, [], [4, 8, 9]),
        (9, 100, [], [8, 9]),
        (9, 1, [], [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (9, 1, [span(0, 5)], [5, 6, 7, 8, 9]),
        (9, 3, [span(3, 6)], [3, 6, 8, 9]),
        (9, 4, [span(1, 3), span(3, 6)], [3, 7, 8, 9]),
        (9, 4, [span(2, 7, "audio")], [4, 8, 9]),
        (9, 4, [span(2, 7, "video")], [2, 7, 8, 9]),
        (6, 4, [span(2, 6)], [2, 6]),
    ]
    found = [(*case, chunk_ends(*case)) for *case, _ in cases]
    assert found == cases


@st.composite
def prompts(draw: st.DrawFn) -> tuple[int, list[MediaSpan]]:
    """Length and media of a prompt, which ends with text."""
    at, spans = draw(st.integers(0, 6)), []
    for _ in range(draw(st.integers(0, 5))):
        size = draw(st.integers(1, 30))
        spans.append(span(at, at + size, draw(st.sampled_from(["image", "video", "audio"]))))
        at += size + draw(st.integers(0, 4))
    return at + draw(st.integers(1, 30)), spans


@given(prompts(), st.integers(1, 40))
def test_chunks_cover_the_prompt_split_no_image_and_exceed_the_step_for_one_image_only(
    prompt: tuple[int, list[MediaSpan]], step: int
) -> None:
    length, spans = prompt
    chunks = list(pairwise([0, *chunk_ends(length, step, spans)]))
    assert all(start < end for start, end in chunks)
    assert chunks[-1] == (length - 1, length)
    images = [(s.start, s.end) for s in spans if s.kind != "audio"]
    for start, end in chunks:
        assert not any(start < cut < end < last for cut, last in images)
        assert not any(first < start < last for first, last in images)
        assert end - start <= step or (start, end) in images


# Any chunk size


SHORT_STEPS = pytest.param((1, 2, 3, 16), marks=pytest.mark.slow)


@pytest.mark.parametrize("steps", [(7, 33, 64), SHORT_STEPS], ids=str)
@pytest.mark.parametrize(
    ("arch", "case"), [("e2b", "turns_audio"), ("12b", "turns_audio"), ("26b", "images")]
)
def test_logits_and_answer_do_not_depend_on_the_chunk_size(
    arch: str, case: str, steps: tuple[int, ...], parity_model: ParityModel
) -> None:
    """Prompts with media, four times as long as the window."""
    model = parity_model(arch)
    inputs = inputs_of(model, case)
    soft_tokens = soft_tokens_of(model, inputs)
    seen: dict[int, tuple[np.ndarray, list[int]]] = {}
    for step in (*steps, 512):
        cache = model.network.language_model.make_cache()
        *_, hidden = make_prefill(model, inputs, soft_tokens, step).run(cache)
        assert isinstance(hidden, mx.array)
        logits = model.network.language_model.logits(hidden)[0, -1]
        tokens = decode_tokens(model.network, cache, logits, GREEDY, lookahead=False)
        seen[step] = np.array(logits), list(islice(tokens, 8))
    reference, greedy = seen[512]
    for logits, tokens in seen.values():
        np.testing.assert_allclose(logits, reference, atol=TOLERANCE)
        assert tokens == greedy
    assert len(inputs.ids) > 4 * model.network.config.text.sliding_window


@pytest.mark.parametrize("step", [33, *(pytest.param(n, marks=pytest.mark.slow) for n in (7, 64))])
@pytest.mark.parametrize(
    ("arch", "case"), [("e2b", "mixed"), ("12b", "mixed"), ("26b", "mixed_sight")]
)
def test_logits_of_all_positions_do_not_depend_on_the_chunk_size(
    arch: str, case: str, step: int, parity_model: ParityModel
) -> None:
    model = parity_model(arch)
    inputs = inputs_of(model, case)
    whole, cut = (np.array(logits_of(model, inputs, step=size)) for size in (512, step))
    np.testing.assert_allclose(cut, whole, atol=TOLERANCE)


@pytest.mark.parametrize("step", [33, 512])
def test_blocks_on_full_layers_change_the_12b_and_do_not_depend_on_the_chunk_size(
    step: int, parity_model: ParityModel
) -> None:
    model = parity_model("12b")
    bidirectional = dataclasses.replace(
        model, options=LoadOptions(unified_full_attention_blocks=True)
    )
    inputs = inputs_of(model, "images")
    whole = np.array(logits_of(bidirectional, inputs))
    assert np.abs(whole - np.array(logits_of(model, inputs))).max() > 1
    cut = np.array(logits_of(bidirectional, inputs, step=step))
    np.testing.assert_allclose(cut, whole, atol=TOLERANCE)


def test_blocks_on_full_layers_apply_to_the_12b_only(parity_model: ParityModel) -> None:
    model = parity_model("31b")
    asked = dataclasses.replace(model, options=LoadOptions(unified_full_attention_blocks=True))
    inputs = inputs_of(model, "image_70")
    np.testing.assert_array_equal(
        np.array(logits_of(asked, inputs)), np.array(logits_of(model, inputs))
    )


@pytest.mark.parametrize(
    ("arch", "case"),
    [(arch, "turns") for arch in ARCHS] + [("e4b", "turns_audio"), ("31b", "image_70")],
)
def test_decoding_token_by_token_past_the_window_equals_one_forward_pass(
    arch: str, case: str, parity_model: ParityModel
) -> None:
    model = parity_model(arch)
    network = model.network
    inputs = inputs_of(model, case)
    after_media = max((s.end for s in inputs.spans), default=0)
    start = max(after_media, len(inputs.ids) - 2 * network.config.text.sliding_window)
    whole = np.array(logits_of(model, inputs))
    prefix = dataclasses.replace(inputs, ids=inputs.ids[:start])
    cache = network.language_model.make_cache()
    soft_tokens = soft_tokens_of(model, inputs)
    make_prefill(model, prefix, soft_tokens, 512).all_logits(cache)
    for position in range(start, len(inputs.ids)):
        token = mx.array(inputs.ids[position])
        logits = logits_after(network, network.embed(token), cache)[0, -1]
        np.testing.assert_allclose(np.array(logits), whole[position], atol=TOLERANCE)
    assert len(inputs.ids) - start >= 10


# Other media


@pytest.mark.parametrize("arch", ARCHS)
def test_another_image_changes_the_logits_from_its_position_on(
    arch: str, parity_model: ParityModel
) -> None:
    """The prompts' ids are the same."""
    model = parity_model(arch)
    inputs = inputs_of(model, "image_70")
    (feature,) = inputs.features
    other = dataclasses.replace(feature, pixels=255 - feature.pixels, digest="other")
    changed = dataclasses.replace(inputs, features=(other,))
    first, second = (np.array(logits_of(model, given)) for given in (inputs, changed))
    (image,) = inputs.spans
    np.testing.assert_allclose(first[: image.start], second[: image.start], atol=1e-5)
    assert np.abs(first - second)[image.start :].max() > 1


# Nothing is computed needlessly


def test_layers_that_reuse_keys_and_the_vocabulary_see_the_last_token_only(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = parity_model("e2b")
    config = model.network.config.text
    layers: list[tuple[int, int]] = []
    heads: list[tuple[int, ...]] = []
    language = model.network.language_model
    layer_class, head_class = type(language.model.layers[0]), type(language)
    layer_call, head_call = layer_class.__call__, head_class.logits

    def layer_spy(self: nn.Module, x: mx.array, *args: object, **kwargs: object) -> object:
        layers.append((self.layer_idx, x.shape[1]))
        return layer_call(self, x, *args, **kwargs)

    def head_spy(self: LanguageModel, hidden: mx.array) -> mx.array:
        heads.append(hidden.shape)
        return head_call(self, hidden)

    monkeypatch.setattr(layer_class, "__call__", layer_spy)
    monkeypatch.setattr(head_class, "logits", head_spy)
    inputs = inputs_of(model, "text")
    cache = model.network.language_model.make_cache()
    events = list(make_prefill(model, inputs, [], 100).run(cache))
    assert heads == []
    hidden = events.pop()
    assert isinstance(hidden, mx.array) and hidden.shape == (1, 1, config.hidden_size)
    sharing = range(config.num_stored_layers, config.num_layers)
    assert [entry for entry in layers if entry[0] in sharing] == [(i, 1) for i in sharing]
    length = len(inputs.ids)
    for index in range(config.num_stored_layers):
        assert sum(count for i, count in layers if i == index) == length
    done = [event.done for event in events if isinstance(event, PrefillProgress)]
    assert done == [0, 100, 200, 300, length - 1, length]
    assert {event.total for event in events} == {length}


def test_after_a_long_prompt_sliding_layers_cache_the_window(parity_model: ParityModel) -> None:
    model = parity_model("31b")
    config = model.network.config.text
    inputs = inputs_of(model, "text")
    cache = model.network.language_model.make_cache()
    list(make_prefill(model, inputs, [], 16).run(cache))
    for layer, kind in zip(cache, config.layer_types, strict=True):
        full = kind == "full_attention"
        kept = layer.state[0].shape[2]
        assert kept >= len(inputs.ids) if full else kept == config.sliding_window
        assert layer.offset == len(inputs.ids)
