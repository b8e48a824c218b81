"""One queue for a model with several adapters: each answers as it does alone, and all go on."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlx.core as mx
import pytest
from support.adapters import matrices, peft_config, write
from support.models import fresh
from support.samples import sample
from support.served_adapters import NAMES, write_three

from gemma4cli.api import change_adapter, load
from gemma4cli.conversations.chat import Chat
from gemma4cli.engine import loaded_weights
from gemma4cli.engine.adapter_loading import with_adapter, with_adapters
from gemma4cli.engine.answering import Prompt
from gemma4cli.engine.batch_row import Row
from gemma4cli.engine.loaded_weights import tensors_of, weights_in_memory
from gemma4cli.engine.local import LocalModel
from gemma4cli.engine.model import FeatureCache
from gemma4cli.engine.running_batches import RunningBatches
from gemma4cli.engine.shared_turns import SharedTurns
from gemma4cli.errors import ClosingError
from gemma4cli.events import EncodeProgress, Finished, PrefillProgress
from gemma4cli.hub.adapters import find_adapter
from gemma4cli.messages import Message, content_of
from gemma4cli.options import GenerateOptions
from gemma4cli.processing.inputs import ModelInputs
from gemma4cli.serving.queue import Queue
from gemma4cli.serving.queued_model import QueuedModel

GREEDY = GenerateOptions(temperature=0, max_tokens=12)
ENDLESS = GenerateOptions(temperature=0, max_tokens=100_000, repetition_guard=False)
QUESTIONS = ("Hello", "What is this?", "Count to three")
LONG = "Here is a chapter about a lamp, a door and the sea. " * 40
PICTURE = Path(sample("image00.png"))


@pytest.fixture(scope="module")
def folders(tiny: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_three(tmp_path_factory.mktemp("adapters"), tiny)


def loaded(folders: dict[str, Path], base: LocalModel | None = None) -> list[LocalModel]:
    """The built-in model with each adapter, and without one."""
    files = [find_adapter(str(folders[name])) for name in NAMES]
    return with_adapters(base or load("tiny"), files)


@pytest.fixture(scope="module")
def queue(folders: dict[str, Path]) -> Iterator[Queue]:
    made = Queue(lambda: loaded(folders))
    yield made
    made.close()


@pytest.fixture(scope="module")
def queued(queue: Queue) -> dict[str, QueuedModel]:
    return {name: QueuedModel(queue, place) for place, name in enumerate((*NAMES, "tiny"))}


@pytest.fixture(scope="module")
def alone(folders: dict[str, Path], tiny: LocalModel) -> dict[str, LocalModel]:
    """Each model as the only one."""
    found = {name: load("tiny", adapter=str(folder)) for name, folder in folders.items()}
    return {**found, "tiny": tiny}


def prompt(model: LocalModel | QueuedModel, text: str) -> ModelInputs:
    return model.processor.prepare([Message(role="user", content=text)], [])


def answer(
    model: LocalModel | QueuedModel, question: str, options: GenerateOptions = GREEDY
) -> Finished:
    *_, last = Chat(model).send(question, options)
    assert isinstance(last, Finished)
    return last


def test_threads_that_ask_look_at_no_layers_that_another_changes(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Queue(lambda: loaded(folders))
    monkeypatch.setattr(loaded_weights, "tensors_of", lambda network: pytest.fail("looks at them"))
    for place in range(len(made.models)):
        assert answer(QueuedModel(made, place), "Hello").token_ids
    made.close()


def test_answers_given_at_once_are_those_of_each_adapter_alone(
    queued: dict[str, QueuedModel], alone: dict[str, LocalModel]
) -> None:
    asked = [(name, question) for question in QUESTIONS for name in queued]
    expected = [answer(alone[name], question).token_ids for name, question in asked]
    with ThreadPoolExecutor(len(asked)) as pool:
        found = list(pool.map(lambda each: answer(queued[each[0]], each[1]).token_ids, asked))
    assert found == expected
    assert len({tuple(each) for each in expected[: len(queued)]}) == len(queued)


def test_schemas_and_probabilities_are_those_of_the_adapter(
    queued: dict[str, QueuedModel], alone: dict[str, LocalModel]
) -> None:
    schema = '{"type": "object", "properties": {"a": {"type": "string", "maxLength": 6}}}'
    for options in (
        GenerateOptions(temperature=0, max_tokens=60, schema=schema),
        GenerateOptions(temperature=0, max_tokens=4, logprobs=2),
        GenerateOptions(temperature=1, seed=3, max_tokens=8),
    ):
        for name, model in queued.items():
            found, expected = (answer(each, "Hello", options) for each in (model, alone[name]))
            assert found.token_ids == expected.token_ids


def test_pictures_are_answered_by_each_adapter_and_encoded_once(
    queued: dict[str, QueuedModel], alone: dict[str, LocalModel]
) -> None:
    encoded = 0
    for name, model in queued.items():
        texts = []
        for each in (model, alone[name]):
            chat = Chat(each)
            content = content_of("What is this?", images=[PICTURE])
            for _ in chat.load([Message(role="user", content=content)]):
                pass
            events = list(each.generate(chat.prompt(GREEDY), GREEDY))
            last = events[-1]
            assert isinstance(last, Finished)
            texts.append(last.token_ids)
            if each is model:
                encoded += any(isinstance(e, EncodeProgress) and e.done < e.total for e in events)
        assert texts[0] == texts[1]
    assert encoded == 1


def test_what_one_adapter_computed_is_never_used_for_another(
    queued: dict[str, QueuedModel], alone: dict[str, LocalModel]
) -> None:
    text = "A long question that begins alike for all. " * 8
    for name, model in queued.items():
        first, again = (answer(model, text) for _ in range(2))
        assert first.usage.cached_tokens == 0 < again.usage.cached_tokens
        assert first.token_ids == again.token_ids == answer(alone[name], text).token_ids


def test_counts_are_kept_for_all_and_for_each(queue: Queue, queued: dict[str, QueuedModel]) -> None:
    before = queue.metrics()
    done = answer(queued["loud"], "Hello")
    after = queue.metrics()
    gained = [
        later.generated_tokens - earlier.generated_tokens
        for earlier, later in zip(before.models, after.models, strict=True)
    ]
    assert gained == [0, after.generated_tokens - before.generated_tokens, 0, 0]
    assert gained[1] >= len(done.token_ids)
    assert sum(each.finished for each in after.models) == after.finished


# Turns


class Rows:
    """Batches that a test steps, with the prompts of models by their places."""

    def __init__(self, models: Sequence[LocalModel]) -> None:
        self.models = models
        self.batches = RunningBatches(models, SharedTurns(10**8))

    def add(self, place: int, text: str, options: GenerateOptions = ENDLESS) -> Row:
        inputs = prompt(self.models[place], text)
        return self.batches.add(place, Prompt(inputs=inputs, options=options))

    def step(self) -> dict[Row, list[object]]:
        found: dict[Row, list[object]] = {}
        for row, event in self.batches.step():
            found.setdefault(row, []).append(event)
        return found

    def until_begun(self, *rows: Row) -> list[Row]:
        """Step until all have begun; in which order they did."""
        order: list[Row] = []
        while len(order) < len(rows):
            self.step()
            order += [row for row in rows if row.prefilled and row not in order]
        return order


@pytest.fixture
def rows(folders: dict[str, Path], tiny: LocalModel) -> Rows:
    return Rows(loaded(folders, fresh(tiny, stop_ids=frozenset({1 << 30}))))


def test_prompts_are_read_in_the_order_they_came_whatever_their_adapter(rows: Rows) -> None:
    asked = [rows.add(place, f"{number} {LONG}") for number, place in enumerate((0, 1, 0, 3, 1))]
    assert rows.until_begun(*asked) == asked


def test_a_step_reads_one_piece_and_has_a_token_for_every_answer(rows: Rows) -> None:
    """However many adapters have prompts to read, answers wait for one piece of them."""
    running = [rows.add(place, "Hello") for place in (0, 1, 2, 3)]
    rows.until_begun(*running)
    long = [rows.add(place, LONG) for place in (0, 1, 2, 3)]
    while not long[-1].prefilled:
        lengths = [row.answer.length for row in running]
        events = rows.step()
        assert [
            row.answer.length - before for row, before in zip(running, lengths, strict=True)
        ] == [1] * 4
        read = [
            row for row in long if any(isinstance(e, PrefillProgress) for e in events.get(row, ()))
        ]
        assert len(read) <= 1


def test_a_row_is_taken_out_while_those_of_other_adapters_go_on(rows: Rows) -> None:
    asked = [rows.add(place, "Hello") for place in (0, 1, 2)]
    late = rows.add(2, LONG)
    rows.until_begun(*asked)
    rows.batches.remove(asked[1])
    rows.batches.remove(late)
    events = rows.step()
    assert set(events) == {asked[0], asked[2]}
    assert not late.prefilled


# Memory


def test_weights_of_all_adapters_count_once_for_each_of_them(
    folders: dict[str, Path], tiny: LocalModel
) -> None:
    models = loaded(folders, tiny)
    base = {id(tensor) for _, tensor in tensors_of(tiny.network)}
    added = sum(find_adapter(str(each)).size(4) for each in folders.values())
    own = [
        tensor
        for model in models
        for _, tensor in tensors_of(model.network)
        if id(tensor) not in base
    ]
    assert sum(each.nbytes for each in own) == added > 0
    total = weights_in_memory(tiny).total + added
    assert [weights_in_memory(each).total for each in models] == [total] * len(models)


def test_adapters_take_their_own_bytes_of_memory(folders: dict[str, Path]) -> None:
    plain = load("tiny")
    mx.eval(plain.network.parameters())
    gc.collect()
    before = mx.get_active_memory()
    models = loaded(folders, plain)
    added = sum(find_adapter(str(each)).size(4) for each in folders.values())
    assert 0 < mx.get_active_memory() - before < 1.5 * added
    del models


def test_a_prompt_has_no_room_beside_those_of_other_adapters(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = Prompt(inputs=prompt(rows.models[1], "Hello"), options=GREEDY)
    monkeypatch.setattr("gemma4cli.engine.memory_limits.available_memory", lambda: 0)
    assert rows.batches.has_room(1, wanted), "what it needs alone is checked before"
    rows.add(0, "Hello")
    assert not rows.batches.has_room(1, wanted)


def test_towers_that_an_adapter_changes_have_soft_tokens_of_their_own(
    tiny: LocalModel, tmp_path: Path
) -> None:
    path = "embed_vision.embedding_projection"
    ((a, b),) = matrices(tiny.network, path).values()
    name = f"base_model.model.model.{path}"
    tensors = {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}
    folder = write(tmp_path / "sees", tensors, peft_config(), "adapter_model.safetensors")
    base = fresh(tiny)
    found = with_adapter(base, find_adapter(str(folder)))
    base.soft_tokens.put("a picture", mx.zeros((4,)))
    assert base.soft_tokens.get("a picture") is not None
    assert found.soft_tokens.get("a picture") is None
    assert found.soft_tokens.held == base.soft_tokens.held == 16, "one limit for both"


def test_soft_tokens_of_other_towers_are_forgotten_by_the_same_limit() -> None:
    one = FeatureCache(16)
    other = one.apart()
    one.put("a", mx.zeros((2,)))
    other.put("a", mx.ones((2,)))
    assert one.get("a") is not None
    other.put("b", mx.ones((2,)))
    assert one.get("a") is not None and other.get("a") is None and other.get("b") is not None


def test_a_head_and_whole_tensors_are_of_one_adapter_alone(
    tiny: LocalModel, tmp_path: Path
) -> None:
    weight = tiny.network.language_model.model.layers[0].mlp.down_proj.weight
    name = "base_model.model.model.language_model.layers.0.mlp.down_proj.weight"
    folder = write(
        tmp_path / "whole", {name: weight * 0}, peft_config(), "adapter_model.safetensors"
    )
    queue = Queue(lambda: with_adapters(load("tiny"), [find_adapter(str(folder))]))
    whole, plain = (QueuedModel(queue, place) for place in (0, 1))
    found = [answer(each, "Hello").token_ids for each in (whole, plain)]
    queue.close()
    expected = [load("tiny", adapter=str(folder)), tiny]
    assert found == [answer(each, "Hello").token_ids for each in expected]
    assert found[0] != found[1]


def test_a_change_of_adapter_keeps_the_soft_tokens_of_pictures(
    folders: dict[str, Path], tiny: LocalModel
) -> None:
    changed = change_adapter(tiny, str(folders["brief"]))
    assert isinstance(changed, LocalModel)
    assert changed.soft_tokens is tiny.soft_tokens


# The end


def test_answers_of_all_adapters_that_have_begun_end_before_the_queue_does(
    folders: dict[str, Path],
) -> None:
    queue = Queue(lambda: loaded(folders))
    models = [QueuedModel(queue, place) for place in range(4)]
    streams = [each.generate(prompt(each, "Hello"), GREEDY) for each in models]
    for each in streams:
        next(each)
    queue.close()
    for each in streams:
        *_, last = each
        assert isinstance(last, Finished)
    for model in models:
        with pytest.raises(ClosingError):
            answer(model, "Hello")
