"""A run from prompt to final event: why it ends, its events, failures and cancellation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import mlx.core as mx
import pytest
from support.checkpoints import PARITY, json_of, tensors_of, variant
from support.goldens import FOLDER, goldens, inputs_of, soft_tokens_of
from support.models import narrow

from gemma4cli.api import load, stream_generate
from gemma4cli.engine import answer_rules
from gemma4cli.engine import decode as decode_module
from gemma4cli.engine import generate as generate_module
from gemma4cli.engine.decode import decode_tokens
from gemma4cli.engine.generate import generate
from gemma4cli.engine.model import FeatureCache, LoadedModel
from gemma4cli.engine.prefill import make_prefill
from gemma4cli.engine.sampling import make_sampler, suppress
from gemma4cli.errors import ContextLengthError, NonFiniteError
from gemma4cli.events import (
    EncodeProgress,
    Event,
    Finished,
    Notice,
    PrefillProgress,
    TextDelta,
    ThoughtDelta,
)
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.models.language import TextModel
from gemma4cli.options import GenerateOptions, MediaOptions
from gemma4cli.processing.inputs import ModelInputs

ParityModel = Callable[[str], LoadedModel]
Script = Callable[[Sequence[int]], None]
GREEDY = GenerateOptions(max_tokens=6, temperature=0)
SMALL = MediaOptions(budget=70)
PHOTO = FOLDER / "media" / "square.png"


def finished(events: Iterator[Event]) -> Finished:
    *_, last = events
    assert isinstance(last, Finished)
    return last


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Lets the model "generate" the given ids repeatedly."""

    def play(ids: Sequence[int]) -> None:
        def tokens(*args: object, **kwargs: object) -> Iterator[int]:
            while True:
                yield from ids

        monkeypatch.setattr(generate_module, "decode_tokens", tokens)

    return play


@pytest.fixture
def question(tiny: LoadedModel) -> ModelInputs:
    return inputs_of(tiny, "text_short")


# Why a run ends


def test_each_stop_id_ends_the_answer(parity_model: ParityModel, script: Script) -> None:
    model = parity_model("e2b")
    inputs = inputs_of(model, "text_short")
    assert len(model.generation.stop_ids) == 3
    for stop in model.generation.stop_ids:
        script([60, 61, stop, 62])
        last = finished(generate(model, inputs, GREEDY))
        assert (last.reason, last.token_ids) == ("stop", (60, 61))
        assert last.usage.completion_tokens == 2


def test_an_answer_may_be_empty(tiny: LoadedModel, question: ModelInputs, script: Script) -> None:
    script([min(tiny.generation.stop_ids)])
    last = finished(generate(tiny, question, GREEDY))
    assert (last.reason, last.text, last.token_ids) == ("stop", "", ())


@pytest.mark.parametrize("limit", [1, 2, 6])
def test_max_tokens_limits_thoughts_and_answer_together(
    limit: int, tiny: LoadedModel, question: ModelInputs, script: Script
) -> None:
    tokenizer = tiny.tokenizer
    ids = [tokenizer.control_id("<|channel>"), *tokenizer.encode("thought\nno end to it")]
    script(ids)
    options = dataclasses.replace(GREEDY, max_tokens=limit)
    last = finished(generate(tiny, question, options))
    assert last.reason == "length"
    assert last.token_ids == tuple(ids[:limit])


