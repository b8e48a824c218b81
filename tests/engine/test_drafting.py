"""Drafters: their guesses equal the reference's, and answers do not depend on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count, islice, pairwise, product
from math import sqrt
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest
from support.checkpoints import tensors_of, variant
from support.goldens import ARCHS, FOLDER, goldens, inputs_of, soft_tokens_of

from gemma4cli.engine import drafting
from gemma4cli.engine.constrain import Trial
from gemma4cli.engine.drafting import Draft, DraftCounts
from gemma4cli.engine.generate import generate
from gemma4cli.engine.loading import load_drafter
from gemma4cli.engine.model import LoadedDrafter, LoadedModel
from gemma4cli.engine.pace import Pace
from gemma4cli.engine.prefill import make_prefill
from gemma4cli.engine.sampling import make_sampler
from gemma4cli.engine.turn_cache import TurnCache
from gemma4cli.errors import NonFiniteError
from gemma4cli.events import Finished, TextDelta
from gemma4cli.hub.resolved import ResolvedModel
from gemma4cli.models.caches import newest_keys_values, rewind
from gemma4cli.models.drafter import Guess
from gemma4cli.models.masks import NO_MASKS, Masks
from gemma4cli.models.mlx_lm_parts import KVCache
from gemma4cli.options import GenerateOptions
from gemma4cli.processing.inputs import ModelInputs

ParityModel = Callable[[str], LoadedModel]
GREEDY = GenerateOptions(max_tokens=40, temperature=0, repetition_guard=False)
SAMPLED = replace(GREEDY, temperature=0.9, top_k=20, top_p=0.9, seed=3)


def with_drafter(model: LoadedModel, arch: str) -> LoadedModel:
    folder = FOLDER / "drafters" / arch
    return load_drafter(ResolvedModel.of(folder.name, folder), model)


@pytest.mark.parametrize("start", [0, 5])
@pytest.mark.parametrize("arch", ARCHS)
def test_guesses_equal_the_reference(arch: str, start: int, parity_model: ParityModel) -> None:
    """After the prompt, and after five decoded tokens; four times as long as the window."""
    golden = goldens(f"{arch}-drafter")
    model = with_drafter(parity_model(arch), arch)
    assert model.drafter is not None
    network, inputs = model.network, inputs_of(model, "text")
    assert list(inputs.ids) == golden["input_ids"].tolist()
    text = network.language_model
    cache = text.make_cache()
    *_, hidden = make_prefill(model, inputs, soft_tokens_of(model, inputs), 512).run(cache)
    assert isinstance(hidden, mx.array)
    for _ in range(start):
        token = mx.argmax(text.logits(hidden)[0, -1])
        hidden = text.model(*network.embed(token), cache, NO_MASKS)

    token = mx.argmax(text.logits(hidden)[0, -1])
    keys_values = newest_keys_values(cache, network.config.text.layer_types)
    for logits, state in zip(golden[f"{start}/logits"], golden[f"{start}/hidden"], strict=True):
        embedding = text.model.embed(token.reshape(1, 1))
        guess = model.drafter.network(embedding, hidden, keys_values, cache[0].offset)
        ids = slice(None) if guess.ids is None else np.array(guess.ids)
        tolerance = 1e-3 * logits.std()
        np.testing.assert_allclose(np.array(guess.logits), logits[ids], atol=tolerance)
        np.testing.assert_allclose(np.array(guess.hidden).ravel(), state, atol=tolerance)
        token, hidden = guess.token(), guess.hidden
        assert token.item() == logits.argmax()


def test_a_drafter_with_a_head_of_its_own_guesses_by_it(
    parity_model: ParityModel, tmp_path: Path
) -> None:
    """The head is the embeddings in reverse order, and the clusters are too."""
    model, source = parity_model("e2b"), FOLDER / "drafters" / "e2b"
    tensors = tensors_of(source)
    tensors["lm_head.weight"] = mx.contiguous(tensors["model.embed_tokens.weight"][::-1])
    tensors["masked_embedding.token_ordering"] = 399 - tensors["masked_embedding.token_ordering"]
    folder = variant(source, tmp_path / "headed", tensors=tensors)
    headed = load_drafter(ResolvedModel.of("headed", folder), model)
    inputs = inputs_of(model, "text_short")
    text = model.network.language_model
    cache = text.make_cache()
    *_, hidden = make_prefill(model, inputs, [], 512).run(cache)
    keys_values = newest_keys_values(cache, text.config.layer_types)
    embedding = text.model.embed(mx.array([[7]]))
    by_embeddings, by_head = (
        each.drafter.network(embedding, hidden, keys_values, len(inputs.ids))
        for each in (with_drafter(model, "e2b"), headed)
        if each.drafter is not None
    )
    assert mx.array_equal(by_head.ids, 399 - by_embeddings.ids)
    np.testing.assert_allclose(np.array(by_head.logits), np.array(by_embeddings.logits))


class Oracle:
    """A drafter that knows the answer, and is wrong at every ``wrong``-th guess."""

    def __init__(self, prompt: int, answer: Sequence[int], wrong: int) -> None:
        self.answer, self.prompt, self.wrong = answer, prompt, wrong
        self.instead: int | None = None
        self.asked = 0
        self.last = -1

    def parameters(self) -> dict[str, mx.array]:
        return {}

    def __call__(
        self, embedding: mx.array, hidden: mx.array, keys_values: object, position: int, _: object
    ) -> Guess:
        self.asked += 1
        self.step = self.step + 1 if position == self.last else 1
        self.last = position
        number = position - self.prompt + self.step
        token = self.answer[number] if number < len(self.answer) else 0
        if self.asked % self.wrong == 0:
            token = self.instead if self.instead is not None else (token + 1) % 400
        return Guess(logits=mx.ones((1,)), ids=mx.array([token]), hidden=hidden)


def drafted(
    model: LoadedModel, oracle: Oracle, clock: Callable[[], float] = lambda: 0.0
) -> LoadedModel:
    """``model`` with the oracle as its drafter, which always pays by this clock."""
    drafter = LoadedDrafter(name="oracle", network=oracle, pace=Pace(clock=clock))
    return replace(model, drafter=drafter)


def answer_of(model: LoadedModel, inputs: ModelInputs, options: GenerateOptions) -> Finished:
    *_, finished = generate(model, inputs, options)
    assert isinstance(finished, Finished)
    return finished


@pytest.mark.parametrize(
    ("case", "options", "wrong"),
    [
        pytest.param("text", GREEDY, 5, id="text-greedy"),
        pytest.param("text_short", SAMPLED, 2, id="text_short-sampled"),
        pytest.param("text", SAMPLED, 2, id="text-sampled", marks=pytest.mark.slow),
        pytest.param("text_short", GREEDY, 5, id="text_short-greedy", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("arch", ARCHS)
def test_answers_are_the_same_with_and_without_a_drafter(
    arch: str, case: str, options: GenerateOptions, wrong: int, parity_model: ParityModel
) -> None:
    """Before, at and after the end of the window of 32 tokens."""
    model = parity_model(arch)
    inputs = inputs_of(model, case)
    alone = answer_of(model, inputs, options)
    oracle = Oracle(len(inputs.ids), alone.token_ids, wrong)
    together = answer_of(drafted(model, oracle), inputs, options)
    assert together.token_ids == alone.token_ids
    assert together.reason == alone.reason
    assert 0 < together.usage.accepted_tokens <= together.usage.guessed_tokens


def test_right_guesses_are_all_taken(parity_model: ParityModel) -> None:
    model = parity_model("12b")
    inputs = inputs_of(model, "image")
    alone = answer_of(model, inputs, GREEDY)
    helped = drafted(model, Oracle(len(inputs.ids), alone.token_ids, 1000))
    together = answer_of(helped, inputs, GREEDY)
    assert together.token_ids == alone.token_ids
    # Only after the end of the answer there is nothing right to guess.
    assert together.usage.guessed_tokens - together.usage.accepted_tokens <= 8


@pytest.mark.parametrize("taken", [3, 9, 14])
@pytest.mark.parametrize("arch", ["e2b"])
def test_an_answer_cut_off_in_mid_round_leaves_a_cache_to_continue_from(
    arch: str, taken: int, parity_model: ParityModel
) -> None:
    model = parity_model(arch)
    inputs = inputs_of(model, "text")
    alone = answer_of(model, inputs, GREEDY)
    helped = drafted(model, Oracle(len(inputs.ids), alone.token_ids, 5))
    turns = TurnCache()
    stream = generate(helped, inputs, GREEDY, turns)
    deltas = (event for event in stream if isinstance(event, TextDelta))
    assert len(list(islice(deltas, taken))) == taken
    stream.close()

    longer = replace(inputs, ids=[*inputs.ids, *alone.token_ids[: taken - 1], 5, 6, 7])
    *_, expected = generate(model, longer, GREEDY)
    *_, continued = generate(helped, longer, GREEDY, turns)
    assert continued.token_ids == expected.token_ids
    assert continued.usage.cached_tokens > len(inputs.ids) - 40


SCHEMAS = {
    "ends by itself": '{"type": "array", "items": {"enum": [10, 20, 30]}, "maxItems": 9}',
    "is cut off": '{"type": "object", "additionalProperties": {"type": "array"}}',
    "repeats itself": '{"type": "integer"}',
}


@pytest.mark.parametrize(
    ("options", "wrong"), [(GREEDY, 5), (SAMPLED, 2)], ids=["greedy", "sampled"]
)
@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_answers_by_a_schema_are_the_same_with_and_without_a_drafter(
    schema: str, options: GenerateOptions, wrong: int, parity_model: ParityModel
) -> None:
    """Where the schema allows wrong guesses and where not, and where it forces the end."""
    model = parity_model("e2b")
    inputs = inputs_of(model, "text_short")
    options = replace(options, schema=schema, max_tokens=60, repetition_guard=True)
    alone = answer_of(model, inputs, options)
    oracle = Oracle(len(inputs.ids), alone.token_ids, wrong)
    together = answer_of(drafted(model, oracle), inputs, options)
    assert together.token_ids == alone.token_ids
    assert (together.text, together.reason) == (alone.text, alone.reason)
    assert 0 < together.usage.accepted_tokens <= together.usage.guessed_tokens


def test_a_grammar_too_complex_after_a_guess_ends_the_draft_alone(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = parity_model("e2b")
    inputs = inputs_of(model, "text_short")
    options = replace(GREEDY, schema='{"type": "string"}')
    alone = answer_of(model, inputs, options)
    look, calls = Trial.allowed, count(1)
    monkeypatch.setattr(Trial, "allowed", lambda self: look(self) if next(calls) % 3 else None)
    oracle = Oracle(len(inputs.ids), alone.token_ids, 1000)
    together = answer_of(drafted(model, oracle), inputs, options)
    assert together.token_ids == alone.token_ids
    assert 0 < together.usage.accepted_tokens < together.usage.guessed_tokens


def test_an_answer_by_a_schema_continues_where_guessing_does_not_pay(
    parity_model: ParityModel,
) -> None:
    """All guesses are wrong, and only they take time."""
    model = parity_model("e2b")
    inputs = inputs_of(model, "text_short")
    options = replace(GREEDY, schema='{"type": "string"}')
    alone = answer_of(model, inputs, options)
    oracle = Oracle(len(inputs.ids), alone.token_ids, 1)
    helped = drafted(model, oracle, clock=lambda: oracle.asked)
    together = answer_of(helped, inputs, options)
    assert together.token_ids == alone.token_ids
    assert together.usage.accepted_tokens == 0
    assert 10 <= oracle.asked <= 20


def test_logits_that_are_not_finite_end_the_answer(parity_model: ParityModel) -> None:
    model = parity_model("e2b")
    inputs = inputs_of(model, "text_short")
    norm = model.network.language_model.model.norm
    weight = norm.weight
    helped = drafted(model, Oracle(len(inputs.ids), (), 1))
    events = generate(helped, inputs, GREEDY)
    try:
        for event in events:
            if isinstance(event, TextDelta):
                norm.weight = weight * mx.nan
                break
        with pytest.raises(NonFiniteError):
            list(events)
    finally:
        norm.weight = weight


@pytest.mark.parametrize("schema", [None, '{"type": "string"}'])
def test_numbers_of_a_wrong_guess_need_not_be_finite(
    schema: str | None, parity_model: ParityModel
) -> None:
    model = parity_model("e2b")
    inputs = inputs_of(model, "text_short")
    options = replace(GREEDY, schema=schema)
    alone = answer_of(model, inputs, options)
    used = {*inputs.ids, *alone.token_ids}
    odd = next(token for token in range(390, 0, -1) if token not in used)
    table = model.network.language_model.model.embed_tokens_per_layer
    weight = table.weight
    oracle = Oracle(len(inputs.ids), alone.token_ids, 3)
    oracle.instead = odd
    try:
        table.weight = mx.where((mx.arange(400) == odd)[:, None], mx.nan, weight)
        together = answer_of(drafted(model, oracle), inputs, options)
    finally:
        table.weight = weight
    assert together.token_ids == alone.token_ids
    assert 0 < together.usage.accepted_tokens < together.usage.guessed_tokens


class Chain:
    """A network whose logits depend on the token before only, and a drafter for it.

    Row ``t`` of ``table`` has the logits after ``t``.
    """

    def __init__(self, table: mx.array) -> None:
        self.table = table
        text = SimpleNamespace(layer_types=("full_attention",), sliding_window=4)
        self.config = SimpleNamespace(text=text)
        self.language_model = self
        self.model = Tokens()

    def embed(self, ids: mx.array) -> tuple[mx.array, None]:
        return self.model.embed(ids.reshape(1, -1)), None

    def rewind(self, cache: list[KVCache], count: int) -> None:
        rewind(cache, count)

    def newest_keys_values(self, cache: list[KVCache]) -> dict[str, object]:
        return {}

    def logits(self, hidden: mx.array, bias: None = None) -> mx.array:
        return self.table[hidden[..., 0].astype(mx.int32)]

    def __call__(
        self, token: mx.array, hidden: mx.array, keys: object, position: int, among: None
    ) -> Guess:
        return Guess(logits=self.logits(token).reshape(-1), ids=None, hidden=hidden)


class Tokens:
    """The layers of ``Chain``: a token's hidden state is its number."""

    def embed(self, ids: mx.array) -> mx.array:
        return ids[..., None].astype(mx.float32)

    def __call__(
        self, tokens: mx.array, _: None, cache: list[KVCache], masks: Masks = NO_MASKS
    ) -> mx.array:
        cache[0].update_and_fetch(*[mx.zeros((1, 1, tokens.shape[1], 1))] * 2)
        return tokens


