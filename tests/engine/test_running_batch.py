"""Prompts that join and leave a running batch are answered as each is alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import mlx.core as mx
import pytest
from support.goldens import ARCHS, FOLDER, inputs_of
from support.models import fresh, narrow

from gemma4cli.engine import memory_limits, running_batch, running_rows
from gemma4cli.engine.answering import Prompt
from gemma4cli.engine.batch_row import Row, RowEvent
from gemma4cli.engine.generate import generate
from gemma4cli.engine.loaded_weights import numerics_of
from gemma4cli.engine.loading import load_drafter
from gemma4cli.engine.memory_limits import memory_beside
from gemma4cli.engine.model import LoadedDrafter, LoadedModel
from gemma4cli.engine.pace import Pace
from gemma4cli.engine.running_batch import RunningBatch
from gemma4cli.engine.running_rows import padded_lengths
from gemma4cli.engine.shared_turns import SharedTurns
from gemma4cli.errors import ContextLengthError, NonFiniteError, PlaceholderMismatchError
from gemma4cli.events import EncodeProgress, Finished, PrefillProgress, TextDelta
from gemma4cli.hub.resolved import ResolvedModel
from gemma4cli.machine.memory import cache_size
from gemma4cli.messages import Message
from gemma4cli.models.drafter import Guess
from gemma4cli.models.language import TextModel
from gemma4cli.options import GenerateOptions
from gemma4cli.processing.inputs import ModelInputs

ParityModel = Callable[[str], LoadedModel]
GREEDY = GenerateOptions(max_tokens=12, temperature=0)
SAMPLED = GenerateOptions(max_tokens=12, temperature=1.5, top_k=0, top_p=1, seed=3)
NEVER = frozenset({1 << 30})
"""A stop id that no model generates."""
SHORT = "Why?"
LONG = "Why? " * 60


def text(model: LoadedModel, question: str) -> ModelInputs:
    return model.processor.prepare([Message(role="user", content=question)], [])


def alone(model: LoadedModel, prompt: Prompt) -> Finished:
    *_, last = generate(fresh(model), prompt.inputs, prompt.options)
    assert isinstance(last, Finished)
    return last


@dataclass(eq=False)
class Driver:
    """Runs a batch, in which prompt ``number`` joins before step ``joins[number]``."""

    batch: RunningBatch
    rows: dict[Row, int] = field(default_factory=dict)
    events: dict[int, list[RowEvent]] = field(default_factory=dict)
    steps: int = 0

    def add(self, number: int, prompt: Prompt) -> Row:
        row = self.batch.add(prompt)
        self.rows[row] = number
        self.events[number] = []
        return row

    def step(self) -> list[tuple[int, RowEvent]]:
        found = [(self.rows[row], event) for row, event in self.batch.step()]
        for number, event in found:
            self.events[number].append(event)
        self.steps += 1
        return found

    def finish(self) -> None:
        while self.batch.rows:
            self.step()

    def run(self, prompts: Sequence[Prompt], joins: Sequence[int]) -> None:
        waiting = sorted(enumerate(prompts), key=lambda each: joins[each[0]])
        while waiting or self.batch.rows:
            while waiting and joins[waiting[0][0]] <= self.steps:
                self.add(*waiting.pop(0))
            self.step()

    def tokens(self, number: int) -> tuple[int, ...]:
        last = self.events[number][-1]
        assert isinstance(last, Finished)
        return last.token_ids


def check_as_alone(
    model: LoadedModel, prompts: Sequence[Prompt], joins: Sequence[int], chunk: int = 16
) -> Driver:
    driver = Driver(RunningBatch(fresh(model), chunk=chunk))
    driver.run(prompts, joins)
    for number, prompt in enumerate(prompts):
        last = driver.events[number][-1]
        assert isinstance(last, Finished)
        expected = alone(model, prompt)
        assert replace(last, timings=expected.timings) == expected
    return driver


FAST_AND_SLOW = [
    arch if arch in ("e2b", "12b") else pytest.param(arch, marks=pytest.mark.slow) for arch in ARCHS
]
MEDIA = {
    "e2b": ("image_70", "text_short", "mixed", "audio_odd"),
    "e4b": ("text_short", "audio", "image_70"),
    "12b": ("image_70", "text_short", "mixed"),
    "26b": ("text_short", "image_70", "turns"),
    "31b": ("image_70", "text_short", "turns"),
}


@pytest.mark.parametrize("arch", FAST_AND_SLOW)
def test_rows_that_join_and_end_at_different_times_are_answered_as_alone(
    arch: str, parity_model: ParityModel
) -> None:
    """Texts, images, also those with blocks, and clips; most are longer than the window."""
    model = fresh(parity_model(arch), stop_ids=NEVER)
    lengths = (14, 3, 6, 1)
    prompts = [
        Prompt(inputs=inputs_of(model, case), options=replace(GREEDY, max_tokens=length))
        for case, length in zip(MEDIA[arch], lengths, strict=False)
    ]
    driver = check_as_alone(model, prompts, joins=(0, 2, 4, 9))
    counts = driver.batch.counts
    assert counts.generated_tokens == sum(prompt.options.max_tokens for prompt in prompts)
    assert counts.prompt_tokens == sum(len(prompt.inputs.ids) for prompt in prompts)
    assert counts.rows > counts.steps


def test_each_row_has_its_own_options_and_samples_what_it_samples_alone(
    parity_model: ParityModel,
) -> None:
    model = parity_model("e2b")
    options = (SAMPLED, GREEDY, replace(SAMPLED, seed=4, top_k=20, max_tokens=5), SAMPLED)
    prompts = [
        Prompt(inputs=text(model, question), options=each)
        for question, each in zip((SHORT, LONG, "Where?", "Who?"), options, strict=True)
    ]
    check_as_alone(model, prompts, joins=(0, 1, 1, 6))


def test_answers_by_a_schema_share_a_batch_with_others(tiny: LoadedModel) -> None:
    schema = json.dumps({"type": "array", "items": {"type": "integer"}, "maxItems": 3})
    options = (GREEDY, replace(GREEDY, schema=schema, max_tokens=20), replace(SAMPLED, top_k=5))
    prompts = [
        Prompt(inputs=text(tiny, question), options=each)
        for question, each in zip((SHORT, "Count.", LONG), options, strict=True)
    ]
    driver = check_as_alone(tiny, prompts, joins=(0, 1, 2))
    last = driver.events[1][-1]
    assert isinstance(last, Finished) and isinstance(json.loads(last.text), list)


def test_long_rows_are_not_padded_to_by_short_ones(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are computed in groups of similar length, whichever rows come and go."""
    monkeypatch.setattr(running_rows, "_SHORT", 0)
    model = fresh(parity_model("e2b"), stop_ids=NEVER)
    call, passes = TextModel.__call__, []

    def spy(self: TextModel, embeddings: mx.array, *args: object) -> mx.array:
        passes.append(len(embeddings))
        return call(self, embeddings, *args)

    questions = ("Why? " * 50, SHORT, LONG, "Who?", "Where?")
    options = [replace(GREEDY, max_tokens=length) for length in (14, 9, 6, 5, 8)]
    prompts = [
        Prompt(inputs=text(model, question), options=each)
        for question, each in zip(questions, options, strict=True)
    ]
    with monkeypatch.context() as patch:
        patch.setattr(TextModel, "__call__", spy)
        check_as_alone(model, prompts, joins=(0, 0, 0, 0, 0), chunk=512)
    assert max(passes) == 3