@pytest.mark.parametrize("left", [1, 3])
def test_an_answer_ends_when_prompt_and_answer_fill_the_context(
    left: int,
    tiny: LoadedModel,
    question: ModelInputs,
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script(range(100, 120))
    narrow(tiny, len(question.ids) + left, monkeypatch)
    last = finished(generate(tiny, question, GREEDY))
    assert last.reason == "context"
    assert len(last.token_ids) == left


@pytest.mark.parametrize("excess", [0, 1, 7])
def test_a_prompt_that_fills_the_context_is_an_error_before_anything_is_encoded(
    excess: int, parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = parity_model("e2b")
    inputs = inputs_of(model, "image_70")
    narrow(model, len(inputs.ids) - excess, monkeypatch)
    monkeypatch.setattr(Gemma4, "encode_images", None)
    with pytest.raises(ContextLengthError) as caught:
        next(generate(model, inputs, GREEDY))
    assert (caught.value.tokens, caught.value.limit) == (len(inputs.ids), len(inputs.ids) - excess)


@pytest.mark.parametrize("guard", [True, False])
def test_the_repetition_guard_ends_a_repeating_answer(
    guard: bool, tiny: LoadedModel, question: ModelInputs, script: Script
) -> None:
    script([200, 201, 202])
    options = GenerateOptions(max_tokens=150, temperature=0, repetition_guard=guard)
    last = finished(generate(tiny, question, options))
    assert (last.reason, len(last.token_ids)) == (("repetition", 128) if guard else ("length", 150))


# Events


def test_a_run_reports_encoding_then_prefill_then_text_then_usage_and_timings(
    parity_model: ParityModel,
) -> None:
    model = dataclasses.replace(parity_model("e2b"), soft_tokens=FeatureCache())
    inputs = inputs_of(model, "image_70")
    events = list(generate(model, inputs, GREEDY))
    encode = [event for event in events if isinstance(event, EncodeProgress)]
    prefill = [event for event in events if isinstance(event, PrefillProgress)]
    texts = [event.text for event in events if isinstance(event, TextDelta)]
    last = events[-1]
    assert isinstance(last, Finished)
    assert [(event.done, event.total) for event in encode] == [(0, 1), (1, 1)]
    assert prefill[0].done == 0
    assert prefill[-1].done == prefill[-1].total == len(inputs.ids)
    assert "".join(texts) == last.text
    assert events.index(encode[-1]) < events.index(prefill[0])
    assert last.usage.prompt_tokens == len(inputs.ids)
    assert last.usage.soft_tokens == inputs.spans[0].end - inputs.spans[0].start > 50
    assert last.usage.completion_tokens == len(last.token_ids)
    assert min(last.timings.encode, last.timings.prefill, last.timings.decode) > 0


def test_thoughts_are_separate_events(
    tiny: LoadedModel, question: ModelInputs, script: Script
) -> None:
    tokenizer = tiny.tokenizer
    thought = [
        tokenizer.control_id("<|channel>"),
        *tokenizer.encode("thought\nhmm"),
        tokenizer.control_id("<channel|>"),
    ]
    script([*thought, *tokenizer.encode("well"), min(tiny.generation.stop_ids)])
    options = GenerateOptions(max_tokens=100, temperature=0)
    events = list(generate(tiny, question, options))
    last = finished(iter(events))
    assert (last.thoughts, last.text) == ("hmm", "well")
    assert "".join(e.text for e in events if isinstance(e, ThoughtDelta)) == "hmm"
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "well"


def test_an_incomplete_character_at_the_end_becomes_a_replacement_character(
    tiny: LoadedModel, question: ModelInputs, script: Script
) -> None:
    bytes_of = {byte: token for token, byte in tiny.tokenizer.byte_values.items()}
    script([bytes_of[byte] for byte in "é😀".encode()])
    events = list(generate(tiny, question, dataclasses.replace(GREEDY, max_tokens=5)))
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["é", "\ufffd"]
    assert finished(iter(events)).text == "é\ufffd"


def test_notices_come_first(tiny: LoadedModel, question: ModelInputs) -> None:
    inputs = dataclasses.replace(question, notices=("one", "two"))
    events = list(generate(tiny, inputs, GREEDY))
    assert events[:2] == [Notice(text="one"), Notice(text="two")]


# Token choice


def test_a_greedy_answer_equals_the_references(parity_model: ParityModel) -> None:
    model = parity_model("e2b")
    last = finished(generate(model, inputs_of(model, "text"), GREEDY))
    reference = goldens("e2b")["text/greedy"][:6].tolist()
    assert list(last.token_ids) == reference[: len(last.token_ids)]
    assert last.reason == "length" or reference[len(last.token_ids)] in model.generation.stop_ids


def test_equal_seeds_give_equal_answers(parity_model: ParityModel) -> None:
    model = parity_model("31b")
    inputs = inputs_of(model, "text_short")

    def run(seed: int) -> tuple[int, ...]:
        options = GenerateOptions(max_tokens=12, temperature=1.5, top_k=0, top_p=1, seed=seed)
        return finished(generate(model, inputs, options)).token_ids

    assert run(3) == run(3)
    assert len({run(seed) for seed in range(4)}) > 1


def test_the_checkpoints_sampling_settings_apply_unless_options_override_them(
    tiny: LoadedModel, question: ModelInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An option of 0 overrides too."""
    asked: list[dict[str, object]] = []

    def spy(**settings: object) -> object:
        asked.append(settings)
        return make_sampler(temperature=0, top_p=1, top_k=0)

    monkeypatch.setattr(answer_rules, "make_sampler", spy)
    generation = dataclasses.replace(tiny.generation, temperature=0.9, top_p=0.95, top_k=64)
    model = dataclasses.replace(tiny, generation=generation)
    for options in (
        GenerateOptions(max_tokens=1),
        GenerateOptions(max_tokens=1, temperature=0, top_p=0.5, top_k=0),
    ):
        list(generate(model, question, options))
    assert [(a["temperature"], a["top_p"], a["top_k"]) for a in asked] == [
        (0.9, 0.95, 64),
        (0, 0.5, 0),
    ]


def test_suppressed_ids_are_not_generated(parity_model: ParityModel) -> None:
    """With all ids but one suppressed, that one is generated."""
    model = parity_model("12b")
    vocab_size = model.network.config.text.vocab_size
    assert len(model.generation.suppressed_ids) == 2
    others = tuple(i for i in range(vocab_size) if i != 77)
    generation = dataclasses.replace(model.generation, suppressed_ids=others)
    forced = dataclasses.replace(model, generation=generation)
    inputs = inputs_of(model, "text_short")
    for options in (GREEDY, GenerateOptions(max_tokens=6, temperature=2.0, top_k=50)):
        assert finished(generate(forced, inputs, options)).token_ids == (77,) * 6


@pytest.mark.parametrize("arch", ["e2b", "26b"])
def test_lookahead_does_not_change_answers(arch: str, parity_model: ParityModel) -> None:
    model = parity_model(arch)
    inputs = inputs_of(model, "text_short")
    runs = []
    for lookahead in (False, True):
        cache = model.network.language_model.make_cache()
        *_, hidden = make_prefill(model, inputs, [], 512).run(cache)
        logits = model.network.language_model.logits(hidden)[0, -1]
        tokens = decode_tokens(
            model.network,
            cache,
            logits,
            make_sampler(temperature=0.8, top_p=0.9, top_k=20, key=mx.random.key(1)),
            bias=suppress(logits.shape[-1], [5]),
            lookahead=lookahead,
        )
        runs.append(list(islice(tokens, 40)))
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 3


# Failure and cancellation


@pytest.mark.parametrize("cap", [None, 30.0])
@pytest.mark.parametrize("value", [mx.nan, mx.inf])
@pytest.mark.parametrize("lookahead", [False, True])
def test_nan_or_infinity_in_the_weights_is_an_error(
    value: float,
    cap: float | None,
    lookahead: bool,
    tiny: LoadedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The soft cap, which maps infinity to 30, does not hide it."""
    language_model = tiny.network.language_model
    norm = language_model.model.norm
    inputs = inputs_of(tiny, "text_short")
    monkeypatch.setattr(generate_module, "on_cpu", lambda: not lookahead)
    monkeypatch.setitem(norm, "weight", norm.weight * value)
    text = dataclasses.replace(tiny.network.config.text, logit_softcap=cap)
    monkeypatch.setattr(language_model, "config", text)
    with pytest.raises(NonFiniteError) as caught:
        list(generate(tiny, inputs, GREEDY))
    assert caught.value.where == "decoding"


@pytest.mark.parametrize("value", [mx.nan, mx.inf, -mx.inf])
def test_a_single_logit_that_is_no_number(value: float, tiny: LoadedModel) -> None:
    """It need not be the first, nor the one that would be chosen."""
    logits = mx.zeros((8,))
    logits[5] = value
    sampler = make_sampler(temperature=0.0, top_p=1.0, top_k=0)
    with pytest.raises(NonFiniteError):
        next(decode_tokens(tiny.network, [], logits, sampler, lookahead=False))


@pytest.mark.parametrize("lookahead", [False, True])
def test_a_row_of_the_head_that_is_no_number_is_noticed_at_the_first_token(
    lookahead: bool, tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No hidden state shows it: the token is neither read nor chosen."""
    language_model = tiny.network.language_model
    head = language_model.model.embed_tokens.weight
    odd = mx.arange(len(head))[:, None] == tiny.network.config.text.vocab_size - 1
    projected = mx.where(odd, mx.nan, head)
    monkeypatch.setattr(
        type(language_model.model.embed_tokens), "as_linear", lambda self, x: x @ projected.T
    )
    monkeypatch.setattr(generate_module, "on_cpu", lambda: not lookahead)
    with pytest.raises(NonFiniteError):
        next(
            event
            for event in generate(tiny, inputs_of(tiny, "text_short"), GREEDY)
            if isinstance(event, TextDelta)
        )


@pytest.mark.parametrize("lookahead", [False, True])
def test_a_later_step_that_is_not_finite_is_noticed(
    lookahead: bool, tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    norm, cache = tiny.network.language_model.model.norm, tiny.network.language_model.make_cache()
    sampler = make_sampler(temperature=0.0, top_p=1.0, top_k=0)
    logits = mx.zeros((tiny.network.config.text.vocab_size,))
    tokens = decode_tokens(tiny.network, cache, logits, sampler, lookahead=lookahead)
    list(islice(tokens, 3))
    monkeypatch.setitem(norm, "weight", norm.weight * mx.inf)
    with pytest.raises(NonFiniteError):
        list(islice(tokens, 3))


def test_freed_buffers_go_back_at_the_first_step_and_every_so_many(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleared: list[int] = []
    given: list[int] = []
    monkeypatch.setattr(decode_module, "STEPS_UNTIL_CLEARED", 4)
    monkeypatch.setattr(decode_module, "release_buffers", lambda: cleared.append(len(given)))
    sampler = make_sampler(temperature=0.0, top_p=1.0, top_k=0)
    logits = mx.zeros((tiny.network.config.text.vocab_size,))
    cache = tiny.network.language_model.make_cache()
    for token in islice(decode_tokens(tiny.network, cache, logits, sampler, lookahead=False), 10):
        given.append(token)
    assert cleared == [1, 5, 9]


@pytest.mark.parametrize(
    "kind", [EncodeProgress, PrefillProgress, TextDelta], ids=lambda kind: kind.__name__
)
def test_closing_the_stream_at_any_event_stops_all_computation(
    kind: type[Event], parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Afterwards the model answers as before."""
    model = dataclasses.replace(parity_model("e2b"), soft_tokens=FeatureCache())
    before = finished(stream_generate(model, "What?", images=[PHOTO], options=GREEDY, media=SMALL))
    fresh = dataclasses.replace(parity_model("e2b"), soft_tokens=FeatureCache())
    stream = stream_generate(fresh, "What?", images=[PHOTO], options=GREEDY, media=SMALL)
    seen = next(event for event in stream if isinstance(event, kind))
    assert isinstance(seen, kind)
    calls: list[object] = []
    with monkeypatch.context() as patch:
        patch.setattr(TextModel, "__call__", lambda *args: calls.append(args))
        patch.setattr(TextModel, "fill", lambda *args: calls.append(args))
        stream.close()
    assert (list(stream), calls) == ([], [])
    after = finished(stream_generate(fresh, "What?", images=[PHOTO], options=GREEDY, media=SMALL))
    assert after.token_ids == before.token_ids


# Reading weights


def read_bytes() -> int:
    """Bytes that this process has read."""
    with open("/proc/self/io") as file:
        fields = dict(line.split(": ") for line in file)
    return int(fields["rchar"])


def with_large_tower(kind: str, target: Path) -> Path:
    """A checkpoint with a tower of 20 MB."""
    source = PARITY / "e2b"
    tensors, config = tensors_of(source), json_of(source)

    def put(name: str, *shape: int) -> None:
        tensors[f"model.{name}"] = mx.zeros(shape, mx.bfloat16)

    if kind == "vision":
        config["vision_config"]["position_embedding_size"] = rows = 210_000
        put("vision_tower.patch_embedder.position_embedding_table", 2, rows, 24)
    else:
        config["audio_config"]["output_proj_dims"] = width = 210_000
        put("audio_tower.output_proj.weight", width, config["audio_config"]["hidden_size"])
        put("audio_tower.output_proj.bias", width)
        put("embed_audio.embedding_projection.weight", config["text_config"]["hidden_size"], width)
    return variant(source, target, tensors=tensors, config=config)


@pytest.mark.linux
@pytest.mark.usefixtures("without_native")
@pytest.mark.parametrize(("tower", "case"), [("vision", "image_70"), ("audio", "audio")])
def test_a_text_prompt_reads_no_tower_and_a_media_prompt_reads_its_own(
    tower: str, case: str, tmp_path: Path
) -> None:
    folder = with_large_tower(tower, tmp_path)
    start = read_bytes()
    model = load(str(folder), lazy=True)
    finished(generate(model, inputs_of(model, "text_short"), GREEDY))
    after_text = read_bytes()
    soft_tokens_of(model, inputs_of(model, case))
    after_media = read_bytes()
    assert after_text - start < 2_000_000
    assert after_media - after_text > 20_000_000
