"""A model in several processes computes what it computes in one.

Threads take the place of processes here; test_processes.py has real ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from support.checkpoints import PARITY
from support.goldens import ARCHS, inputs_of
from support.processes import divided
from support.quantized_checkpoints import AFFINE4, NVFP4, Kind, quantize_checkpoint

from gemma4cli.api import load
from gemma4cli.conversations.trace import trace
from gemma4cli.engine.answering import Prompt
from gemma4cli.engine.loading import load_drafter
from gemma4cli.engine.local import LocalModel
from gemma4cli.engine.model import FeatureCache
from gemma4cli.engine.pace import Pace
from gemma4cli.engine.running_batch import RunningBatch
from gemma4cli.engine.shared_turns import SharedTurns
from gemma4cli.events import Event, Finished
from gemma4cli.hub.resolved import ResolvedModel
from gemma4cli.machine import backend
from gemma4cli.messages import Message
from gemma4cli.native.extension import Extension, extension
from gemma4cli.options import GenerateOptions, LoadOptions

TOLERANCE = 1e-3
"""A share of the deviation of the logits."""
FLOAT32 = LoadOptions(dtype="float32", draft="none")
GREEDY = GenerateOptions(max_tokens=6, temperature=0)


@dataclass(frozen=True, slots=True, eq=False)
class Both:
    """A model in one process, and the same one in several."""

    whole: LocalModel
    parts: LocalModel

    def check(self, case: str, tolerance: float = TOLERANCE) -> None:
        path = PARITY.parent / "cases" / f"{case}.json"
        expected = trace(self.whole, path, max_tokens=3)
        result = trace(self.parts, path, max_tokens=3)
        error = np.abs(result.logits - expected.logits).max()
        assert error <= tolerance * expected.logits.std()
        assert result.generated.tolist() == expected.generated.tolist()


def both(folder: Path, count: int, options: LoadOptions = FLOAT32) -> Iterator[Both]:
    whole = load(str(folder), options=options)
    with divided(folder, count, options) as network:
        yield Both(whole, replace(whole, network=network, soft_tokens=FeatureCache()))


@pytest.fixture(params=["native", "mlx"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Models that are loaded compute on the native part's kernels, or on MLX alone."""
    name: str = request.param
    if name == "native" and extension().module is None:
        pytest.skip("the native part is missing")
    if name == "mlx":
        monkeypatch.setattr(backend, "extension", lambda: Extension(reason="switched off"))
    return name


QUICK = [("e2b", 2), ("26b", 4)]
ALL = [
    pytest.param(arch, count, marks=() if (arch, count) in QUICK else pytest.mark.slow)
    for arch in ARCHS
    for count in (2, 3, 4)
]


@pytest.mark.parametrize(("arch", "count"), ALL)
def test_logits_are_those_of_one_process(arch: str, count: int, kernels: str) -> None:
    for each in both(PARITY / arch, count):
        layer = type(each.parts.network.language_model.model.layers[0])
        assert ("native" in layer.__module__) == (kernels == "native")
        each.check("text_short" if (arch, count) in QUICK else "image_70")


QUANTIZED = [
    pytest.param(arch, count, kind, marks=() if (arch, count) == ("26b", 2) else pytest.mark.slow)
    for arch in ARCHS
    for count in (2, 4)
    for kind in (AFFINE4, NVFP4)
    if (arch, kind) != ("e4b", NVFP4)
]
"""MLX unpacks no single row of 80 numbers in nvfp4, which the e4b has."""


@pytest.mark.parametrize(("arch", "count", "kind"), QUANTIZED, ids=str)
def test_quantized_numbers_are_those_of_one_process(
    arch: str, count: int, kind: Kind, kernels: str, tmp_path: Path
) -> None:
    """Parts end within groups: the attention of a head has 16 columns, a group up to 32."""
    model = load(str(PARITY / arch), options=FLOAT32)
    quantized, _, kinds = quantize_checkpoint(model, tmp_path, lambda _: kind, kind)
    assert any(path.endswith("o_proj") for path in kinds)
    for each in both(quantized.folder, count):
        each.check("text_short")


@pytest.fixture(scope="module")
def two() -> Iterator[Both]:
    yield from both(PARITY / "e2b", 2)