def test_lengths_as_padded_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_rows, "_SHORT", 100)
    assert padded_lengths([]) == []
    assert padded_lengths([5]) == [5]
    assert padded_lengths([100, 1, 50]) == [100, 100, 100]
    assert padded_lengths([1, 101]) == [1, 101]
    assert padded_lengths([400, 210, 200, 401, 90]) == [90, 400, 400, 400, 401]


def test_rows_with_a_quantized_cache_take_turns(parity_model: ParityModel) -> None:
    plain = parity_model("e2b")
    model = replace(plain, options=replace(plain.options, kv_bits=8))
    model.network.language_model.kv_bits = 8
    try:
        prompts = [Prompt(inputs=text(model, each), options=GREEDY) for each in (SHORT, LONG)]
        check_as_alone(model, prompts, joins=(0, 3))
    finally:
        model.network.language_model.kv_bits = None


def test_the_next_token_is_computed_ahead_on_a_gpu(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_batch, "on_cpu", lambda: False)
    model = fresh(parity_model("e2b"), stop_ids=NEVER)
    prompts = [
        Prompt(inputs=text(model, question), options=replace(each, max_tokens=length))
        for question, each, length in (
            (SHORT, GREEDY, 12),
            ("Who?", SAMPLED, 2),
            (LONG, GREEDY, 7),
            ("Where?", SAMPLED, 9),
        )
    ]
    check_as_alone(model, prompts, joins=(0, 1, 3, 8))


