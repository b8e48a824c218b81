"""A batch answers each prompt as if it ran alone, and computes nothing needlessly."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.goldens import inputs_of, soft_tokens_of
from support.models import fresh, logits_after, narrow
from support.scripted import script

from gemma4cli.decoded import AudioClip
from gemma4cli.engine import prompt_reader, running_batch
from gemma4cli.engine.answering import Prompt, generate_batch
from gemma4cli.engine.batch import stream_batch
from gemma4cli.engine.batch_prefill import BatchPrefill, batch_chunks
from gemma4cli.engine.generate import generate
from gemma4cli.engine.model import LoadedModel
from gemma4cli.engine.prefill import make_prefill
from gemma4cli.engine.prompt_reading import can_read_together
from gemma4cli.errors import ContextLengthError, NonFiniteError
from gemma4cli.events import Finished, TextDelta
from gemma4cli.messages import AudioPart, Message, Part, Source, TextPart
from gemma4cli.models import batch_cache
from gemma4cli.models.gemma4 import Gemma4, SoftTokens
from gemma4cli.models.language import TextModel
from gemma4cli.options import GenerateOptions
from gemma4cli.processing.inputs import ModelInputs

ParityModel = Callable[[str], LoadedModel]
GREEDY = GenerateOptions(max_tokens=16, temperature=0)
SECONDS = (1.0, 0.3, 4.0, 2.2, 0.05)
"""Of clips, unsorted: their prompts are from shorter than to four times as long as the window."""
TOLERANCE = 1e-4
"""A share of the deviation of the logits. The largest error measured on a CPU is 1e-5."""
NEVER = frozenset({1 << 30})
"""A stop id that no model generates."""


def clip_prompt(
    model: LoadedModel, seconds: float, text: str = "Transcribe this.", *, think: bool = False
) -> ModelInputs:
    """A prompt with a clip of noise."""
    noise = np.random.default_rng(int(seconds * 1000)).normal(size=int(seconds * 16_000))
    clip = AudioClip(samples=noise.astype(np.float32) / 10, name="noise")
    parts: tuple[Part, ...] = (TextPart(text=text), AudioPart(source=Source(name="noise")))
    return model.processor.prepare([Message(role="user", content=parts)], [clip], think=think)


def text_prompt(model: LoadedModel, text: str, *, think: bool = False) -> ModelInputs:
    return model.processor.prepare([Message(role="user", content=text)], [], think=think)


def alone(model: LoadedModel, inputs: ModelInputs, options: GenerateOptions) -> Finished:
    *_, last = generate(fresh(model), inputs, options)
    assert isinstance(last, Finished)
    return last


def same(first: Finished, second: Finished) -> bool:
    """Whether two answers are equal except for their timings."""
    return dataclasses.replace(first, timings=second.timings) == second


def check_as_alone(
    model: LoadedModel, inputs: Sequence[ModelInputs], options: GenerateOptions = GREEDY
) -> list[Finished]:
    answers = generate_batch(fresh(model), inputs, options)
    assert len(answers) == len(inputs)
    for each, answer in zip(inputs, answers, strict=True):
        assert same(answer, alone(model, each, options))
    return answers


# Answers


@pytest.mark.parametrize("arch", ["e2b", "12b", pytest.param("e4b", marks=pytest.mark.slow)])
def test_clips_of_any_length_are_answered_as_alone(arch: str, parity_model: ParityModel) -> None:
    """In batches of one, two and five."""
    model = parity_model(arch)
    inputs = [clip_prompt(model, seconds) for seconds in SECONDS]
    expected = [alone(model, each, GREEDY) for each in inputs]
    kept = fresh(model)
    for count in (5, 2, 1):
        answers = generate_batch(kept, inputs[:count], GREEDY)
        assert all(same(*pair) for pair in zip(answers, expected[:count], strict=True))
    assert len({answer.token_ids for answer in expected}) == 5
    lengths = [len(each.ids) for each in inputs]
    window = model.network.config.text.sliding_window
    assert lengths[0] > 1.5 * window
    assert min(lengths) < 1.5 * window < max(lengths) / 2


@pytest.mark.slow
def test_clips_and_texts_are_answered_as_alone_by_the_built_in_model(tiny: LoadedModel) -> None:
    """Two prompts are longer than its window of 256."""
    clips = [clip_prompt(tiny, seconds) for seconds in (10.2, 0.4, 1.5)]
    inputs = [clips[0], text_prompt(tiny, "What? " * 150), *clips[1:], text_prompt(tiny, "A")]
    expected = [alone(tiny, each, GREEDY) for each in inputs]
    kept = fresh(tiny)
    for count in (5, 2, 1):
        answers = generate_batch(kept, inputs[:count], GREEDY)
        assert all(same(*pair) for pair in zip(answers, expected[:count], strict=True))
    assert len([each for each in inputs if len(each.ids) > 256]) == 2


@pytest.mark.parametrize("arch", ["e2b", "26b", pytest.param("31b", marks=pytest.mark.slow)])
def test_texts_are_answered_as_alone(arch: str, parity_model: ParityModel) -> None:
    model = parity_model(arch)
    cases = ("text_short", "text", "turns", "thinking", "system_thinking")
    check_as_alone(model, [inputs_of(model, case) for case in cases])


@pytest.mark.parametrize("arch", ["e2b", "12b"])
def test_prompts_with_and_without_thinking_share_a_batch(
    arch: str, parity_model: ParityModel
) -> None:
    model = parity_model(arch)
    inputs = [
        clip_prompt(model, 0.7, think=True),
        text_prompt(model, "Why?"),
        clip_prompt(model, 1.5),
        text_prompt(model, "Think this over.", think=True),
    ]
    check_as_alone(model, inputs)


def test_images_without_bidirectional_blocks_share_a_batch(parity_model: ParityModel) -> None:
    model = parity_model("e2b")
    inputs = [inputs_of(model, "image_70"), clip_prompt(model, 1.0), inputs_of(model, "mixed")]
    assert all(can_read_together(model, each) for each in inputs)
    check_as_alone(model, inputs)


def test_images_with_bidirectional_blocks_are_read_alone(parity_model: ParityModel) -> None:
    model = parity_model("12b")
    inputs = [clip_prompt(model, 1.0), inputs_of(model, "image_70"), clip_prompt(model, 0.3)]
    assert [can_read_together(model, each) for each in inputs] == [True, False, True]
    check_as_alone(model, inputs)


def test_an_empty_batch_has_no_answers(tiny: LoadedModel) -> None:
    assert generate_batch(tiny, [], GREEDY) == []


def test_lookahead_does_not_change_answers(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows leave while their next token is computed."""
    model = fresh(parity_model("e2b"), stop_ids=NEVER)
    inputs = [clip_prompt(model, seconds) for seconds in SECONDS]
    limits = [9, 1, 4, 9, 2]
    runs = []
    for lookahead in (False, True):
        monkeypatch.setattr(running_batch, "on_cpu", lambda ahead=lookahead: not ahead)
        runs.append(generate_batch(model, inputs, GREEDY, max_tokens=limits))
    assert all(same(*pair) for pair in zip(*runs, strict=True))
    assert [len(answer.token_ids) for answer in runs[0]] == limits


