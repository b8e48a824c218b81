"""A batch says what each of its prompts is told alone, and computes no more than it must."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from support.goldens import inputs_of, soft_tokens_of

from gemma4cli.decoded import AudioClip
from gemma4cli.engine import batch as batch_module
from gemma4cli.engine.batch import Prompt, can_batch, generate_batch, stream_batch
from gemma4cli.engine.batch_prefill import BatchPrefill, batch_chunks
from gemma4cli.engine.generate import generate, make_prefill
from gemma4cli.engine.model import FeatureCache, LoadedModel
from gemma4cli.errors import ContextLengthError, NonFiniteError
from gemma4cli.events import Finished, TextDelta
from gemma4cli.messages import AudioPart, Message, Part, Source, TextPart
from gemma4cli.models import batch_cache
from gemma4cli.models.batch_cache import BatchCache
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.models.masks import Masks, make_batch_masks
from gemma4cli.options import GenerateOptions
from gemma4cli.processing.inputs import ModelInputs

ParityModel = Callable[[str], LoadedModel]
GREEDY = GenerateOptions(max_tokens=16, temperature=0)
SECONDS = (1.0, 0.3, 4.0, 2.2, 0.05)
"""Of clips whose prompts are shorter and four times as long as the window, in no order."""
TOLERANCE = 1e-4
"""Of the deviation of the logits. The largest error seen on a CPU is 1e-5."""
NEVER = frozenset({1 << 30})
"""Stop ids that no model generates."""


def fresh(model: LoadedModel, **generation: object) -> LoadedModel:
    """The same model, with no soft tokens kept and perhaps other generation settings."""
    changed = dataclasses.replace(model.generation, **generation)
    return dataclasses.replace(model, soft_tokens=FeatureCache(), generation=changed)


def heard(
    model: LoadedModel, seconds: float, text: str = "Transcribe this.", *, think: bool = False
) -> ModelInputs:
    """A prompt with a clip of noise."""
    noise = np.random.default_rng(int(seconds * 1000)).normal(size=int(seconds * 16_000))
    clip = AudioClip(samples=noise.astype(np.float32) / 10, name="noise")
    parts: tuple[Part, ...] = (TextPart(text=text), AudioPart(source=Source(name="noise")))
    return model.processor.prepare([Message(role="user", content=parts)], [clip], think=think)


def said(model: LoadedModel, text: str, *, think: bool = False) -> ModelInputs:
    return model.processor.prepare([Message(role="user", content=text)], [], think=think)


def alone(model: LoadedModel, inputs: ModelInputs, options: GenerateOptions) -> Finished:
    *_, last = generate(fresh(model), inputs, options)
    assert isinstance(last, Finished)
    return last


def same(first: Finished, second: Finished) -> bool:
    """Whether two answers agree in all but the time they took."""
    return dataclasses.replace(first, timings=second.timings) == second


def check_as_alone(
    model: LoadedModel, inputs: Sequence[ModelInputs], options: GenerateOptions = GREEDY
) -> list[Finished]:
    answers = generate_batch(fresh(model), inputs, options)
    assert len(answers) == len(inputs)
    for each, answer in zip(inputs, answers, strict=True):
        assert same(answer, alone(model, each, options))
    return answers


def narrow(model: LoadedModel, limit: int, patch: pytest.MonkeyPatch) -> None:
    text = dataclasses.replace(model.network.config.text, max_positions=limit)
    config = dataclasses.replace(model.network.config, text=text)
    patch.setattr(model.network, "config", config)


# Answers


@pytest.mark.parametrize("arch", ["e2b", "e4b", "12b"])
def test_clips_of_any_length(arch: str, parity_model: ParityModel) -> None:
    """In batches of one, two and five."""
    model = parity_model(arch)
    inputs = [heard(model, seconds) for seconds in SECONDS]
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


def test_clips_for_the_built_in_model(tiny: LoadedModel) -> None:
    """Its window is 256: two prompts are longer than that."""
    clips = [heard(tiny, seconds) for seconds in (10.2, 0.4, 1.5)]
    inputs = [clips[0], said(tiny, "What? " * 150), *clips[1:], said(tiny, "A")]
    expected = [alone(tiny, each, GREEDY) for each in inputs]
    kept = fresh(tiny)
    for count in (5, 2, 1):
        answers = generate_batch(kept, inputs[:count], GREEDY)
        assert all(same(*pair) for pair in zip(answers, expected[:count], strict=True))
    assert len([each for each in inputs if len(each.ids) > 256]) == 2


@pytest.mark.parametrize("arch", ["e2b", "26b", "31b"])
def test_text_alone(arch: str, parity_model: ParityModel) -> None:
    model = parity_model(arch)
    cases = ("text_short", "text", "turns", "thinking", "system_thinking")
    check_as_alone(model, [inputs_of(model, case) for case in cases])


@pytest.mark.parametrize("arch", ["e2b", "12b"])
def test_with_and_without_thinking(arch: str, parity_model: ParityModel) -> None:
    model = parity_model(arch)
    inputs = [
        heard(model, 0.7, think=True),
        said(model, "Why?"),
        heard(model, 1.5),
        said(model, "Think this over.", think=True),
    ]
    check_as_alone(model, inputs)


def test_images_where_they_are_read_like_text(parity_model: ParityModel) -> None:
    model = parity_model("e2b")
    inputs = [inputs_of(model, "image_70"), heard(model, 1.0), inputs_of(model, "mixed")]
    assert all(can_batch(model, each) for each in inputs)
    check_as_alone(model, inputs)


def test_images_that_form_blocks_run_alone(parity_model: ParityModel) -> None:
    model = parity_model("12b")
    inputs = [heard(model, 1.0), inputs_of(model, "image_70"), heard(model, 0.3)]
    assert [can_batch(model, each) for each in inputs] == [True, False, True]
    check_as_alone(model, inputs)


def test_no_prompts(tiny: LoadedModel) -> None:
    assert generate_batch(tiny, [], GREEDY) == []


def test_looking_ahead_changes_nothing(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows leave while their next token is being computed."""
    model = fresh(parity_model("e2b"), stop_ids=NEVER)
    inputs = [heard(model, seconds) for seconds in SECONDS]
    limits = [9, 1, 4, 9, 2]
    runs = []
    for lookahead in (False, True):
        monkeypatch.setattr(batch_module, "on_cpu", lambda ahead=lookahead: not ahead)
        runs.append(generate_batch(model, inputs, GREEDY, max_tokens=limits))
    assert all(same(*pair) for pair in zip(*runs, strict=True))
    assert [len(answer.token_ids) for answer in runs[0]] == limits