def test_sampled_tokens_have_the_distribution_of_the_model() -> None:
    """Three tokens after token 0, in 1,000 answers; about half the guesses are right."""
    table = mx.random.normal((5, 5), key=mx.random.key(4)) * 2
    chances = np.array(mx.softmax(table, axis=-1))
    network = Chain(table)
    sampler = make_sampler(temperature=1, top_p=1, top_k=0, key=mx.random.key(8))
    seen: Counter[tuple[int, ...]] = Counter()
    counts = DraftCounts()
    for _ in range(1000):
        pace = Pace(clock=lambda: 0.0)
        for _ in range(4):
            pace.took(0.0, guessed=0, accepted=0)
        draft = Draft(
            network=network, drafter=network, cache=[KVCache()],
            sampler=sampler, bias=None, constraint=None, stop_ids=(), most=3,
            pace=pace, counts=counts,
        )  # fmt: skip
        hidden = network.model(*network.embed(mx.array([0])), draft.cache)
        seen[tuple(draft.tokens(hidden))] += 1
    assert 0.2 < counts.accepted / counts.guessed < 0.8
    expected = {
        kind: 1000 * np.prod([chances[pair] for pair in pairwise((0, *kind))])
        for kind in product(range(5), repeat=3)
    }
    common = [kind for kind, count in expected.items() if count >= 5]
    distance = sum((seen[kind] - expected[kind]) ** 2 / expected[kind] for kind in common)
    # Chi-squared: a right sampler goes beyond this once in 10^5 times.
    assert len(common) > 20
    assert distance < len(common) + 4.3 * sqrt(2 * len(common)) + 10