def test_a_schema_stops_computing_ahead(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_batch, "on_cpu", lambda: False)
    schema = json.dumps({"type": "array", "items": {"type": "boolean"}, "maxItems": 2})
    prompts = [
        Prompt(inputs=text(tiny, SHORT), options=replace(GREEDY, max_tokens=9)),
        Prompt(inputs=text(tiny, "Is it?"), options=replace(GREEDY, schema=schema)),
        Prompt(inputs=text(tiny, "Who?"), options=replace(GREEDY, max_tokens=9)),
    ]
    check_as_alone(tiny, prompts, joins=(0, 3, 4))


# Prompts that wait together


def spied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Rows and columns of each pass through the network that fills the cache, as they come."""
    fill, passes = TextModel.fill, []

    def spy(self: TextModel, embeddings: mx.array, *args: object) -> None:
        passes.append((embeddings.shape[0], embeddings.shape[1]))
        fill(self, embeddings, *args)

    monkeypatch.setattr(TextModel, "fill", spy)
    return passes


@pytest.mark.parametrize("arch", FAST_AND_SLOW)
def test_short_prompts_that_wait_are_read_together_up_to_a_chunk(
    arch: str, parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by options of their own, and while others are answered; longer ones keep their turn."""
    model = fresh(parity_model(arch), stop_ids=NEVER)
    prompts = [
        Prompt(inputs=text(model, question), options=options)
        for question, options in (
            (LONG, GREEDY),
            (SHORT, replace(GREEDY, max_tokens=5)),
            ("Who is it?", SAMPLED),
            ("Where?", replace(GREEDY, max_tokens=1)),
            (LONG, SAMPLED),
            ("When?", GREEDY),
        )
    ]
    lengths = [len(each.inputs.ids) for each in prompts]
    chunk = 3 * max(lengths[1], lengths[2], lengths[3])
    expected = [alone(model, each) for each in prompts]
    passes = spied(monkeypatch)
    driver = Driver(RunningBatch(fresh(model), chunk=chunk))
    driver.run(prompts, joins=(0, 4, 4, 4, 4, 4))
    for number, each in enumerate(expected):
        last = driver.events[number][-1]
        assert isinstance(last, Finished)
        assert replace(last, timings=each.timings) == each
    assert next(rows for rows, _ in passes if rows > 1) == 3
    assert all(rows == 1 or rows * (columns + 1) <= chunk for rows, columns in passes)