# Drawing


SAMPLED = GenerateOptions(max_tokens=12, temperature=1.5, top_k=0, top_p=1, seed=3)


def test_seed_draws_what_it_draws_alone(parity_model: ParityModel) -> None:
    model = parity_model("e2b")
    answers = check_as_alone(model, [heard(model, seconds) for seconds in SECONDS], SAMPLED)
    greedy = generate_batch(model, [heard(model, SECONDS[0])], GREEDY)[0]
    assert answers[0].token_ids != greedy.token_ids[: SAMPLED.max_tokens]


def test_without_a_seed_rows_draw_for_themselves(parity_model: ParityModel) -> None:
    model = fresh(parity_model("e2b"), stop_ids=NEVER)
    options = dataclasses.replace(SAMPLED, seed=None)
    answers = generate_batch(model, [heard(model, 0.3)] * 3, options)
    assert len({answer.token_ids for answer in answers}) == 3


def test_suppressed_ids_are_not_generated(parity_model: ParityModel) -> None:
    model = parity_model("12b")
    others = tuple(i for i in range(model.network.config.text.vocab_size) if i != 77)
    forced = fresh(model, suppressed_ids=others)
    for options in (dataclasses.replace(GREEDY, max_tokens=12), SAMPLED):
        answers = generate_batch(forced, [said(forced, "A"), heard(forced, 0.4)], options)
        assert [answer.token_ids for answer in answers] == [(77,) * 12] * 2


