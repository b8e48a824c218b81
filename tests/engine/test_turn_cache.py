"""Turns that resume from the cache answer like fresh runs and compute only what is new.

Every turn is compared with a run of the same prompt from an empty cache. The window of the parity
checkpoints is 32 tokens, so every conversation here is longer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from support.goldens import FOLDER
from support.models import fresh

from gemma4cli.conversations.chat import Chat
from gemma4cli.engine import generate as generate_module
from gemma4cli.engine import local
from gemma4cli.engine.decode import decode_tokens
from gemma4cli.engine.generate import generate
from gemma4cli.engine.model import LoadedModel
from gemma4cli.engine.turn_cache import TurnCache
from gemma4cli.errors import NonFiniteError
from gemma4cli.events import (
    EncodeProgress,
    Event,
    Finished,
    PrefillProgress,
    TextDelta,
    ThoughtDelta,
)
from gemma4cli.messages import Message, Part, Source, TextPart, VideoPart, content_of
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.models.mlx_lm_parts import KVCache
from gemma4cli.options import GenerateOptions, LoadOptions, MediaOptions
from gemma4cli.processing.inputs import ModelInputs

ParityModel = Callable[[str], LoadedModel]
Content = str | tuple[Part, ...]

MEDIA = FOLDER / "media"
SAMPLES = Path(__file__).parents[2] / "fixtures" / "samples"
TOLERANCE = 1e-3
"""Chunks change the order of summation, as in test_prefill.py."""
GREEDY = GenerateOptions(max_tokens=6, temperature=0)
SMALL = MediaOptions(budget=70)
THINKING = dataclasses.replace(GREEDY, think=True)
LONG = "Please look at it once more, and tell me about the colors, from the left to the right."


def image(text: str, name: str = "square.png") -> Content:
    return content_of(text, images=[MEDIA / name])


def sound(text: str, name: str = "short.wav") -> Content:
    return content_of(text, audio=[MEDIA / name])


def video(text: str) -> Content:
    frames = tuple(Source.of(MEDIA / f"frame{i}.png") for i in range(2))
    return (VideoPart(frames=frames, timestamps=(0.0, 1.5)), TextPart(text=text))


@dataclasses.dataclass
class Runs:
    """What reaches the engine and the network."""

    inputs: list[ModelInputs] = dataclasses.field(default_factory=list)
    logits: list[np.ndarray] = dataclasses.field(default_factory=list)
    prefilled: int = 0
    """Prompt tokens computed since this was set to 0."""

    def turn(
        self, model: LoadedModel, stream: Iterator[Event], options: GenerateOptions = GREEDY
    ) -> Finished:
        """Run a whole turn, which must equal a fresh run of its prompt."""
        self.prefilled = 0
        events = list(stream)
        last = events[-1]
        assert isinstance(last, Finished)
        inputs = self.inputs[-1]
        new = len(inputs.ids) - last.usage.cached_tokens
        assert self.prefilled == new > 0
        progress = [event for event in events if isinstance(event, PrefillProgress)]
        assert (progress[0].done, progress[-1].done) == (0, new)
        assert {event.total for event in progress} == {new}
        self.same_as_fresh(model, inputs, last, options)
        return last

    def same_as_fresh(
        self, model: LoadedModel, inputs: ModelInputs, last: Finished, options: GenerateOptions
    ) -> None:
        logits = self.logits[-1]
        *_, fresh = generate(model, inputs, dataclasses.replace(options, prefill_step_size=512))
        assert isinstance(fresh, Finished)
        assert fresh.usage.cached_tokens == 0
        np.testing.assert_allclose(logits, self.logits[-1], atol=TOLERANCE)
        assert (last.text, last.thoughts) == (fresh.text, fresh.thoughts)
        assert last.token_ids == fresh.token_ids


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    seen = Runs()
    embed = Gemma4.embed

    def noting(model: LoadedModel, inputs: ModelInputs, *others: Any) -> Iterator[Event]:
        seen.inputs.append(inputs)
        yield from generate(model, inputs, *others)

    def decoding(network: Gemma4, cache: Any, logits: mx.array, *args: Any, **kw: Any) -> Any:
        seen.logits.append(np.array(logits))
        return decode_tokens(network, cache, logits, *args, **kw)

    def embedding(self: Gemma4, ids: Any, *args: Any) -> Any:
        # Decoding gives arrays.
        if not isinstance(ids, mx.array):
            seen.prefilled += len(ids)
        return embed(self, ids, *args)

    monkeypatch.setattr(local, "generate", noting)
    monkeypatch.setattr(generate_module, "decode_tokens", decoding)
    monkeypatch.setattr(Gemma4, "embed", embedding)
    return seen


def turn_start(inputs: ModelInputs, model: LoadedModel) -> int:
    """The position at which the last turn of a prompt starts."""
    turn = model.tokenizer.control_id("<|turn>")
    return max(i for i, token in enumerate(inputs.ids) if token == turn)


# Whole conversations


SLOW_RUNS = [(arch, True, True) for arch in ("e2b", "12b", "31b")]
SLOW_RUNS += [(arch, False, True) for arch in ("e2b", "e4b", "26b")]


@pytest.mark.parametrize(
    ("arch", "lookahead", "whole"),
    [
        ("e2b", True, False),
        ("12b", False, False),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW_RUNS),
    ],
)
def test_a_conversation_with_media_and_thinking_resumes_at_every_turn(
    arch: str,
    lookahead: bool,
    whole: bool,
    parity_model: ParityModel,
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(generate_module, "on_cpu", lambda: not lookahead)
    model = fresh(parity_model(arch))
    hears = model.processor.hears
    chat = Chat(model, system="Be brief.", media=SMALL)
    questions: list[tuple[Content, GenerateOptions, int]] = [
        (image("What is this?"), GREEDY, 1),
        (LONG, GREEDY, 0),
        (sound("And this?") if hears else image("And this?", "tone.png"), GREEDY, 1),
        (video("What happens?"), GREEDY, 2),
        (LONG, GREEDY, 0),
        ("Why?", THINKING, 0),
        (image("And here?", "photo.png"), THINKING, 1),
        (LONG, THINKING, 0),
        ("And now?", GREEDY, 0),
    ]
    if not hears:
        questions[2] = (image("And this?", "portrait.png"), GREEDY, 1)
    if not whole:
        questions = [*questions[:4], questions[5], questions[7]]
    before: tuple[ModelInputs, bool] | None = None
    for content, options, media in questions:
        events: list[Event] = []

        def noting(stream: Iterator[Event], events: list[Event] = events) -> Iterator[Event]:
            for event in stream:
                events.append(event)
                yield event

        last = runs.turn(model, noting(chat.send(content, options)), options)
        cached = last.usage.cached_tokens
        if before is None or before[1] != options.think:
            assert cached == 0
        else:
            assert cached >= turn_start(before[0], model)
            encoded = [event.total for event in events if isinstance(event, EncodeProgress)]
            assert encoded == ([media, media] if media else [])
        before = runs.inputs[-1], options.think
    windows = 10 if whole else 6
    assert len(runs.inputs[-1].ids) > windows * model.network.config.text.sliding_window


@pytest.mark.slow
def test_a_conversation_with_the_built_in_model_resumes_after_its_answers(
    tiny: LoadedModel, runs: Runs
) -> None:
    """It generates the tokens that the next prompt has for its answer."""
    chat = Chat(tiny)
    options = dataclasses.replace(GREEDY, max_tokens=20)
    questions = [
        content_of("Describe this image.", images=[SAMPLES / "image00.png"]),
        "How many shapes are there?",
        content_of("What is said?", audio=[SAMPLES / "speech00.wav"]),
        content_of("Describe this video.", videos=[SAMPLES / "video00.mp4"]),
        "Hello",
    ]
    reached = 0
    for content in questions:
        last = runs.turn(tiny, chat.send(content, options), options)
        assert last.usage.cached_tokens >= reached
        # The last token of an answer that was cut off has not been through the network.
        reached = last.usage.prompt_tokens + len(last.token_ids) - (last.reason == "length")


@pytest.mark.parametrize("arch", ["e2b", "31b"])
def test_the_next_turn_does_not_resume_after_a_thought_because_prompts_omit_it(
    arch: str, parity_model: ParityModel, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = parity_model(arch)
    tokenizer = model.tokenizer
    thought = [
        tokenizer.control_id("<|channel>"),
        *tokenizer.encode("thought\nHm."),
        tokenizer.control_id("<channel|>"),
    ]
    answer = [*thought, *tokenizer.encode("It is blue."), min(model.generation.stop_ids)]
    scripted(monkeypatch, answer)
    chat = Chat(model, media=SMALL)
    options = dataclasses.replace(THINKING, max_tokens=len(answer) + 1)
    first = runs.turn(model, chat.send(image("What is this?"), options), options)
    assert first.thoughts == "Hm."
    assert first.text == "It is blue."
    assert len(chat._turns._checkpoints) == 1
    asked = runs.inputs[-1]
    brief = dataclasses.replace(options, max_tokens=2)
    second = runs.turn(model, chat.send("Why?", brief), brief)
    assert second.usage.cached_tokens == turn_start(asked, model)


def scripted(patch: pytest.MonkeyPatch, ids: Sequence[int]) -> None:
    """Let the model "generate" these ids, which go through the network like any others."""
    real = generate_module.decode_tokens

    def playing(network: Gemma4, cache: Any, logits: Any, sampler: Any, **kw: Any) -> Any:
        left = iter(ids)
        return real(network, cache, logits, lambda _: mx.array(next(left)), **kw)

    patch.setattr(generate_module, "decode_tokens", playing)


@pytest.mark.parametrize(("arch", "repeats"), [("e2b", True), ("12b", False)])
def test_generated_tokens_are_not_prefilled_if_the_next_prompt_repeats_them(
    arch: str,
    repeats: bool,
    parity_model: ParityModel,
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The 12B's never does: its prompts end with an empty thought."""
    model = parity_model(arch)
    answer = model.tokenizer.encode("It is blue.")
    scripted(monkeypatch, [*answer, min(model.generation.stop_ids)])
    chat = Chat(model, media=SMALL)
    options = dataclasses.replace(GREEDY, max_tokens=len(answer) + 1)
    runs.turn(model, chat.send(LONG, options), options)
    asked = runs.inputs[-1]
    second = runs.turn(model, chat.send("Why?", GREEDY))
    expected = len(asked.ids) + len(answer) if repeats else turn_start(asked, model)
    assert second.usage.cached_tokens == expected


