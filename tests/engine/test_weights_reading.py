"""Weights are read before a graph needs them where that is asked for, and nowhere else.

A GPU asks for it; here the tests do, on any device.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
import pytest
from support.goldens import golden_error, goldens
from test_memory_limits import prompt_with

from gemma4cli.engine import weights_reading
from gemma4cli.engine.encode import encode_media
from gemma4cli.engine.loading import load_resolved
from gemma4cli.engine.model import LoadedModel
from gemma4cli.engine.weights_reading import read, tensors_of
from gemma4cli.events import LoadProgress
from gemma4cli.hub.resolving import resolve
from gemma4cli.options import LoadOptions

E2B = Path(__file__).parents[2] / "fixtures" / "parity" / "checkpoints" / "e2b"
pytestmark = pytest.mark.usefixtures("without_native")


def loaded(
    name: str, *, read_weights: bool | None, seen: list[LoadProgress] | None = None
) -> LoadedModel:
    options = LoadOptions(dtype="float32")
    report = None if seen is None else seen.append
    return load_resolved(resolve(name), options, report, read_weights=read_weights)


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The identities of the arrays that were read, in order."""
    found: list[int] = []
    evaluate = weights_reading._evaluate

    def note(tensors: Sequence[mx.array]) -> int:
        found.extend(map(id, tensors))
        return evaluate(tensors)

    monkeypatch.setattr(weights_reading, "_evaluate", note)
    return found


def ids(model: LoadedModel, part: str) -> list[int]:
    return [id(each) for each in tensors_of(model.network, part)]  # type: ignore[arg-type]


def test_tensors_are_read_in_chunks_and_every_byte_is_counted() -> None:
    tensors = [mx.zeros((size,), mx.uint8) for size in (30, 30, 50, 200, 10)]
    assert list(read(tensors, chunk=100)) == [110, 310, 320]
    assert list(read(tensors, chunk=1)) == [30, 60, 110, 310, 320]
    assert list(read([], chunk=100)) == []


def test_a_cpu_reads_nothing_while_loading(evaluated: list[int]) -> None:
    if mx.default_device() != mx.Device(mx.cpu):
        pytest.skip("the device is a GPU")
    seen: list[LoadProgress] = []
    loaded("tiny", read_weights=None, seen=seen)
    assert evaluated == []
    assert {step.total for step in seen} == {0}


def test_asked_to_loading_reads_the_language_model_and_reports_bytes(
    evaluated: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_reading.read, "__defaults__", (1_000_000,))
    seen: list[LoadProgress] = []
    model = loaded("tiny", read_weights=True, seen=seen)
    assert evaluated == ids(model, "text")
    bytes_read = [step for step in seen if step.total]
    assert len(bytes_read) > 2 and {step.stage for step in bytes_read} == {"weights"}
    done = [step.done for step in bytes_read]
    assert done == sorted(set(done)) and done[-1] == bytes_read[0].total
    assert done[-1] == sum(each.nbytes for each in tensors_of(model.network, "text"))


def test_a_tower_is_read_when_it_is_first_used(evaluated: list[int]) -> None:
    model = loaded("tiny", read_weights=True)
    evaluated.clear()
    list(encode_media(model, prompt_with(model, images=1)))
    assert evaluated == ids(model, "vision")
    evaluated.clear()
    list(encode_media(model, prompt_with(model, images=2, sound=True)))
    assert evaluated == ids(model, "audio")


@pytest.mark.parametrize("case", ["text", "mixed"])
def test_weights_that_were_read_give_the_references_logits(case: str) -> None:
    allowed = 1e-3 * goldens("e2b")[f"{case}/spread"][1]
    assert golden_error(loaded(str(E2B), read_weights=True), "e2b", case) <= allowed


def test_weights_in_another_type_are_in_memory_once(tmp_path: Path) -> None:
    """What was read in the file's type is freed when it has been converted."""
    gc.collect()  # models of other tests
    before = mx.get_active_memory()
    model = loaded("tiny", read_weights=True)
    size = sum(each.nbytes for each in tensors_of(model.network, "text"))
    assert size <= mx.get_active_memory() - before < 1.1 * size
    assert os.path.getsize(model.folder / "model.safetensors") < 2 * size
