"""Rows with different adapters are one step, and each is computed as by its own model alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import mlx.core as mx
import numpy as np
import pytest
from support.adapters import matrices, peft_config, write, write_peft
from support.checkpoints import PARITY
from support.goldens import FOLDER
from support.models import fresh
from support.served_adapters import NAMES, write_three

from gemma4cli.api import load
from gemma4cli.engine.adapter_loading import let_compute_mixed, with_adapters
from gemma4cli.engine.answering import Prompt
from gemma4cli.engine.batch_row import Row
from gemma4cli.engine.decode import run_tokens
from gemma4cli.engine.loading import load_drafter
from gemma4cli.engine.local import LocalModel
from gemma4cli.engine.running_batches import RunningBatches
from gemma4cli.engine.running_rows import RunningRows
from gemma4cli.engine.shared_turns import SharedTurns
from gemma4cli.events import Finished, TextDelta, TokenLogprob, ToolCallFinished
from gemma4cli.hub.adapters import find_adapter
from gemma4cli.hub.resolved import ResolvedModel
from gemma4cli.machine.backend import native_in_use
from gemma4cli.messages import Message
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.models.masks import make_masks
from gemma4cli.models.mixed_adapters import mixed
from gemma4cli.options import GenerateOptions, LoadOptions

GREEDY = GenerateOptions(temperature=0, max_tokens=24, repetition_guard=False)
NEVER = frozenset({1 << 30})
"""A stop id that no model generates."""
QUESTIONS = ("Hello", "What is this?", "Count to three", "Tell me of a lamp, a door and the sea")
SCHEMA = '{"type": "object", "properties": {"a": {"type": "string", "maxLength": 6}}}'
TOOLS = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "parameters": {
                    "type": "object",
                    "properties": {"place": {"type": "string", "enum": ["Oslo", "Rome"]}},
                    "required": ["place"],
                },
            },
        }
    ]
)


@pytest.fixture(scope="module")
def folders(tiny: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_three(tmp_path_factory.mktemp("adapters"), tiny)


@pytest.fixture(params=["native", "plain"])
def part(request: pytest.FixtureRequest) -> str:
    """How layers compute: by the native part, or as where it is not built."""
    if request.param == "plain":
        request.getfixturevalue("without_native")
    elif not native_in_use():
        pytest.skip("the native part is not built")
    name: str = request.param
    return name


def loaded(folders: dict[str, Path], options: LoadOptions | None = None) -> list[LocalModel]:
    """The built-in model with each adapter, and without one."""
    files = [find_adapter(str(folders[name])) for name in NAMES]
    return with_adapters(load("tiny", options=options or LoadOptions()), files)


Event = TypeVar("Event")


class Asked:
    """Prompts in batches of several models, or of one, with all events of their answers."""

    def __init__(self, models: Sequence[LocalModel]) -> None:
        self.models = models
        self.batches = RunningBatches(models, SharedTurns(10**8))
        self.events: dict[Row, list[object]] = {}

    def add(self, place: int, text: str, options: GenerateOptions = GREEDY) -> Row:
        return self.add_all(place, [Message(role="user", content=text)], options)

    def add_all(self, place: int, messages: list[Message], options: GenerateOptions) -> Row:
        inputs = self.models[place].processor.prepare(messages, [])
        row = self.batches.add(place, Prompt(inputs=inputs, options=options))
        self.events[row] = []
        return row

    def step(self) -> None:
        for row, event in self.batches.step():
            if isinstance(event, Exception):
                raise event
            self.events[row].append(event)

    def until_begun(self, *rows: Row) -> None:
        while not all(row.prefilled for row in rows):
            self.step()

    def end(self, row: Row) -> Finished:
        while not (self.events[row] and isinstance(self.events[row][-1], Finished)):
            self.step()
        last = self.events[row][-1]
        assert isinstance(last, Finished)
        return last

    def found(self, row: Row, kind: type[Event]) -> list[Event]:
        self.end(row)
        return [each for each in self.events[row] if isinstance(each, kind)]


def alone(model: LocalModel, text: str, options: GenerateOptions = GREEDY) -> Finished:
    asked = Asked([model])
    return asked.end(asked.add(0, text, options))


@pytest.fixture
def widths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each step of a batch has had."""
    found: list[int] = []
    embed = Gemma4.embed_rows

    def counted(self: Gemma4, ids: mx.array, *rest: object) -> tuple[mx.array, mx.array | None]:
        found.append(len(ids))
        return embed(self, ids, *rest)

    monkeypatch.setattr(Gemma4, "embed_rows", counted)
    return found


