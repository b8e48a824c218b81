"""Rows of a batch give the gradients that they give alone, and every example has its turn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from support.goldens import FOLDER, inputs_of
from support.quantized_checkpoints import AFFINE4, MXFP8, Kind, quantize_checkpoint

from gemma4cli.api import load
from gemma4cli.engine import network_loading
from gemma4cli.engine.local import LocalModel
from gemma4cli.machine import backend
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.models.training import recompute_layers, with_gradients
from gemma4cli.options import LoadOptions
from gemma4cli.tuning.adapter import LowRankOptions, with_new_adapter
from gemma4cli.tuning.batches import round_of, rows_within, steps_per_round
from gemma4cli.tuning.examples import Example
from gemma4cli.tuning.media_store import MediaStore
from gemma4cli.tuning.steps import Learner, Parameters

CASES = ("text_short", "image_flat", "turns", "system")


def learner_of(arch: str, folder: Path, tokens_at_once: int) -> tuple[Learner, list[Example]]:
    """A parity checkpoint with a new adapter, and examples of different lengths."""
    options = LoadOptions(dtype="float32", draft="none")
    model = load(str(FOLDER / "checkpoints" / arch), options=options)
    media = MediaStore(model=model, folder=folder, in_step=False)
    examples = []
    for case in CASES:
        inputs = inputs_of(model, case)
        media.add(inputs.features)
        examples.append(
            Example(
                origin=case,
                ids=(*inputs.ids, 5, 7, 9),
                learned=((len(inputs.ids), len(inputs.ids) + 3),),
                spans=inputs.spans,
                digests=tuple(each.digest for each in inputs.features),
            )
        )
    media.complete()
    return Learner(network=trainable(model), media=media, tokens_at_once=tokens_at_once), examples


def trainable(model: LocalModel) -> Gemma4:
    additions = LowRankOptions(rank=2, alpha=4, targets=("attention", "mlp"))
    return with_new_adapter(with_gradients(model.network, towers=False), additions, seed=0)


def with_numbers(learner: Learner) -> None:
    """Give ``b`` numbers other than zero, with which ``a`` has gradients."""
    changed = {
        name: mx.random.normal(value.shape, key=mx.random.key(index)) * 0.1
        for index, (name, value) in enumerate(learner.parameters.items())
    }
    learner.use(changed)


def largest_difference(one: Parameters, other: Parameters) -> float:
    assert one.keys() == other.keys()
    return max(
        float(mx.abs(value - other[name]).max().item() / mx.abs(value).max().item())
        for name, value in one.items()
    )


@pytest.mark.parametrize(
    "arch", ["12b", *(pytest.param(arch, marks=pytest.mark.slow) for arch in ("e2b", "26b"))]
)
def test_a_padded_batch_gives_the_gradients_of_its_rows_one_by_one(
    arch: str, tmp_path: Path
) -> None:
    """The 12B and 26B have image blocks, which differ from row to row."""
    learner, examples = learner_of(arch, tmp_path, 10**6)
    with_numbers(learner)
    loss, together = learner.gradients(examples)
    alone, one_by_one = Learner(
        network=learner.network, media=learner.media, tokens_at_once=1
    ).gradients(examples)
    assert loss == pytest.approx(alone, rel=1e-5)
    assert largest_difference(together, one_by_one) < 1e-3


@pytest.mark.slow
def test_layers_that_compute_their_values_again_give_the_same_gradients(tmp_path: Path) -> None:
    learner, examples = learner_of("e2b", tmp_path, 10**6)
    with_numbers(learner)
    _, kept = learner.gradients(examples)
    recompute_layers(learner.network)
    _, recomputed = learner.gradients(examples)
    assert largest_difference(kept, recomputed) < 1e-5


def example(length: int, repeats: int = 1) -> Example:
    return Example(
        origin=str(length),
        ids=(1,) * length,
        learned=((length - 1, length),),
        spans=(),
        digests=(),
        repeats=repeats,
    )


def test_a_round_has_each_example_as_often_as_it_repeats() -> None:
    examples = [example(length, repeats) for length, repeats in [(5, 1), (90, 3), (7, 2), (30, 1)]]
    steps = round_of(examples, size=2, seed=1, number=0)
    assert len(steps) == steps_per_round(examples, 2) == 4
    assert Counter(index for step in steps for index in step) == {0: 1, 1: 3, 2: 2, 3: 1}


def test_rounds_differ_and_are_the_same_again() -> None:
    examples = [example(length) for length in range(10, 60)]
    rounds = [round_of(examples, size=4, seed=3, number=number) for number in (0, 1, 0)]
    assert rounds[0] == rounds[2] != rounds[1]
    assert round_of(examples, size=4, seed=4, number=0) != rounds[0]


def test_a_step_has_examples_of_similar_length() -> None:
    lengths = np.random.default_rng(0).integers(10, 1000, 64)
    examples = [example(int(length)) for length in lengths]
    spread = [
        np.ptp([len(examples[index].ids) for index in step])
        for step in round_of(examples, size=4, seed=0, number=0)
    ]
    assert np.mean(spread) < 100


def test_parts_of_a_step_stay_below_a_number_of_tokens() -> None:
    examples = [example(length) for length in (100, 30, 30, 30, 10)]
    parts = list(rows_within(examples, tokens=100))
    assert [[len(each.ids) for each in part] for part in parts] == [[100], [30, 30, 30], [10]]


def surprising(length: int) -> Example:
    """An example whose tokens follow from nothing."""
    ids = tuple(index * 37 % 2000 for index in range(length))
    learned = ((length // 2, length),)
    return Example(origin="x", ids=ids, learned=learned, spans=(), digests=())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [AFFINE4, MXFP8], ids=str)
def test_quantized_weights_give_the_gradients_of_the_same_weights_unpacked(
    kind: Kind, tiny: LocalModel, tmp_path: Path
) -> None:
    small, same, _ = quantize_checkpoint(tiny, tmp_path, lambda _: kind, kind)
    found = []
    for model in (small, same):
        assert isinstance(model, LocalModel)
        media = MediaStore(model=model, folder=tmp_path, in_step=False)
        learner = Learner(network=trainable(model), media=media, tokens_at_once=1000)
        with_numbers(learner)
        found.append(learner.gradients([surprising(40), surprising(20)])[1])
    assert largest_difference(*found) < 1e-3


@pytest.mark.slow
def test_in_bfloat16_the_adapter_its_gradients_and_the_loss_are_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where weights are in bfloat16."""
    for module in (backend, network_loading):
        monkeypatch.setattr(module, "native_in_use", lambda dtype="auto": False)
    found = {}
    for dtype in ("float32", "bfloat16"):
        model = load("tiny", options=LoadOptions(dtype=dtype, draft="none"))
        network = with_gradients(model.network, towers=False)
        assert network.language_model.model.norm.weight.dtype == getattr(mx, dtype)
        additions = LowRankOptions(rank=2, alpha=4, targets=("mlp",))
        media = MediaStore(model=model, folder=tmp_path, in_step=False)
        learner = Learner(
            network=with_new_adapter(network, additions, 0), media=media, tokens_at_once=1000
        )
        with_numbers(learner)
        found[dtype] = learner.gradients([surprising(40)])
    loss, gradients = found["bfloat16"]
    assert {each.dtype for each in gradients.values()} == {mx.float32}
    assert loss == pytest.approx(found["float32"][0], rel=0.05)