def last_of(events: Iterator[Event]) -> Finished:
    *_, last = events
    assert isinstance(last, Finished)
    return last


def test_a_second_turn_resumes_where_the_first_one_ended(two: Both) -> None:
    asked = [Message(role="user", content="Why? " * 30)]
    said = [*asked, Message(role="assistant", content="So."), Message(role="user", content="Who?")]
    found = []
    for model in (two.whole, two.parts):
        turns = model.new_turns()
        last_of(model.generate(model.processor.prepare(asked, []), GREEDY, turns))
        found.append(last_of(model.generate(model.processor.prepare(said, []), GREEDY, turns)))
    expected, result = found
    assert result.usage == expected.usage
    assert result.usage.cached_tokens > 0
    assert result.token_ids == expected.token_ids


def test_prompts_are_answered_in_a_batch(two: Both) -> None:
    prompts = [
        Prompt(inputs=inputs_of(two.whole, case), options=GREEDY)
        for case in ("text_short", "system")
    ]
    expected = [last_of(two.whole.generate(each.inputs, GREEDY)).token_ids for each in prompts]
    found = {
        number: event.token_ids
        for number, event in two.parts.stream_batch(prompts)
        if isinstance(event, Finished)
    }
    assert [found[0], found[1]] == expected


def test_prompts_join_and_leave_a_running_batch(two: Both) -> None:
    prompts = [
        Prompt(inputs=inputs_of(two.whole, case), options=replace(GREEDY, max_tokens=most))
        for case, most in (("text_short", 3), ("system", 6), ("text_short", 6))
    ]
    alone = [last_of(two.whole.generate(each.inputs, each.options)) for each in prompts]
    batch = RunningBatch(two.parts, shared=SharedTurns(10**7), chunk=512)
    rows = {batch.add(prompts[0]): 0}
    batch.step()
    # The others are read together.
    rows |= {batch.add(each): number for number, each in enumerate(prompts[1:], start=1)}
    found = {}
    while batch.rows:
        for row, event in batch.step():
            if isinstance(event, Finished):
                found[rows[row]] = event.token_ids
    assert [found[number] for number in range(3)] == [each.token_ids for each in alone]


DRAFTED = [
    pytest.param(arch, count, bits, marks=() if (arch, count) == ("e2b", 2) else pytest.mark.slow)
    for arch in ARCHS
    for count in (2, 4)
    for bits in ((None, 8) if arch == "31b" else (None,))
]


@pytest.mark.parametrize(("arch", "count", "bits"), DRAFTED)
def test_a_drafter_guesses_as_in_one_process(arch: str, count: int, bits: int | None) -> None:
    """It is in the first process alone, which gets the keys and values of all heads."""
    folder = PARITY.parent / "drafters" / arch
    drafter = ResolvedModel.of(folder.name, folder)
    options = replace(GREEDY, max_tokens=24, repetition_guard=False)
    for each in both(PARITY / arch, count, replace(FLOAT32, kv_bits=bits)):
        inputs = inputs_of(each.whole, "text")
        found = []
        for model in (each.whole, each.parts):
            helped = load_drafter(drafter, model)
            assert helped.drafter is not None
            always = replace(helped.drafter, pace=Pace(clock=lambda: 0.0))
            found.append(last_of(replace(helped, drafter=always).generate(inputs, options)))
        expected, result = found
        assert result.token_ids == expected.token_ids
        assert result.usage == expected.usage
        assert result.usage.guessed_tokens > 0


@pytest.mark.slow
def test_a_cache_of_eight_bits_is_divided_too(kernels: str) -> None:
    """A number between two of 256 steps may be stored as the other one."""
    for each in both(PARITY / "31b", 2, replace(FLOAT32, kv_bits=8)):
        each.check("text", tolerance=5 * TOLERANCE)


def test_what_is_not_needed_any_more_is_forgotten_by_all(two: Both) -> None:
    """The others hold a cache no longer than the first process does."""
    inputs = inputs_of(two.whole, "text_short")
    mirror = two.parts.network.language_model._mirror
    last_of(two.parts.generate(inputs, GREEDY))
    before = len(mirror._numbers)
    last_of(two.parts.generate(inputs, GREEDY))
    assert len(mirror._numbers) == before