def test_rows_of_all_adapters_are_one_step(
    part: str, folders: dict[str, Path], widths: list[int]
) -> None:
    """Without the native part a DoRA is computed for itself."""
    models = [fresh(each, stop_ids=NEVER) for each in loaded(folders)]
    asked = Asked(models)
    rows = [asked.add(place, "Hello", replace(GREEDY, max_tokens=500)) for place in range(4)]
    asked.until_begun(*rows)
    widths.clear()
    asked.step()
    assert widths == ([4] if part == "native" else [3, 1])


def test_logits_are_those_of_each_network(part: str, folders: dict[str, Path]) -> None:
    models = loaded(folders)
    networks = [model.network for model in models]
    together = mixed(networks[-1], networks, native=part == "native")
    assert together is not None
    let_compute_mixed(together, native=part == "native")
    order = [0, 1, 0, 2, 2, 1, 0]
    rows = RunningRows(together.members, together, together=True)
    wanted = []
    for number, of in enumerate(order):
        network = together.members[of]
        caches = [network.language_model.make_cache() for _ in range(2)]
        for cache in caches:
            ids = mx.arange(5, 9 + number)
            window = network.config.text.sliding_window
            run_tokens(
                network, cache, ids, None, make_masks(length=len(ids), offset=0, window=window)
            )
            mx.eval([layer.state for layer in cache])
        rows.join(caches[0], of)
        _, logits, _ = run_tokens(network, caches[1], mx.array([40 + number]), None)
        wanted.append(np.array(logits[0, -1].astype(mx.float32)))
    got, finite = rows.advance(mx.arange(40, 40 + len(order)), None)
    assert mx.all(finite).item()
    for row, logits in zip(np.array(got.astype(mx.float32)), wanted, strict=True):
        np.testing.assert_allclose(row, logits, rtol=0, atol=1e-4 * logits.std())
    first, last = (np.array(got[number].astype(mx.float32)) for number in (0, 1))
    assert not np.allclose(first, last, atol=0.1 * first.std()), "the adapters matter"


def test_answers_are_those_of_each_alone_while_others_join_and_leave(
    part: str, folders: dict[str, Path]
) -> None:
    models = loaded(folders)
    asked = Asked(models)
    rows: list[tuple[Row, int, str, GenerateOptions]] = []
    for number, question in enumerate(QUESTIONS):
        for place in range(4):
            options = replace(GREEDY, max_tokens=6 + 5 * ((number + place) % 4))
            rows.append((asked.add(place, question, options), place, question, options))
            asked.step()
    removed = asked.add(1, "Hello", GREEDY)
    asked.until_begun(removed)
    asked.batches.remove(removed)
    for row, place, question, options in rows:
        assert asked.end(row).token_ids == alone(models[place], question, options).token_ids


def test_constraints_and_probabilities_beside_other_adapters(
    part: str, folders: dict[str, Path]
) -> None:
    models = loaded(folders)
    every = [
        replace(GREEDY, max_tokens=60, schema=SCHEMA),
        replace(GREEDY, max_tokens=60, tools=TOOLS, tool_choice="required"),
        replace(GREEDY, max_tokens=8, logprobs=2),
        replace(GREEDY, max_tokens=8, temperature=1, seed=3),
    ]
    asked = Asked(models)
    rows = [
        (asked.add(place, "Hello", options), place, options)
        for options in every
        for place in range(4)
    ]
    for row, place, options in rows:
        single = Asked([models[place]])
        own = single.add(0, "Hello", options)
        assert asked.end(row).token_ids == single.end(own).token_ids
        calls, expected = (
            each.found(of, ToolCallFinished) for each, of in ((asked, row), (single, own))
        )
        assert [each.call.arguments for each in calls] == [each.call.arguments for each in expected]
        assert bool(calls) == (options.tools is not None)
        found, wanted = (
            tokens_of(each.found(of, TextDelta)) for each, of in ((asked, row), (single, own))
        )
        assert bool(found) == (options.logprobs is not None)
        np.testing.assert_allclose(
            [each.logprob for each in found], [each.logprob for each in wanted], atol=1e-3
        )