def test_each_prompt_draws_by_its_own_seed(parity_model: ParityModel) -> None:
    model = parity_model("e2b")
    inputs = [heard(model, seconds) for seconds in (0.3, 1.0, 0.3)]
    own = [dataclasses.replace(SAMPLED, seed=seed, max_tokens=6) for seed in (1, 2, 3)]
    prompts = [Prompt(inputs=i, options=o) for i, o in zip(inputs, own, strict=True)]
    answers = {n: e for n, e in stream_batch(fresh(model), prompts) if isinstance(e, Finished)}
    for number, prompt in enumerate(prompts):
        assert same(answers[number], alone(model, prompt.inputs, prompt.options))
    assert answers[0].token_ids != answers[2].token_ids


def test_rows_are_told_as_soon_as_they_end(tiny: LoadedModel) -> None:
    """With their words on the way."""
    model = fresh(tiny, stop_ids=NEVER)
    inputs = [said(model, "A " * 9), said(model, "B"), said(model, "C")]
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


def test_one_row_stops_at_once(parity_model: ParityModel) -> None:
    model = parity_model("e2b")
    inputs = [heard(model, seconds) for seconds in SECONDS]
    second = alone(fresh(model, stop_ids=NEVER), inputs[1], GREEDY)
    stopping = fresh(model, stop_ids=frozenset(second.token_ids[:1]))
    answers = check_as_alone(stopping, inputs)
    assert (answers[1].reason, answers[1].token_ids) == ("stop", ())
    assert "length" in [answer.reason for answer in answers]


def test_limit_of_each_prompt(parity_model: ParityModel) -> None:
    model = fresh(parity_model("12b"), stop_ids=NEVER)
    inputs = [heard(model, seconds) for seconds in SECONDS[:3]]
    limits = [1, 13, 5]
    answers = generate_batch(model, inputs, GREEDY, max_tokens=limits)
    for each, limit, answer in zip(inputs, limits, answers, strict=True):
        options = dataclasses.replace(GREEDY, max_tokens=limit)
        assert same(answer, alone(model, each, options))
        assert len(answer.token_ids) == limit


@pytest.mark.parametrize("guard", [True, False])
def test_repetition(guard: bool, parity_model: ParityModel) -> None:
    model = parity_model("12b")
    others = tuple(i for i in range(model.network.config.text.vocab_size) if i != 77)
    forced = fresh(model, suppressed_ids=others)
    inputs = [heard(forced, seconds) for seconds in SECONDS[:3]]
    options = dataclasses.replace(GREEDY, repetition_guard=guard)
    answers = generate_batch(forced, inputs, options, max_tokens=[130, 3, 130])
    most = ("repetition", 128) if guard else ("length", 130)
    assert [(a.reason, len(a.token_ids)) for a in answers] == [most, ("length", 3), most]