def paced(
    pace: Pace, rounds: int, *, seconds: Callable[[int], float], right: Callable[[int], int]
) -> list[int]:
    """The numbers of guesses of an answer; a step takes ``seconds`` for a number of guesses."""
    if not pace.begin():
        return []
    guesses = []
    for _ in range(rounds):
        if not pace.pays():
            break
        count = pace.next()
        pace.took(seconds(count), guessed=count, accepted=min(right(len(guesses)), count))
        guesses.append(count)
    return guesses


def test_drafting_stops_where_single_steps_are_faster_and_is_tried_less_and_less() -> None:
    pace = Pace()
    lengths = [
        len(paced(pace, 40, seconds=lambda count: 1 + 2 * count, right=lambda _: 1))
        for _ in range(16)
    ]
    assert lengths[0] == 14
    tried = [number for number, length in enumerate(lengths) if length]
    assert tried == [0, 2, 6, 14]


def test_where_guesses_cost_little_many_are_made() -> None:
    guesses = paced(Pace(), 60, seconds=lambda count: 1 + 0.02 * count, right=lambda _: 8)
    assert guesses[:4] == [0] * 4
    assert guesses[4] == 2
    assert guesses[-20:] == [8] * 20


def test_where_guesses_cost_much_few_are_made() -> None:
    """Half of the guesses are right: one more than one costs more than it brings."""
    guesses = paced(Pace(), 60, seconds=lambda count: 1 + 0.25 * count, right=lambda n: n % 2)
    assert len(guesses) == 60
    assert set(guesses[-30:]) == {1}