def tokens_of(deltas: Sequence[TextDelta]) -> list[TokenLogprob]:
    return [token for each in deltas for token in each.logprobs]


def test_quantized_caches_have_the_answers_of_each_alone(
    part: str, folders: dict[str, Path]
) -> None:
    models = loaded(folders, LoadOptions(kv_bits=8))
    asked = Asked(models)
    rows = [asked.add(place, QUESTIONS[place]) for place in range(4)]
    for place, row in enumerate(rows):
        assert asked.end(row).token_ids == alone(models[place], QUESTIONS[place]).token_ids


def test_a_turn_that_was_computed_beside_others_is_continued_by_its_own_adapter(
    part: str, folders: dict[str, Path]
) -> None:
    """All begin alike, and each resumes from what its own adapter has computed."""
    models = loaded(folders)
    asked = Asked(models)
    text = "A long question that begins alike for all. " * 4
    rows = [asked.add(place, text, replace(GREEDY, max_tokens=8)) for place in range(4)]
    for row in rows:
        asked.end(row)
    for place, row in enumerate(rows):
        said = "".join(each.text for each in asked.found(row, TextDelta))
        messages = [
            Message(role="user", content=text),
            Message(role="assistant", content=said),
            Message(role="user", content="Go on"),
        ]
        again, fresh = asked.add_all(place, messages, GREEDY), Asked([models[place]])
        last = asked.end(again)
        assert last.usage.cached_tokens > 0
        assert last.token_ids == fresh.end(fresh.add_all(0, messages, GREEDY)).token_ids


def test_a_drafter_helps_the_first_answer_and_changes_none(part: str, tmp_path: Path) -> None:
    base = load(str(PARITY / "e2b"), options=LoadOptions(dtype="float32"))
    files = [
        find_adapter(str(write_peft(tmp_path / end, matrices(base.network, end, size=0.5))))
        for end in ("q_proj", "down_proj")
    ]
    plain = with_adapters(base, files)
    folder = FOLDER / "drafters" / "e2b"
    drafted = with_adapters(load_drafter(ResolvedModel.of(folder.name, folder), base), files)
    asked = Asked(drafted)
    first = asked.add(0, "Hello")
    asked.until_begun(first)
    assert first.draft is not None
    rows = [first, *(asked.add(place, "Hello") for place in (1, 2, 0))]
    for place, row in zip((0, 1, 2, 0), rows, strict=True):
        assert asked.end(row).token_ids == alone(plain[place], "Hello").token_ids


CHANGES: dict[str, Callable[[LocalModel], dict[str, mx.array]]] = {
    "whole": lambda model: {
        "layers.0.mlp.down_proj.weight": model.network.language_model.model.layers[
            0
        ].mlp.down_proj.weight
        * 0
    },
    "norm": lambda model: {
        "layers.0.input_layernorm.weight": mx.zeros(
            model.network.language_model.model.layers[0].input_layernorm.weight.shape
        )
    },
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_adapter_with_tensors_of_its_own_is_computed_for_itself(
    part: str, change: str, folders: dict[str, Path], tmp_path: Path, widths: list[int]
) -> None:
    base = load("tiny")
    tensors = {
        f"base_model.model.model.language_model.{name}": tensor
        for name, tensor in CHANGES[change](base).items()
    }
    own = write(tmp_path / "own", tensors, peft_config(), "adapter_model.safetensors")
    files = [find_adapter(str(each)) for each in (own, folders["brief"], folders["loud"])]
    models = [fresh(each, stop_ids=NEVER) for each in with_adapters(base, files)]
    asked = Asked(models)
    rows = [asked.add(place, "Hello") for place in range(4)]
    asked.until_begun(*rows)
    widths.clear()
    asked.step()
    assert widths == [3, 1]
    for place, row in enumerate(rows):
        assert asked.end(row).token_ids == alone(models[place], "Hello").token_ids