def test_an_answer_in_tokens_that_the_tokenizer_would_not_choose_is_prefilled(
    parity_model: ParityModel, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = parity_model("e2b")
    tokenizer = model.tokenizer
    spelled = [token for letter in "the color" for token in tokenizer.encode(letter)]
    assert spelled != tokenizer.encode("the color")
    scripted(monkeypatch, [*spelled, min(model.generation.stop_ids)])
    options = dataclasses.replace(GREEDY, max_tokens=len(spelled) + 1)
    chat = Chat(model, media=SMALL)
    assert runs.turn(model, chat.send(LONG, options), options).text == "the color"
    asked = runs.inputs[-1]
    second = runs.turn(model, chat.send("Why?", GREEDY))
    assert second.usage.cached_tokens == turn_start(asked, model)


# Going back


@pytest.mark.parametrize("arch", ["e2b", "26b"])
def test_a_checkpoint_can_be_resumed_from_repeatedly(
    arch: str, parity_model: ParityModel, runs: Runs
) -> None:
    model = parity_model(arch)
    chat = Chat(model, media=SMALL)
    runs.turn(model, chat.send(image("What is this?"), GREEDY))
    runs.turn(model, chat.send(LONG, GREEDY))
    asked = runs.inputs[-1]
    for _ in range(3):
        again = runs.turn(model, chat.retry(GREEDY))
        assert runs.inputs[-1].ids == asked.ids
        assert again.usage.cached_tokens == turn_start(asked, model)


def test_single_tokens_are_not_written_into_the_arrays_of_a_checkpoint(
    parity_model: ParityModel, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = parity_model("e2b")
    answer = model.tokenizer.encode("It is blue.")
    scripted(monkeypatch, [*answer, min(model.generation.stop_ids)])
    options = dataclasses.replace(GREEDY, prefill_step_size=1, max_tokens=len(answer) + 1)
    chat = Chat(model, media=SMALL)
    first = runs.turn(model, chat.send(LONG, options), options)
    for question in ("Why?", "How?"):
        last = runs.turn(model, chat.send(question, options), options)
        assert last.usage.cached_tokens == first.usage.prompt_tokens + len(answer)
        assert chat.undo()


def test_a_retry_after_an_empty_answer_computes_the_start_of_the_turn(
    parity_model: ParityModel, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole prompt is in the cache, but the logits of its last position are not."""
    model = parity_model("e2b")
    monkeypatch.setattr(generate_module, "on_cpu", lambda: True)
    scripted(monkeypatch, [min(model.generation.stop_ids)])
    chat = Chat(model, media=SMALL)
    assert runs.turn(model, chat.send(LONG, GREEDY)).token_ids == ()
    again = runs.turn(model, chat.retry(GREEDY))
    assert again.usage.cached_tokens == turn_start(runs.inputs[-1], model)


@pytest.mark.parametrize("arch", ["e4b", "31b"])
def test_other_turns_after_undo_resume_from_the_turns_that_are_left(
    arch: str, parity_model: ParityModel, runs: Runs
) -> None:
    model = parity_model(arch)
    chat = Chat(model, media=SMALL)
    for content in (image("What is this?"), LONG, "Why?"):
        runs.turn(model, chat.send(content, GREEDY))
    first = runs.inputs[0]
    assert chat.undo()
    assert chat.undo()
    for content in (LONG.replace("colors", "shapes"), "Why?"):
        last = runs.turn(model, chat.send(content, GREEDY))
        assert last.usage.cached_tokens >= turn_start(first, model)


def test_after_the_oldest_turn_is_dropped_the_cache_starts_over(
    parity_model: ParityModel, runs: Runs
) -> None:
    model = parity_model("12b")
    chat = Chat(model, system="Be brief.", media=SMALL)
    for content in (image("What is this?"), sound("And this?"), LONG):
        runs.turn(model, chat.send(content, GREEDY))
    assert chat.drop_oldest() == 1
    assert runs.turn(model, chat.send("Why?", GREEDY)).usage.cached_tokens == 0
    assert runs.turn(model, chat.send("How?", GREEDY)).usage.cached_tokens > 0


def test_clearing_a_conversation_clears_the_cache(parity_model: ParityModel, runs: Runs) -> None:
    model = parity_model("e2b")
    chat = Chat(model, media=SMALL)
    runs.turn(model, chat.send(LONG, GREEDY))
    chat.clear()
    assert runs.turn(model, chat.send(LONG, GREEDY)).usage.cached_tokens == 0


# Prompts that only look the same


def inputs_with(model: LoadedModel, content: Content) -> ModelInputs:
    chat = Chat(model, media=SMALL)
    list(chat.load([Message(role="user", content=content)]))
    return chat._inputs()


def cached(model: LoadedModel, turns: TurnCache, inputs: ModelInputs, runs: Runs) -> int:
    """How many tokens of a prompt were cached when it ran, equal to a fresh run."""
    *_, last = generate(model, inputs, GREEDY, turns)
    assert isinstance(last, Finished)
    runs.same_as_fresh(model, inputs, last, GREEDY)
    return last.usage.cached_tokens


@pytest.mark.parametrize("arch", ["e2b", "12b", "31b"])
def test_another_image_of_the_same_size_is_computed(
    arch: str, parity_model: ParityModel, runs: Runs
) -> None:
    """The prompts' ids are the same."""
    model = parity_model(arch)
    inputs = inputs_with(model, image("What is this?"))
    (feature,) = inputs.features
    mirrored = dataclasses.replace(feature, pixels=255 - feature.pixels, digest="mirrored")
    other = dataclasses.replace(inputs, features=(mirrored,))
    turns = TurnCache()
    cached(model, turns, inputs, runs)
    assert cached(model, turns, other, runs) == 0
    assert cached(model, turns, other, runs) == turn_start(other, model)


def test_an_image_at_another_budget_is_computed(parity_model: ParityModel, runs: Runs) -> None:
    model = parity_model("26b")
    chat = Chat(model, media=MediaOptions(budget=70))
    runs.turn(model, chat.send(image("What is this?"), GREEDY))
    chat.media = MediaOptions(budget=140)
    assert runs.turn(model, chat.send("Why?", GREEDY)).usage.cached_tokens == 0
    assert runs.inputs[1].num_soft_tokens > runs.inputs[0].num_soft_tokens


def test_another_network_starts_with_an_empty_cache(parity_model: ParityModel, runs: Runs) -> None:
    """The tokenizer and the ids are the same."""
    turns = TurnCache()
    one, other = parity_model("e2b"), parity_model("e4b")
    inputs = inputs_with(one, LONG)
    assert inputs.ids == inputs_with(other, LONG).ids
    for model in (one, other, one):
        assert cached(model, turns, inputs, runs) == 0


def test_other_masks_start_with_an_empty_cache(parity_model: ParityModel, runs: Runs) -> None:
    causal = parity_model("12b")
    options = LoadOptions(unified_full_attention_blocks=True)
    bidirectional = dataclasses.replace(causal, options=options)
    inputs = inputs_with(causal, image("What is this?"))
    turns = TurnCache()
    for model in (causal, bidirectional, causal):
        assert cached(model, turns, inputs, runs) == 0


def test_two_interleaved_conversations_do_not_mix(parity_model: ParityModel, runs: Runs) -> None:
    model = parity_model("e2b")
    chats = [Chat(model, media=SMALL), Chat(model, media=SMALL)]
    questions: list[tuple[Content, Content]] = [
        (image("What is this?"), sound("What is this?")),
        (LONG, LONG),
        ("Why?", "How?"),
    ]
    for contents in questions:
        streams = [c.send(content, GREEDY) for c, content in zip(chats, contents, strict=True)]
        events = [event for both in by_turns(streams) for event in both]
        ends = [event for event in events if isinstance(event, Finished)]
        assert len(ends) == 2
        for inputs, logits in list(zip(runs.inputs, runs.logits, strict=True)):
            *_, fresh = generate(model, inputs, GREEDY)
            assert isinstance(fresh, Finished)
            np.testing.assert_allclose(logits, runs.logits.pop(), atol=TOLERANCE)
            assert fresh.text in [chat.history[-1].content for chat in chats]
        runs.inputs.clear()
        runs.logits.clear()
    assert all(end.usage.cached_tokens > 0 for end in ends)


def by_turns(streams: Sequence[Iterator[Event]]) -> Iterator[list[Event]]:
    """The next event of each stream, until all have ended."""
    while events := [event for event in (next(s, None) for s in streams) if event is not None]:
        yield events


def test_of_two_interleaved_runs_of_a_conversation_only_the_newer_is_kept(
    parity_model: ParityModel, runs: Runs
) -> None:
    model = parity_model("e2b")
    turns = TurnCache()
    longer, shorter = inputs_with(model, LONG), inputs_with(model, "Why?")
    older = generate(model, longer, GREEDY, turns)
    next(event for event in older if isinstance(event, TextDelta | ThoughtDelta))
    assert cached(model, turns, shorter, runs) == 0
    *_, last = older
    *_, fresh = generate(model, longer, GREEDY)
    assert isinstance(last, Finished)
    assert isinstance(fresh, Finished)
    assert last.token_ids == fresh.token_ids
    assert cached(model, turns, shorter, runs) == turn_start(shorter, model)
    assert cached(model, turns, longer, runs) == 0


# Cancellation and failure


@pytest.mark.parametrize(
    ("arch", "lookahead"),
    [
        ("e2b", True),
        *(pytest.param(*x, marks=pytest.mark.slow) for x in (("12b", False), ("31b", True))),
    ],
)
@pytest.mark.parametrize("at", [EncodeProgress, PrefillProgress, TextDelta])
def test_a_turn_cancelled_at_any_event_can_be_repeated_and_continued(
    arch: str,
    lookahead: bool,
    at: type[Event],
    parity_model: ParityModel,
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the third event of a kind, or at the first of the towers."""
    monkeypatch.setattr(generate_module, "on_cpu", lambda: not lookahead)
    model = fresh(parity_model(arch))
    steps = dataclasses.replace(GREEDY, prefill_step_size=20)
    chat = Chat(model, media=SMALL)
    runs.turn(model, chat.send(LONG, steps), steps)
    second = (*image("And this?"), *video(LONG))
    stream = chat.send(second, steps)
    seen = 0
    for event in stream:
        seen += isinstance(event, at)
        if seen == (1 if at is EncodeProgress else 3):
            stream.close()
    stopped_at = runs.inputs[-1]
    again = runs.turn(model, chat.send(second, steps), steps)
    assert again.usage.cached_tokens >= turn_start(runs.inputs[0], model)
    if at is PrefillProgress:
        images = [s for s in stopped_at.spans if s.start < again.usage.cached_tokens < s.end]
        assert images == []
        assert again.usage.cached_tokens > turn_start(runs.inputs[0], model) + 20
    runs.turn(model, chat.send("Why?", steps), steps)


def test_a_turn_cancelled_inside_a_clip_resumes_inside_it(
    parity_model: ParityModel, runs: Runs
) -> None:
    """Chunks may split sound; the rest of the clip needs its soft tokens."""
    model = fresh(parity_model("e2b"))
    steps = dataclasses.replace(GREEDY, prefill_step_size=4)
    chat = Chat(model, media=SMALL)
    asked = sound(LONG, "tone.wav")
    stream = chat.send(asked, steps)
    (clip,) = inputs_with(model, asked).spans
    for event in stream:
        if isinstance(event, PrefillProgress) and event.done > clip.start:
            stream.close()
    again = runs.turn(model, chat.send(asked, GREEDY))
    assert clip.start < again.usage.cached_tokens < clip.end


@pytest.mark.parametrize(
    ("arch", "layer", "length"), [("e2b", 0, 1), ("e2b", 1, 20), ("31b", 0, 20), ("31b", 3, 1)]
)
def test_after_an_interrupt_inside_the_network_the_next_turn_is_right(
    arch: str,
    layer: int,
    length: int,
    parity_model: ParityModel,
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some layers have more positions than others, in prefill or in decoding."""
    model = parity_model(arch)
    options = dataclasses.replace(GREEDY, prefill_step_size=20)
    chat = Chat(model, media=SMALL)
    runs.turn(model, chat.send(image("What is this?"), options), options)
    before = chat.history
    layer_class = type(model.network.language_model.model.layers[0])
    call = layer_class.__call__
    calls = 0

    def interrupting(self: nn.Module, x: mx.array, *args: Any, **kw: Any) -> Any:
        nonlocal calls
        result = call(self, x, *args, **kw)
        calls += self.layer_idx == layer and x.shape[1] == length
        if calls == 2:
            raise KeyboardInterrupt
        return result

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(layer_class, "__call__", interrupting)
        list(chat.send(LONG * 2, options))
    if length > 1:
        assert chat.history == before
    last = runs.turn(model, chat.send(LONG, options), options)
    assert last.usage.cached_tokens > 0


def test_after_nan_the_cache_starts_over(
    parity_model: ParityModel, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = parity_model("e2b")
    chat = Chat(model, media=SMALL)
    runs.turn(model, chat.send(LONG, GREEDY))
    before = chat.history
    norm = model.network.language_model.model.layers[0].input_layernorm
    with monkeypatch.context() as patch, pytest.raises(NonFiniteError):
        patch.setitem(norm, "weight", norm.weight * mx.nan)
        list(chat.send("Why?", GREEDY))
    assert chat.history == before
    assert runs.turn(model, chat.send("Why?", GREEDY)).usage.cached_tokens == 0


# Memory


def test_above_the_limit_the_oldest_checkpoints_are_dropped_first(
    parity_model: ParityModel, runs: Runs
) -> None:
    model = parity_model("31b")
    text = model.network.config.text
    inputs = inputs_with(model, LONG)
    cache = model.network.language_model.make_cache()
    list(generate_module.make_prefill(model, inputs, [], 512).run(cache))
    checkpoint = sum(
        2 * text.sliding_window * layer.state[0][..., :1, :].nbytes
        for layer in cache
        if not isinstance(layer, KVCache)
    )
    chat = Chat(model, media=SMALL)
    chat._turns = TurnCache(limit=2 * checkpoint)
    for content in (LONG, "Why?", "How?", "Who?"):
        runs.turn(model, chat.send(content, GREEDY))
    kept = [turn_start(inputs, model) for inputs in runs.inputs[-2:]]
    assert runs.turn(model, chat.retry(GREEDY)).usage.cached_tokens == kept[1]
    assert chat.undo()
    assert chat.undo()
    assert runs.turn(model, chat.send("What?", GREEDY)).usage.cached_tokens == 0


def test_a_checkpoint_larger_than_the_limit_is_not_kept(
    parity_model: ParityModel, runs: Runs
) -> None:
    model = parity_model("e2b")
    turns = TurnCache(limit=1)
    inputs = inputs_with(model, LONG)
    assert [cached(model, turns, inputs, runs) for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("arch", ["e2b", "31b"])
def test_a_checkpoint_holds_the_window_of_each_sliding_layer_and_no_full_layer(
    arch: str, parity_model: ParityModel
) -> None:
    model = parity_model(arch)
    chat = Chat(model, media=SMALL)
    for content in (image("What is this?"), LONG):
        list(chat.send(content, GREEDY))
    layers = model.network.language_model.make_cache()
    sliding = sum(not isinstance(layer, KVCache) for layer in layers)
    checkpoints = chat._turns._checkpoints
    assert len(checkpoints) >= 2
    for checkpoint in checkpoints:
        assert len(checkpoint.arrays) == 2 * sliding
        lengths = {array.shape[2] for array in checkpoint.arrays}
        assert lengths == {model.network.config.text.sliding_window}