def test_context_is_full(parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row fills it by itself, its padding left out."""
    model = fresh(parity_model("e2b"), stop_ids=NEVER)
    inputs = [heard(model, seconds) for seconds in SECONDS[:4]]
    narrow(model, max(len(each.ids) for each in inputs) + 3, monkeypatch)
    answers = check_as_alone(model, inputs)
    assert [answer.reason for answer in answers] == ["length", "length", "context", "length"]
    assert len(answers[2].token_ids) == 3


def test_prompt_longer_than_the_context(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before anything is encoded."""
    model = parity_model("e2b")
    inputs = [heard(model, seconds) for seconds in SECONDS[:3]]
    longest = len(inputs[2].ids)
    narrow(model, longest, monkeypatch)
    monkeypatch.setattr(Gemma4, "encode_clips", None)
    with pytest.raises(ContextLengthError) as caught:
        generate_batch(fresh(model), inputs, GREEDY)
    assert (caught.value.tokens, caught.value.limit) == (longest, longest)


@pytest.mark.parametrize("lookahead", [False, True])
def test_one_row_that_is_no_number(
    lookahead: bool, parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others would be right, and are without it."""
    model = parity_model("e2b")
    inputs = [said(model, "Hello."), said(model, "What is ?"), heard(model, 0.3, "Well")]
    (odd,) = (set(inputs[1].ids) - set(inputs[0].ids) - set(inputs[2].ids)).intersection(
        model.processor.tokenizer.encode("?")
    )
    table = model.network.language_model.model.embed_tokens_per_layer
    broken = mx.where((mx.arange(len(table.weight)) == odd)[:, None], mx.nan, table.weight)
    monkeypatch.setattr(batch_module, "on_cpu", lambda: not lookahead)
    monkeypatch.setitem(table, "weight", broken)
    options = dataclasses.replace(GREEDY, max_tokens=3)
    with pytest.raises(NonFiniteError) as caught:
        generate_batch(fresh(model), inputs, options)
    assert caught.value.where == "decoding"
    assert len(generate_batch(fresh(model), [inputs[0], inputs[2]], options)) == 2


# Thoughts


class Scripted:
    """A decoder whose rows, longest prompt first, say what is written for them."""

    def __init__(self, scripts: Sequence[Sequence[int]]) -> None:
        self._rows = [iter(script) for script in scripts]

    def step(self) -> list[int]:
        return [next(row) for row in self._rows]

    def keep(self, rows: Sequence[int]) -> None:
        self._rows = [self._rows[row] for row in rows]


def test_thoughts_of_each_row(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny.processor.tokenizer
    opened, closed = tokenizer.control_id("<|channel>"), tokenizer.control_id("<channel|>")
    stop = min(tiny.generation.stop_ids)
    scripts = [
        [opened, *tokenizer.encode("thought\nhmm"), closed, *tokenizer.encode("well"), stop],
        [*tokenizer.encode("at once"), stop],
        [opened, *tokenizer.encode("thought\nno end"), stop],
    ]
    monkeypatch.setattr(batch_module, "BatchDecoder", lambda *a, **k: Scripted(scripts))
    inputs = [said(tiny, "A " * size) for size in (30, 20, 10)]
    answers = generate_batch(tiny, inputs, GREEDY)
    assert [(a.thoughts, a.text) for a in answers] == [
        ("hmm", "well"),
        ("", "at once"),
        ("no end", ""),
    ]


# Time


def test_timings_are_shares(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1, 2 and 4 seconds for towers, prefill and decoding."""
    clock = iter([0.0, 1.0, 3.0, 5.0, 6.0, 7.0])
    monkeypatch.setattr(batch_module, "perf_counter", lambda: next(clock))
    inputs = [said(tiny, "A"), heard(tiny, 1.0), heard(tiny, 1.0), heard(tiny, 4.0)]
    model = fresh(tiny, stop_ids=NEVER)
    answers = generate_batch(model, inputs, GREEDY, max_tokens=[1, 3, 3, 1])
    timings = [answer.timings for answer in answers]
    assert sum(t.encode for t in timings) == pytest.approx(1)
    assert sum(t.prefill for t in timings) == pytest.approx(2)
    assert sum(t.decode for t in timings) == pytest.approx(4)
    assert timings[0].encode == 0
    assert timings[1] == timings[2]
    assert timings[3].encode == pytest.approx(100 / 25 * timings[1].encode)
    assert timings[3].decode == timings[0].decode == pytest.approx(2 / 4)


def test_text_takes_no_time_to_encode(tiny: LoadedModel) -> None:
    answers = generate_batch(tiny, [said(tiny, "A"), said(tiny, "B")], GREEDY)
    assert min(answer.timings.encode for answer in answers) >= 0


# Logits


def passes(
    model: LoadedModel,
    inputs: Sequence[ModelInputs],
    steps: Sequence[Sequence[int]],
    *,
    step: int = 512,
) -> Iterator[tuple[list[int], npt.NDArray[np.float32]]]:
    """The rows of a batch and their logits, after the prompts and after each of ``steps``.

    A step's tokens are 1, 2, ...; it names the rows that take part, by their place in ``inputs``,
    longest first.
    """
    network = model.network
    cache = network.language_model.make_batch_cache()
    soft_tokens = [soft_tokens_of(model, each) for each in inputs]
    prefill = BatchPrefill(
        network=network, ids=[each.ids for each in inputs], soft_tokens=soft_tokens, step=step
    )
    rows = list(range(len(inputs)))
    yield rows, np.array(prefill.run(cache))
    for number, left in enumerate(steps):
        if left != rows:
            cache.keep([rows.index(row) for row in left])
            rows = list(left)
        tokens = mx.full((len(rows), 1), number + 1)
        masks = cache.extend(1)
        logits = network(*network.embed_rows(tokens), cache.layers, masks)[:, -1]
        yield rows, np.array(logits)


def passes_alone(model: LoadedModel, inputs: ModelInputs, steps: int) -> list[np.ndarray]:
    network = model.network
    cache = network.language_model.make_cache()
    *_, logits = make_prefill(model, inputs, soft_tokens_of(model, inputs), 512).run(cache)
    result = [np.array(logits)]
    for number in range(steps):
        nothing = Masks(full=None, sliding=None)
        logits = network(*network.embed([number + 1]), cache, nothing)[0, -1]
        result.append(np.array(logits))
    return result


def by_length(inputs: Sequence[ModelInputs]) -> list[ModelInputs]:
    return sorted(inputs, key=lambda each: len(each.ids), reverse=True)


@pytest.mark.parametrize("arch", ["e2b", "12b"])
def test_logits_as_alone(
    arch: str, parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Far past the window, with buffers that are often full, while rows leave: one in the middle,
    then the longest."""
    monkeypatch.setattr(batch_cache, "_STEP", 8)
    model = parity_model(arch)
    inputs = by_length([heard(model, seconds) for seconds in SECONDS])
    steps = [[0, 1, 2, 3, 4]] * 9 + [[0, 1, 3, 4]] * 11 + [[1, 3, 4]] * 10 + [[4]] * 10
    expected = [passes_alone(model, each, len(steps)) for each in inputs]
    for number, (rows, logits) in enumerate(passes(model, inputs, steps)):
        for row, values in zip(rows, logits, strict=True):
            single = expected[row][number]
            np.testing.assert_allclose(values, single, rtol=0, atol=TOLERANCE * single.std())
    window = model.network.config.text.sliding_window
    assert len(inputs[-1].ids) + len(steps) > window


def test_positions_count_from_the_first_token(parity_model: ParityModel) -> None:
    """Attention would not notice a shift of all, but rounding would, and a shift on the way."""
    model = parity_model("e2b")
    inputs = by_length([said(model, "A " * size) for size in (20, 12, 5)])
    lengths = [len(each.ids) for each in inputs]
    cache = model.network.language_model.make_batch_cache()
    prefill = BatchPrefill(
        network=model.network,
        ids=[each.ids for each in inputs],
        soft_tokens=[[]] * 3,
        step=512,
    )
    prefill.run(cache)
    assert cache.layers[0].offset.tolist() == [length - 1 for length in lengths]
    cache.keep([1, 2])
    cache.extend(1)
    assert cache.layers[0].offset.tolist() == lengths[1:]


@pytest.mark.parametrize("step", [7, 64, 2000])
@pytest.mark.parametrize("arch", ["e2b", "12b"])
def test_any_prefill_step_gives_the_same(arch: str, step: int, parity_model: ParityModel) -> None:
    model = parity_model(arch)
    inputs = by_length([heard(model, seconds) for seconds in SECONDS])
    *_, (_, logits) = passes(model, inputs, [[0, 1, 2, 3, 4]], step=step)
    for values, each in zip(logits, inputs, strict=True):
        single = passes_alone(model, each, 1)[-1]
        np.testing.assert_allclose(values, single, rtol=0, atol=TOLERANCE * single.std())


@pytest.mark.parametrize("arch", ["e2b", "26b"])
def test_padding_stays_zero(arch: str, parity_model: ParityModel) -> None:
    """So that it cannot overflow, whatever the dtype."""
    model = parity_model(arch)
    inputs = by_length([inputs_of(model, "text"), inputs_of(model, "text_short")])
    cache = model.network.language_model.make_batch_cache()
    ids = [each.ids for each in inputs]
    BatchPrefill(network=model.network, ids=ids, soft_tokens=[[], []], step=10_000).run(cache)
    padding = len(ids[0]) - len(ids[1])
    kinds = model.network.config.text.layer_types
    full = [layer for layer, kind in zip(cache.layers, kinds, strict=False) if "full" in kind]
    for buffer in (array for layer in full for array in layer.state):
        assert not np.array(buffer)[1, :, :padding].any()
        assert np.array(buffer)[1, :, padding : len(ids[0])].any(axis=(0, 2)).all()


# Masks


def seen(row: int, column: int, key: int, padding: Sequence[int], window: int | None) -> bool:
    if column < padding[row]:
        return key == column
    near = window is None or column - key < window
    return padding[row] <= key <= column and near


def spelled_out(mask: object, rows: int, length: int, keys: int) -> npt.NDArray[np.bool_]:
    causal = np.arange(keys - length, keys)[:, None] >= np.arange(keys)
    values = causal if mask == "causal" else np.array(True if mask is None else mask)
    return np.broadcast_to(values, (rows, 1, length, keys))[:, 0]


@pytest.mark.parametrize("padding", [(0,), (0, 0), (0, 3), (0, 1, 6, 9), (2, 2, 4)])
@pytest.mark.parametrize("window", [1, 4, 8, 64])
@pytest.mark.parametrize(("offset", "length"), [(0, 10), (5, 5), (9, 1), (12, 1), (12, 3), (40, 1)])
def test_mask_is_the_rule(offset: int, length: int, window: int, padding: tuple[int, ...]) -> None:
    masks = make_batch_masks(length=length, offset=offset, window=window, padding=padding)
    for mask, reach in ((masks.full, None), (masks.sliding, window)):
        kept = offset if reach is None else min(offset, window - 1)
        first = offset - kept
        rule = [
            [
                [seen(row, column, key, padding, reach) for key in range(first, offset + length)]
                for column in range(offset, offset + length)
            ]
            for row in range(len(padding))
        ]
        given = spelled_out(mask, len(padding), length, kept + length)
        np.testing.assert_array_equal(given, np.array(rule))


def test_no_mask_once_the_padding_is_out_of_sight() -> None:
    masks = make_batch_masks(length=1, offset=20, window=4, padding=(0, 17))
    assert masks.sliding is None
    assert isinstance(masks.full, mx.array)
    assert make_batch_masks(length=1, offset=20, window=4, padding=(0, 0)).full is None


# Clips


@pytest.mark.parametrize("arch", ["e2b", "12b"])
def test_clips_together_are_the_clips_alone(arch: str, parity_model: ParityModel) -> None:
    """Lengths of every rest, some that fill a chunk of attention and some that do not."""
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


def test_clips_do_not_see_behind_their_end(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the tower's attention to look ahead, as its config allows."""
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


def test_same_clip_is_encoded_once(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And kept for later prompts."""
    model = fresh(parity_model("e2b"))
    inputs = [heard(model, seconds) for seconds in (1.0, 0.3, 1.0)]
    encode, counts = Gemma4.encode_clips, []

    def spy(self: Gemma4, clips: Sequence[mx.array]) -> list[mx.array]:
        counts.append(len(clips))
        return encode(self, clips)

    monkeypatch.setattr(Gemma4, "encode_clips", spy)
    generate_batch(model, inputs, GREEDY)
    assert counts == [2]
    assert all(model.soft_tokens.get(each.features[0].digest) is not None for each in inputs)


def test_tower_takes_a_minute_at_once(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted with the padding: the memory it needs does not grow with the batch."""
    model = fresh(parity_model("e2b"))
    inputs = by_length([heard(model, seconds) for seconds in (29.0, 20.1, 20.2, 20.0, 15.0, 3.0)])
    counts = []

    def spy(self: Gemma4, clips: Sequence[mx.array]) -> list[mx.array]:
        counts.append([round(len(clip) / 100) for clip in clips])
        width = self.config.text.hidden_size
        return [mx.zeros((-(-len(clip) // 4), width)) for clip in clips]

    monkeypatch.setattr(Gemma4, "encode_clips", spy)
    for each in (inputs, inputs[1:]):
        generate_batch(fresh(model), each, dataclasses.replace(GREEDY, max_tokens=1))
    assert counts == [[29, 20], [20, 20], [15, 3], [20, 20], [20, 15, 3]]


# Nothing in vain


def test_rows_that_have_ended_leave(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many passes as the longest answer has tokens, each with the rows that still go on."""
    model = fresh(parity_model("e2b"), stop_ids=NEVER)
    call, rows = Gemma4.__call__, []

    def spy(self: Gemma4, embeddings: mx.array, *args: object) -> mx.array:
        rows.append(len(embeddings))
        return call(self, embeddings, *args)

    monkeypatch.setattr(Gemma4, "__call__", spy)
    inputs = [heard(model, seconds) for seconds in SECONDS[:3]]
    generate_batch(model, inputs, GREEDY, max_tokens=[2, 6, 4])
    assert rows == [3, 3, 2, 2, 1, 1]


def test_padding_that_all_rows_have_is_dropped(parity_model: ParityModel) -> None:
    """When the longest prompt has left; then the others need no masks for it."""
    model = parity_model("e2b")
    inputs = by_length([said(model, "A"), said(model, "B"), heard(model, 4.0)])
    cache = model.network.language_model.make_batch_cache()
    soft_tokens = [soft_tokens_of(model, each) for each in inputs]
    ids = [each.ids for each in inputs]
    network = model.network
    BatchPrefill(network=network, ids=ids, soft_tokens=soft_tokens, step=512).run(cache)
    assert isinstance(cache.extend(1).full, mx.array)
    cache.keep([1, 2])
    assert cache.extend(1).full is None


def test_sliding_layers_keep_the_window(parity_model: ParityModel) -> None:
    model = parity_model("31b")
    inputs = inputs_of(model, "text")
    cache = model.network.language_model.make_batch_cache()
    prefill = BatchPrefill(
        network=model.network, ids=[inputs.ids] * 2, soft_tokens=[[]] * 2, step=64
    )
    prefill.run(cache)
    for layer, kind in zip(cache.layers, model.network.config.text.layer_types, strict=True):
        keys, _ = layer.state
        bound = len(inputs.ids) if kind == "full_attention" else 32
        assert keys.shape[2] <= bound + 2 * batch_cache._STEP


# Chunks


def test_chunks_as_drawn() -> None:
    assert list(batch_chunks([6, 3], 4)) == [(0, 3, 1), (3, 5, 2), (5, 6, 2)]


@pytest.mark.parametrize(
    ("lengths", "step", "chunks"),
    [
        ([1], 4, [(0, 1, 1)]),
        ([1, 1, 1], 4, [(0, 1, 3)]),
        ([5], 4, [(0, 4, 1), (4, 5, 1)]),
        ([5, 5], 4, [(0, 2, 2), (2, 4, 2), (4, 5, 2)]),
        ([5, 5, 5], 2, [(0, 1, 3), (1, 2, 3), (2, 3, 3), (3, 4, 3), (4, 5, 3)]),
        ([9, 1], 512, [(0, 8, 1), (8, 9, 2)]),
        ([9, 2], 8, [(0, 7, 1), (7, 8, 2), (8, 9, 2)]),
    ],
)
def test_batch_chunks(lengths: list[int], step: int, chunks: list[tuple[int, int, int]]) -> None:
    assert list(batch_chunks(lengths, step)) == chunks


def test_chunks_of_any_batch() -> None:
    rng = random.Random(7)
    for _ in range(300):
        lengths = sorted((rng.randrange(1, 80) for _ in range(rng.randrange(1, 7))), reverse=True)
        step = rng.randrange(1, 100)
        chunks = list(batch_chunks(lengths, step))
        assert [start for start, _, _ in chunks] == [0, *(end for _, end, _ in chunks[:-1])]
        assert chunks[-1] == (lengths[0] - 1, lengths[0], len(lengths))
        for start, end, rows in chunks:
            assert start < end
            assert rows == sum(lengths[0] - length < end for length in lengths)
            assert rows * (end - start) <= step or end - start == 1
        assert all(first[2] <= second[2] for first, second in pairwise(chunks))


def test_caches_of_layers_die_with_their_batch() -> None:
    """Not only when Python looks for cycles: they are large."""
    import gc
    import weakref

    cache = BatchCache(["full_attention", "sliding_attention"], 4)
    layer = weakref.ref(cache.layers[0])
    gc.disable()
    try:
        del cache
        assert layer() is None
    finally:
        gc.enable()