def test_fewer_are_made_when_they_go_wrong() -> None:
    pace = Pace()
    first = paced(pace, 60, seconds=lambda count: 1 + 0.1 * count, right=lambda _: 8)
    second = paced(pace, 60, seconds=lambda count: 1 + 0.1 * count, right=lambda n: n % 2)
    assert sum(first[-20:]) > 2 * sum(second[-20:]) > 0


@pytest.mark.parametrize(
    ("arch", "schema", "few"),
    [
        *((arch, None, 0) for arch in ARCHS),
        *(("e2b", SCHEMAS["is cut off"], few) for few in (0, 400)),
    ],
)
def test_a_real_drafter_changes_nothing(
    arch: str,
    schema: str | None,
    few: int,
    parity_model: ParityModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``few``: how many tokens a schema may allow for the drafter to consider them all."""
    monkeypatch.setattr(drafting, "_FEW", few)
    model = parity_model(arch)
    inputs = inputs_of(model, "text")
    options = replace(GREEDY, schema=schema)
    alone = answer_of(model, inputs, options)
    helped = with_drafter(model, arch)
    assert helped.drafter is not None
    always = replace(helped.drafter, pace=Pace(clock=lambda: 0.0))
    together = answer_of(replace(helped, drafter=always), inputs, options)
    assert together.token_ids == alone.token_ids
    assert together.usage.guessed_tokens > 0


@pytest.mark.parametrize("arch", ["e2b", "12b"])
def test_what_a_schema_leaves_no_choice_of_is_guessed_right(
    arch: str, parity_model: ParityModel
) -> None:
    """By drafters with clusters, which may hold none of the allowed tokens, and without."""
    model = with_drafter(parity_model(arch), arch)
    assert model.drafter is not None
    model = replace(model, drafter=replace(model.drafter, pace=Pace(clock=lambda: 0.0)))
    options = replace(GREEDY, schema='{"enum": [{"shape": "a triangle"}]}')
    finished = answer_of(model, inputs_of(model, "text_short"), options)
    assert finished.text == '{"shape":"a triangle"}'
    assert finished.usage.accepted_tokens == finished.usage.guessed_tokens > 5