# Sampling


SAMPLED = GenerateOptions(max_tokens=12, temperature=1.5, top_k=0, top_p=1, seed=3)


def test_with_a_seed_each_row_samples_what_it_samples_alone(parity_model: ParityModel) -> None:
    model = parity_model("e2b")
    answers = check_as_alone(model, [clip_prompt(model, seconds) for seconds in SECONDS], SAMPLED)
    greedy = generate_batch(model, [clip_prompt(model, SECONDS[0])], GREEDY)[0]
    assert answers[0].token_ids != greedy.token_ids[: SAMPLED.max_tokens]


def test_without_a_seed_rows_sample_independently(parity_model: ParityModel) -> None:
    model = fresh(parity_model("e2b"), stop_ids=NEVER)
    options = dataclasses.replace(SAMPLED, seed=None)
    answers = generate_batch(model, [clip_prompt(model, 0.3)] * 3, options)
    assert len({answer.token_ids for answer in answers}) == 3


def test_suppressed_ids_are_not_generated(parity_model: ParityModel) -> None:
    model = parity_model("12b")
    others = tuple(i for i in range(model.network.config.text.vocab_size) if i != 77)
    forced = fresh(model, suppressed_ids=others)
    for options in (dataclasses.replace(GREEDY, max_tokens=12), SAMPLED):
        answers = generate_batch(
            forced, [text_prompt(forced, "A"), clip_prompt(forced, 0.4)], options
        )
        assert [answer.token_ids for answer in answers] == [(77,) * 12] * 2