def test_prompts_that_are_read_together_have_the_events_of_each_alone(
    parity_model: ParityModel,
) -> None:
    model = parity_model("e2b")
    inputs = [inputs_of(model, case) for case in ("mixed", "text_short", "image_70")]
    prompts = [Prompt(inputs=each, options=GREEDY) for each in inputs]
    driver = Driver(RunningBatch(fresh(model), reads_all=True))
    driver.run(prompts, joins=(0, 0, 0))
    for number, prompt in enumerate(prompts):
        expected = list(generate(fresh(model), prompt.inputs, prompt.options))
        assert kinds(driver.events[number]).keys() == kinds(expected).keys()
        assert driver.tokens(number) == alone(model, prompt).token_ids
        done = [each.done for each in driver.events[number] if isinstance(each, PrefillProgress)]
        assert done[0] == 0 and done[-1] == len(prompt.inputs.ids)


def test_a_prompt_that_goes_on_from_another_is_not_read_with_others(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = RunningBatch(tiny, shared=SharedTurns(10**9), chunk=512)
    prompts = [Prompt(inputs=text(tiny, each), options=GREEDY) for each in (SHORT, "Who?", "Me?")]
    first = Driver(batch)
    first.run(prompts[:1], joins=(0,))
    passes = spied(monkeypatch)
    driver = Driver(batch)
    driver.run(prompts, joins=(0, 0, 0))
    assert max(rows for rows, _ in passes) == 2
    again = driver.events[0][-1]
    assert isinstance(again, Finished) and again.usage.cached_tokens > 0
    assert driver.tokens(0) == first.tokens(0)


def test_what_is_taken_out_of_prompts_that_are_read_together_changes_no_other(
    parity_model: ParityModel,
) -> None:
    """Two of three between two pieces, and in another batch all."""
    model = fresh(parity_model("e2b"))
    inputs = [inputs_of(model, case) for case in ("mixed", "text_short", "image_70")]
    prompts = [Prompt(inputs=each, options=GREEDY) for each in inputs]
    for left in ([1], []):
        driver = Driver(RunningBatch(fresh(model), reads_all=True))
        rows = [driver.add(number, prompt) for number, prompt in enumerate(prompts)]
        driver.step()
        assert any(isinstance(each, EncodeProgress) for each in driver.events[0])
        for number, row in enumerate(rows):
            if number not in left:
                driver.batch.remove(row)
        later = driver.add(3, prompts[1])
        driver.finish()
        assert not any(isinstance(each, Finished) for each in driver.events[0])
        for number in (*left, 3):
            assert driver.tokens(number) == alone(model, prompts[1]).token_ids
        assert later.has_ended


def test_a_prompt_that_cannot_be_read_does_not_end_those_read_with_it(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh(parity_model("e2b"))
    odd = inputs_of(model, "image_70")
    broken = replace(odd, spans=(replace(odd.spans[0], end=odd.spans[0].end - 1),))
    prompts = [
        Prompt(inputs=each, options=GREEDY)
        for each in (text(model, SHORT), broken, text(model, "Who?"))
    ]
    driver = Driver(RunningBatch(fresh(model), reads_all=True))
    driver.run(prompts, joins=(0, 0, 0))
    assert isinstance(driver.events[1][-1], PlaceholderMismatchError)
    for number in (0, 2):
        assert driver.tokens(number) == alone(model, prompts[number]).token_ids


# Who leaves early


def test_a_row_that_is_taken_out_changes_no_other(parity_model: ParityModel) -> None:
    """One that waits, one whose prompt is half read, and one in the middle of its answer."""
    model = fresh(parity_model("e2b"), stop_ids=NEVER)
    prompts = [Prompt(inputs=text(model, each), options=GREEDY) for each in (SHORT, "Who?", LONG)]
    driver = Driver(RunningBatch(fresh(model), chunk=16))
    driver.add(0, prompts[0])
    decoded = driver.add(1, prompts[1])
    for _ in range(4):
        driver.step()
    reading, waiting = driver.add(2, prompts[2]), driver.add(3, prompts[0])
    for _ in range(3):
        driver.step()
    done = [each.done for each in driver.events[2] if isinstance(each, PrefillProgress)]
    assert 0 < max(done) < len(prompts[2].inputs.ids)
    for row in (reading, waiting, decoded):
        driver.batch.remove(row)
    assert [driver.rows[row] for row in driver.batch.rows] == [0]
    driver.finish()
    assert driver.tokens(0) == alone(model, prompts[0]).token_ids
    assert not any(isinstance(each, Finished) for each in driver.events[1])
    assert driver.events[3] == []


def test_a_row_can_be_taken_out_twice(tiny: LoadedModel) -> None:
    batch = RunningBatch(tiny)
    row = batch.add(Prompt(inputs=text(tiny, SHORT), options=GREEDY))
    batch.remove(row)
    batch.remove(row)
    assert batch.rows == [] and batch.step() == []


# Errors


def test_a_prompt_that_is_too_long_fails_alone(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, long = (Prompt(inputs=text(tiny, each), options=GREEDY) for each in (SHORT, LONG))
    expected = alone(tiny, short)
    narrow(tiny, len(long.inputs.ids), monkeypatch)
    driver = Driver(RunningBatch(tiny))
    driver.add(0, short)
    with pytest.raises(ContextLengthError):
        driver.batch.add(long)
    driver.finish()
    assert driver.tokens(0) == expected.token_ids


@pytest.mark.parametrize("is_gpu", [False, True])
def test_a_row_whose_numbers_are_not_finite_does_not_end_the_others(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch, *, is_gpu: bool
) -> None:
    monkeypatch.setattr(running_batch, "on_cpu", lambda: not is_gpu)
    model = fresh(parity_model("e2b"), stop_ids=NEVER)
    prompts = [Prompt(inputs=text(model, each), options=GREEDY) for each in (SHORT, "Who?", LONG)]
    expected = [alone(model, each).token_ids for each in prompts]
    call = TextModel.__call__

    def broken(self: TextModel, embeddings: mx.array, *args: object) -> mx.array:
        hidden = call(self, embeddings, *args)
        if len(hidden) == 3:
            hidden[1] = mx.nan
        return hidden

    monkeypatch.setattr(TextModel, "__call__", broken)
    driver = Driver(RunningBatch(fresh(model)))
    driver.run(prompts, joins=(0, 0, 0))
    assert isinstance(driver.events[1][-1], NonFiniteError)
    assert [driver.tokens(0), driver.tokens(2)] == [expected[0], expected[2]]


def test_a_prompt_whose_numbers_are_not_finite_does_not_end_the_others(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh(parity_model("e2b"), stop_ids=NEVER)
    prompts = [Prompt(inputs=text(model, each), options=GREEDY) for each in (SHORT, LONG)]
    expected = alone(model, prompts[0]).token_ids
    call = TextModel.__call__

    def broken(self: TextModel, embeddings: mx.array, *args: object) -> mx.array:
        hidden = call(self, embeddings, *args)
        return hidden * mx.nan if embeddings.shape[1] > 1 and driver.steps > 2 else hidden

    monkeypatch.setattr(TextModel, "__call__", broken)
    driver = Driver(RunningBatch(fresh(model)))
    driver.run(prompts, joins=(0, 2))
    assert isinstance(driver.events[1][-1], NonFiniteError)
    assert driver.tokens(0) == expected


def test_an_error_of_a_step_ends_its_rows_and_not_those_that_wait(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = Prompt(inputs=text(tiny, SHORT), options=GREEDY)
    driver = Driver(RunningBatch(tiny))
    driver.add(0, prompt)
    driver.step()
    with monkeypatch.context() as patch:
        patch.setattr(running_batch, "choose", lambda *_: 1 / 0)
        driver.step()
    assert isinstance(driver.events[0][-1], Exception)
    assert driver.batch.rows == []
    driver.add(1, prompt)
    driver.finish()
    assert driver.tokens(1) == alone(tiny, prompt).token_ids


# Memory


def test_a_prompt_has_room_beside_others_if_all_caches_fit_at_their_longest(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_limits, "available_memory", lambda: 10**9)
    short = Prompt(inputs=text(tiny, SHORT), options=GREEDY)
    long = Prompt(inputs=text(tiny, SHORT), options=replace(GREEDY, max_tokens=3000))
    config = tiny.network.config.text
    item = numerics_of(tiny).item
    one, all_of_it = (cache_size(config, count, item, 512).total for count in (50, 3050))
    alone = memory_beside(tiny, short, [])
    assert alone - memory_beside(tiny, short, [short] * 3) == 3 * one
    assert alone - memory_beside(tiny, short, [long]) == 2 * all_of_it - one


def test_what_was_kept_makes_room_for_what_runs(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = Prompt(inputs=text(tiny, LONG), options=GREEDY)
    batch = RunningBatch(tiny, shared=SharedTurns(10**9))
    Driver(batch).run([prompt], [0])
    kept = batch.shared.nbytes
    monkeypatch.setattr(running_batch, "memory_beside", lambda *_: kept)
    assert batch.has_room(prompt) and batch.shared.nbytes == kept
    monkeypatch.setattr(running_batch, "memory_beside", lambda *_: kept - 1)
    assert batch.has_room(prompt) and batch.shared.nbytes == 0
    monkeypatch.setattr(running_batch, "memory_beside", lambda *_: -1)
    assert batch.has_room(prompt)
    batch.add(prompt)
    assert not batch.has_room(prompt)


# A step is a bounded piece of work


def test_answers_flow_on_between_the_chunks_of_a_long_prompt(tiny: LoadedModel) -> None:
    """Each step reads less than two chunks, and has a token of each answer."""
    model = fresh(tiny, stop_ids=NEVER)
    driver = Driver(RunningBatch(model, chunk=16))
    endless = replace(GREEDY, max_tokens=100)
    driver.add(0, Prompt(inputs=text(model, SHORT), options=endless))
    driver.step()
    prompt = Prompt(inputs=text(model, LONG), options=GREEDY)
    driver.add(1, prompt)
    read, steps = [0], driver.batch.counts.steps
    while not any(isinstance(each, TextDelta) for each in driver.events[1]):
        before = driver.batch.counts.rows
        found = driver.step()
        read += [each.done for n, each in found if n == 1 and isinstance(each, PrefillProgress)]
        assert driver.batch.counts.rows > before
    assert read[-1] == len(prompt.inputs.ids)
    assert all(later - earlier <= 32 for earlier, later in pairwise(read))
    assert driver.batch.counts.steps - steps >= len(prompt.inputs.ids) // 32


def test_a_prompt_without_others_is_read_in_large_chunks(tiny: LoadedModel) -> None:
    driver = Driver(RunningBatch(tiny, chunk=16))
    driver.add(0, Prompt(inputs=text(tiny, LONG), options=GREEDY))
    for _ in range(2):
        driver.step()
    assert any(isinstance(each, TextDelta) for each in driver.events[0])


def test_each_image_is_a_step_of_its_own(parity_model: ParityModel) -> None:
    model = fresh(parity_model("e2b"))
    driver = Driver(RunningBatch(model))
    driver.add(0, Prompt(inputs=inputs_of(model, "images"), options=GREEDY))
    found = [[each for _, each in driver.step()] for _ in range(2)]
    for number, events in enumerate(found, start=1):
        done = [each.done for each in events if isinstance(each, EncodeProgress)]
        assert max(done) == number


def test_the_events_of_a_row_are_those_of_a_run_alone(parity_model: ParityModel) -> None:
    model = parity_model("e2b")
    prompt = Prompt(inputs=inputs_of(model, "mixed"), options=GREEDY)
    driver = Driver(RunningBatch(fresh(model)))
    driver.run([prompt], joins=[0])
    expected = list(generate(fresh(model), prompt.inputs, prompt.options))
    assert kinds(driver.events[0]) == kinds(expected)


def kinds(events: Sequence[object]) -> Mapping[str, int]:
    """How many events there are of each kind."""
    names = [type(each).__name__ for each in events]
    return {name: names.count(name) for name in names}


# Drafters


@pytest.mark.parametrize("company", [[0], [0, 3], pytest.param([0, 0, 9], marks=pytest.mark.slow)])
def test_a_drafter_helps_a_row_as_long_as_it_runs_alone(
    company: list[int], parity_model: ParityModel
) -> None:
    """Greedy and sampled, whoever joins; its cache can be joined and kept at any time."""
    model = fresh(parity_model("e2b"), stop_ids=NEVER)
    folder = FOLDER / "drafters" / "e2b"
    helped = load_drafter(ResolvedModel.of(folder.name, folder), model)
    assert helped.drafter is not None
    helped = replace(helped, drafter=replace(helped.drafter, pace=Pace(clock=lambda: 0.0)))
    for options in (GREEDY, SAMPLED):
        options = replace(options, max_tokens=30)
        prompts = [
            Prompt(inputs=text(model, question), options=options)
            for question in (LONG, SHORT, "Who?")[: len(company)]
        ]
        driver = Driver(RunningBatch(helped, shared=SharedTurns(10**9)))
        driver.run(prompts, company)
        for number, prompt in enumerate(prompts):
            assert driver.tokens(number) == alone(model, prompt).token_ids
        last = driver.events[0][-1]
        assert isinstance(last, Finished)
        assert (last.usage.guessed_tokens > 0) == (len(company) == 1)


class Oracle:
    """A drafter that knows the answer."""

    def __init__(self, prompt: int, answer: Sequence[int]) -> None:
        self.prompt, self.answer = prompt, answer
        self.last, self.ahead = -1, 0

    def parameters(self) -> dict[str, mx.array]:
        return {}

    def __call__(
        self, embedding: mx.array, hidden: mx.array, keys_values: object, position: int, _: object
    ) -> Guess:
        self.ahead = self.ahead + 1 if position == self.last else 1
        self.last = position
        token = self.answer[min(position - self.prompt + self.ahead, len(self.answer) - 1)]
        return Guess(logits=mx.ones((1,)), ids=mx.array([token]), hidden=hidden)


@pytest.mark.parametrize("place", [12, 19])
def test_an_answer_that_ends_among_guesses_leaves_what_a_later_prompt_resumes_from(
    place: int, parity_model: ParityModel
) -> None:
    """The cache holds no guesses after the end."""
    model = fresh(parity_model("e2b"), stop_ids=NEVER)
    inputs = text(model, LONG)
    options = replace(GREEDY, max_tokens=40)
    whole = alone(model, Prompt(inputs=inputs, options=options))
    oracle = Oracle(len(inputs.ids), whole.token_ids)
    drafter = LoadedDrafter(name="oracle", network=oracle, pace=Pace(clock=lambda: 0.0))
    helped = replace(model, drafter=drafter)
    shared = SharedTurns(10**9)
    stop = replace(options, stop=(whole.text[place : place + 2],))
    driver = Driver(RunningBatch(helped, shared=shared))
    driver.run([Prompt(inputs=inputs, options=stop)], [0])
    ended = driver.events[0][-1]
    assert isinstance(ended, Finished)
    assert ended.usage.accepted_tokens > 2 and len(ended.token_ids) < 40
    following = replace(inputs, ids=(*inputs.ids, *ended.token_ids, 5, 6, 7))
    driver.run([Prompt(inputs=following, options=GREEDY)], [0])
    continued = driver.events[0][-1]
    assert isinstance(continued, Finished)
    assert continued.usage.cached_tokens >= len(inputs.ids) + len(ended.token_ids) - 1
    expected = alone(model, Prompt(inputs=following, options=GREEDY))
    assert continued.token_ids == expected.token_ids