def test_each_prompt_uses_its_own_seed_also_once_another_has_ended(
    parity_model: ParityModel,
) -> None:
    model = fresh(parity_model("e2b"), stop_ids=NEVER)
    inputs = [clip_prompt(model, seconds) for seconds in (0.3, 1.0, 0.3, 0.5)]
    own = [
        dataclasses.replace(SAMPLED, seed=seed, max_tokens=tokens)
        for seed, tokens in ((1, 6), (2, 1), (3, 8), (4, 8))
    ]
    prompts = [Prompt(inputs=i, options=o) for i, o in zip(inputs, own, strict=True)]
    answers = {n: e for n, e in stream_batch(fresh(model), prompts) if isinstance(e, Finished)}
    for number, prompt in enumerate(prompts):
        assert same(answers[number], alone(model, prompt.inputs, prompt.options))
    assert answers[0].token_ids != answers[2].token_ids[:6]


def test_a_row_is_finished_as_soon_as_it_ends_and_its_deltas_make_up_its_text(
    tiny: LoadedModel,
) -> None:
    model = fresh(tiny, stop_ids=NEVER)
    inputs = [text_prompt(model, "A " * 9), text_prompt(model, "B"), text_prompt(model, "C")]
    limits = (4, 1, 2)
    prompts = [
        Prompt(inputs=each, options=dataclasses.replace(GREEDY, max_tokens=limit))
        for each, limit in zip(inputs, limits, strict=True)
    ]
    events = list(stream_batch(model, prompts))
    assert [n for n, event in events if isinstance(event, Finished)] == [1, 2, 0]
    for number in range(3):
        deltas = [e.text for n, e in events if n == number and isinstance(e, TextDelta)]
        (end,) = [e for n, e in events if n == number and isinstance(e, Finished)]
        assert "".join(deltas) == end.text


# Why rows end


def test_a_row_may_stop_at_its_first_token(parity_model: ParityModel) -> None:
    model = parity_model("e2b")
    inputs = [clip_prompt(model, seconds) for seconds in SECONDS[:3]]
    second = alone(fresh(model, stop_ids=NEVER), inputs[1], GREEDY)
    stopping = fresh(model, stop_ids=frozenset(second.token_ids[:1]))
    answers = check_as_alone(stopping, inputs)
    assert (answers[1].reason, answers[1].token_ids) == ("stop", ())
    assert "length" in [answer.reason for answer in answers]


def test_each_prompt_has_its_own_token_limit(parity_model: ParityModel) -> None:
    model = fresh(parity_model("12b"), stop_ids=NEVER)
    inputs = [clip_prompt(model, seconds) for seconds in SECONDS[:3]]
    limits = [1, 13, 5]
    answers = generate_batch(model, inputs, GREEDY, max_tokens=limits)
    for each, limit, answer in zip(inputs, limits, answers, strict=True):
        options = dataclasses.replace(GREEDY, max_tokens=limit)
        assert same(answer, alone(model, each, options))
        assert len(answer.token_ids) == limit


@pytest.mark.parametrize("guard", [True, False])
def test_the_repetition_guard_ends_single_rows(guard: bool, parity_model: ParityModel) -> None:
    model = parity_model("12b")
    others = tuple(i for i in range(model.network.config.text.vocab_size) if i != 77)
    forced = fresh(model, suppressed_ids=others)
    inputs = [clip_prompt(forced, seconds) for seconds in SECONDS[:3]]
    options = dataclasses.replace(GREEDY, repetition_guard=guard)
    answers = generate_batch(forced, inputs, options, max_tokens=[130, 3, 130])
    most = ("repetition", 128) if guard else ("length", 130)
    assert [(a.reason, len(a.token_ids)) for a in answers] == [most, ("length", 3), most]


def test_a_row_ends_when_it_fills_the_context_not_counting_padding(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh(parity_model("e2b"), stop_ids=NEVER)
    inputs = [clip_prompt(model, seconds) for seconds in SECONDS[:4]]
    narrow(model, max(len(each.ids) for each in inputs) + 3, monkeypatch)
    answers = check_as_alone(model, inputs)
    assert [answer.reason for answer in answers] == ["length", "length", "context", "length"]
    assert len(answers[2].token_ids) == 3


def test_a_prompt_longer_than_the_context_is_an_error_before_anything_is_encoded(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = parity_model("e2b")
    inputs = [clip_prompt(model, seconds) for seconds in SECONDS[:3]]
    longest = len(inputs[2].ids)
    narrow(model, longest, monkeypatch)
    monkeypatch.setattr(Gemma4, "encode_clips", None)
    with pytest.raises(ContextLengthError) as caught:
        generate_batch(fresh(model), inputs, GREEDY)
    assert (caught.value.tokens, caught.value.limit) == (longest, longest)


@pytest.mark.parametrize("lookahead", [False, True])
def test_nan_in_one_row_is_an_error_of_the_batch(
    lookahead: bool, parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = parity_model("e2b")
    inputs = [
        text_prompt(model, "Hello."),
        text_prompt(model, "What is ?"),
        clip_prompt(model, 0.3, "Well"),
    ]
    (odd,) = (set(inputs[1].ids) - set(inputs[0].ids) - set(inputs[2].ids)).intersection(
        model.tokenizer.encode("?")
    )
    table = model.network.language_model.model.embed_tokens_per_layer
    broken = mx.where((mx.arange(len(table.weight)) == odd)[:, None], mx.nan, table.weight)
    monkeypatch.setattr(running_batch, "on_cpu", lambda: not lookahead)
    monkeypatch.setitem(table, "weight", broken)
    options = dataclasses.replace(GREEDY, max_tokens=3)
    with pytest.raises(NonFiniteError) as caught:
        generate_batch(fresh(model), inputs, options)
    assert caught.value.where == "decoding"
    assert len(generate_batch(fresh(model), [inputs[0], inputs[2]], options)) == 2


# Thoughts


def test_thoughts_are_separated_in_each_row(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = [
        ["<|channel>", "thought\nhmm", "<channel|>", "well"],
        ["at once"],
        ["<|channel>", "thought\nno end"],
    ]
    script(monkeypatch, *scripts)
    inputs = [text_prompt(tiny, "A " * size) for size in (30, 20, 10)]
    answers = generate_batch(tiny, inputs, GREEDY)
    assert [(a.thoughts, a.text) for a in answers] == [
        ("hmm", "well"),
        ("", "at once"),
        ("no end", ""),
    ]


# Time


def test_timings_of_rows_are_their_shares_of_the_time(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the towers, by soft tokens; of reading, by tokens; of each step, equal parts."""
    clock = iter(range(1000))
    monkeypatch.setattr(prompt_reader, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(running_batch, "perf_counter", lambda: float(next(clock)))
    inputs = [
        text_prompt(tiny, "A"),
        clip_prompt(tiny, 1.0),
        clip_prompt(tiny, 1.0),
        clip_prompt(tiny, 4.0),
    ]
    model = fresh(tiny, stop_ids=NEVER)
    timings = [a.timings for a in generate_batch(model, inputs, GREEDY, max_tokens=[2, 4, 4, 2])]
    assert timings[0].encode == 0
    assert timings[1] == timings[2]
    assert timings[3].encode == pytest.approx(100 / 25 * timings[1].encode)
    lengths = [len(each.ids) for each in inputs]
    for each, length in zip(timings, lengths, strict=True):
        assert each.prefill / timings[0].prefill == pytest.approx(length / lengths[0])
    # Three steps, each one tick of the clock: of all rows, then twice of two.
    assert [each.decode for each in timings] == [1 / 4, 5 / 4, 5 / 4, 1 / 4]
    total = [sum(getattr(each, name) for each in timings) for name in ("encode", "prefill")]
    assert all(each == pytest.approx(round(each)) and each > 0 for each in total)


def test_without_media_the_encoding_times_are_not_negative(tiny: LoadedModel) -> None:
    answers = generate_batch(tiny, [text_prompt(tiny, "A"), text_prompt(tiny, "B")], GREEDY)
    assert min(answer.timings.encode for answer in answers) >= 0


# Logits


def filled(prefill: BatchPrefill, cache: batch_cache.BatchCache) -> mx.array:
    """The logits after a prefill."""
    chunks = prefill.run(cache)
    while True:
        try:
            next(chunks)
        except StopIteration as end:
            logits: mx.array = end.value
            return logits


def passes(
    model: LoadedModel,
    inputs: Sequence[ModelInputs],
    steps: Sequence[Sequence[int]],
    *,
    step: int = 512,
) -> Iterator[tuple[list[int], npt.NDArray[np.float32]]]:
    """The rows of a batch and their logits, after the prompts and after each of ``steps``.

    A step lists the rows that take part, as indices into ``inputs``, which are sorted longest
    first. Step n decodes token n + 1 in all of them.
    """
    network = model.network
    cache = network.language_model.make_batch_cache()
    soft_tokens = [soft_tokens_of(model, each) for each in inputs]
    prefill = BatchPrefill(
        network=network, ids=[each.ids for each in inputs], soft_tokens=soft_tokens, step=step
    )
    rows = list(range(len(inputs)))
    yield rows, np.array(filled(prefill, cache))
    for number, left in enumerate(steps):
        if left != rows:
            cache.keep([rows.index(row) for row in left])
            rows = list(left)
        tokens = mx.full((len(rows), 1), number + 1)
        masks = cache.extend(1)
        logits = logits_after(network, network.embed_rows(tokens), cache.layers, masks)[:, -1]
        yield rows, np.array(logits)


def passes_alone(model: LoadedModel, inputs: ModelInputs, steps: int) -> list[np.ndarray]:
    network = model.network
    cache = network.language_model.make_cache()
    *_, hidden = make_prefill(model, inputs, soft_tokens_of(model, inputs), 512).run(cache)
    result = [np.array(network.language_model.logits(hidden)[0, -1])]
    for number in range(steps):
        logits = logits_after(network, network.embed([number + 1]), cache)[0, -1]
        result.append(np.array(logits))
    return result


def by_length(inputs: Sequence[ModelInputs]) -> list[ModelInputs]:
    return sorted(inputs, key=lambda each: len(each.ids), reverse=True)


@pytest.mark.parametrize("arch", ["e2b", "12b"])
def test_logits_far_past_the_window_are_those_of_the_rows_alone(
    arch: str, parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Buffers grow often, and rows leave: one in the middle, then the longest."""
    monkeypatch.setattr(batch_cache, "_STEP", 8)
    model = parity_model(arch)
    inputs = by_length([clip_prompt(model, seconds) for seconds in SECONDS])
    steps = [[0, 1, 2, 3, 4]] * 5 + [[0, 1, 3, 4]] * 7 + [[1, 3, 4]] * 6 + [[4]] * 5
    expected = [
        passes_alone(model, each, sum(row in rows for rows in steps))
        for row, each in enumerate(inputs)
    ]
    for number, (rows, logits) in enumerate(passes(model, inputs, steps)):
        for row, values in zip(rows, logits, strict=True):
            single = expected[row][number]
            np.testing.assert_allclose(values, single, rtol=0, atol=TOLERANCE * single.std())
    window = model.network.config.text.sliding_window
    assert len(inputs[-1].ids) + len(steps) > window


def test_positions_count_from_the_first_token(parity_model: ParityModel) -> None:
    """Attention does not notice a constant shift, but rounding and later changes would."""
    model = parity_model("e2b")
    inputs = by_length([text_prompt(model, "A " * size) for size in (20, 12, 5)])
    lengths = [len(each.ids) for each in inputs]
    cache = model.network.language_model.make_batch_cache()
    prefill = BatchPrefill(
        network=model.network,
        ids=[each.ids for each in inputs],
        soft_tokens=[[]] * 3,
        step=512,
    )
    filled(prefill, cache)
    assert cache.layers[0].offset.tolist() == [length - 1 for length in lengths]
    cache.keep([1, 2])
    cache.extend(1)
    assert cache.layers[0].offset.tolist() == lengths[1:]


@pytest.mark.parametrize("step", [64, 2000, pytest.param(7, marks=pytest.mark.slow)])
@pytest.mark.parametrize("arch", ["e2b", "12b"])
def test_logits_do_not_depend_on_the_prefill_step(
    arch: str, step: int, parity_model: ParityModel
) -> None:
    model = parity_model(arch)
    inputs = by_length([clip_prompt(model, seconds) for seconds in SECONDS])
    *_, (_, logits) = passes(model, inputs, [[0, 1, 2, 3, 4]], step=step)
    for values, each in zip(logits, inputs, strict=True):
        single = passes_alone(model, each, 1)[-1]
        np.testing.assert_allclose(values, single, rtol=0, atol=TOLERANCE * single.std())


@pytest.mark.parametrize("arch", ["e2b", "26b"])
def test_padding_stays_zero(arch: str, parity_model: ParityModel) -> None:
    """So it cannot overflow in any dtype."""
    model = parity_model(arch)
    inputs = by_length([inputs_of(model, "text"), inputs_of(model, "text_short")])
    cache = model.network.language_model.make_batch_cache()
    ids = [each.ids for each in inputs]
    soft_tokens: list[list[SoftTokens]] = [[], []]
    filled(
        BatchPrefill(network=model.network, ids=ids, soft_tokens=soft_tokens, step=10_000), cache
    )
    padding = len(ids[0]) - len(ids[1])
    kinds = model.network.config.text.layer_types
    full = [layer for layer, kind in zip(cache.layers, kinds, strict=False) if "full" in kind]
    for buffer in (array for layer in full for array in layer.state):
        assert not np.array(buffer)[1, :, :padding].any()
        assert np.array(buffer)[1, :, padding : len(ids[0])].any(axis=(0, 2)).all()


# Clips


@pytest.mark.parametrize("arch", ["e2b", "12b"])
def test_clips_encoded_together_have_the_soft_tokens_of_clips_encoded_alone(
    arch: str, parity_model: ParityModel
) -> None:
    """Lengths with every remainder; some fill a chunk of attention and some do not."""
    network = parity_model(arch).network
    width = 640 if network.config.unified else 128
    lengths = (50, 1, 2, 3, 4, 5, 192, 193, 48, 49, 47)
    rng = np.random.default_rng(0)
    clips = [mx.array(rng.normal(size=(n, width)).astype(np.float32)) for n in lengths]
    together = network.encode_clips(clips)
    assert len(together) == len(clips)
    for clip, values in zip(clips, together, strict=True):
        single = np.array(network.encode_audio(clip))
        np.testing.assert_allclose(np.array(values), single, rtol=0, atol=1e-5 * single.std())


def test_clips_do_not_see_the_padding_after_their_end_if_attention_looks_ahead(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The config allows that, though no released model does it."""
    network = parity_model("e2b").network
    ahead = dataclasses.replace(network.config.audio, context_right=3)
    tower = network.audio_tower
    for part in (tower, *(layer.self_attn for layer in tower.layers)):
        monkeypatch.setattr(part, "config", ahead)
    rng = np.random.default_rng(1)
    clips = [mx.array(rng.normal(size=(n, 128)).astype(np.float32)) for n in (90, 44, 201)]
    for clip, values in zip(clips, network.encode_clips(clips), strict=True):
        single = np.array(network.encode_audio(clip))
        np.testing.assert_allclose(np.array(values), single, rtol=0, atol=1e-5 * single.std())


def test_a_clip_in_several_prompts_is_encoded_once_and_kept_for_later_prompts(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh(parity_model("e2b"))
    inputs = [clip_prompt(model, seconds) for seconds in (1.0, 0.3, 1.0)]
    encode, counts = Gemma4.encode_clips, []

    def spy(self: Gemma4, clips: Sequence[mx.array]) -> list[mx.array]:
        counts.append(len(clips))
        return encode(self, clips)

    monkeypatch.setattr(Gemma4, "encode_clips", spy)
    generate_batch(model, inputs, GREEDY)
    assert counts == [2]
    assert all(model.soft_tokens.get(each.features[0].digest) is not None for each in inputs)


def test_the_audio_tower_encodes_at_most_a_minute_together_including_padding(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory does not grow with the batch."""
    model = fresh(parity_model("e2b"))
    inputs = by_length(
        [clip_prompt(model, seconds) for seconds in (29.0, 20.1, 20.2, 20.0, 15.0, 3.0)]
    )
    counts = []

    def spy(self: Gemma4, clips: Sequence[mx.array]) -> list[mx.array]:
        counts.append([round(len(clip) / 100) for clip in clips])
        width = self.config.text.hidden_size
        return [mx.zeros((-(-len(clip) // 4), width)) for clip in clips]

    monkeypatch.setattr(Gemma4, "encode_clips", spy)
    for each in (inputs, inputs[1:]):
        generate_batch(fresh(model), each, dataclasses.replace(GREEDY, max_tokens=1))
    assert counts == [[29, 20], [20, 20], [15, 3], [20, 20], [20, 15, 3]]


# Nothing is computed needlessly


def test_each_forward_pass_has_only_the_rows_that_have_not_ended(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh(parity_model("e2b"), stop_ids=NEVER)
    call, rows = TextModel.__call__, []

    def spy(self: TextModel, embeddings: mx.array, *args: object) -> mx.array:
        rows.append(len(embeddings))
        return call(self, embeddings, *args)

    monkeypatch.setattr(TextModel, "__call__", spy)
    inputs = [clip_prompt(model, seconds) for seconds in SECONDS[:3]]
    generate_batch(model, inputs, GREEDY, max_tokens=[2, 6, 4])
    assert rows == [3, 3, 2, 2, 1, 1]


def test_once_the_longest_row_has_left_rows_of_equal_length_need_no_masks(
    parity_model: ParityModel,
) -> None:
    model = parity_model("e2b")
    inputs = by_length([text_prompt(model, "A"), text_prompt(model, "B"), clip_prompt(model, 4.0)])
    cache = model.network.language_model.make_batch_cache()
    soft_tokens = [soft_tokens_of(model, each) for each in inputs]
    ids = [each.ids for each in inputs]
    network = model.network
    filled(BatchPrefill(network=network, ids=ids, soft_tokens=soft_tokens, step=512), cache)
    assert isinstance(cache.extend(1).full.mask, mx.array)
    cache.keep([1, 2])
    assert cache.extend(1).full.mask is None


def test_sliding_layers_cache_about_the_window(parity_model: ParityModel) -> None:
    model = parity_model("31b")
    inputs = inputs_of(model, "text")
    cache = model.network.language_model.make_batch_cache()
    prefill = BatchPrefill(
        network=model.network, ids=[inputs.ids] * 2, soft_tokens=[[]] * 2, step=64
    )
    filled(prefill, cache)
    for layer, kind in zip(cache.layers, model.network.config.text.layer_types, strict=True):
        keys, _ = layer.state
        bound = len(inputs.ids) if kind == "full_attention" else 32
        assert keys.shape[2] <= bound + 2 * batch_cache._STEP


# Chunks


def test_chunks_as_drawn_in_the_docstring() -> None:
    assert list(batch_chunks([6, 3], 4)) == [(0, 3, 1), (3, 5, 2), (5, 6, 2)]


def test_chunks_of_known_batches() -> None:
    cases = [
        ([1], 4, [(0, 1, 1)]),
        ([1, 1, 1], 4, [(0, 1, 3)]),
        ([5], 4, [(0, 4, 1), (4, 5, 1)]),
        ([5, 5], 4, [(0, 2, 2), (2, 4, 2), (4, 5, 2)]),
        ([5, 5, 5], 2, [(0, 1, 3), (1, 2, 3), (2, 3, 3), (3, 4, 3), (4, 5, 3)]),
        ([9, 1], 512, [(0, 8, 1), (8, 9, 2)]),
        ([9, 2], 8, [(0, 7, 1), (7, 8, 2), (8, 9, 2)]),
    ]
    found = [(*case, list(batch_chunks(*case))) for *case, _ in cases]
    assert found == cases


@given(st.lists(st.integers(1, 80), min_size=1, max_size=7), st.integers(1, 100))
def test_chunks_cover_all_columns_count_the_rows_begun_and_keep_to_the_step(
    lengths: list[int], step: int
) -> None:
    lengths = sorted(lengths, reverse=True)
    chunks = list(batch_chunks(lengths, step))
    assert [start for start, _, _ in chunks] == [0, *(end for _, end, _ in chunks[:-1])]
    assert chunks[-1] == (lengths[0] - 1, lengths[0], len(lengths))
    for start, end, rows in chunks:
        assert start < end
        assert rows == sum(lengths[0] - length < end for length in lengths)
        assert rows * (end - start) <= step or end - start == 1
    assert all(first[2] <= second[2] for first, second in pairwise(chunks))
