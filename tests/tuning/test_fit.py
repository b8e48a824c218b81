"""What a step needs of memory is known before it: an upper bound, and not a far one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import pytest

from gemma4cli.engine.local import LocalModel
from gemma4cli.errors import TuningTooLargeError
from gemma4cli.machine.memory import Numerics
from gemma4cli.machine.tuning_memory import TuningWork, tuning_size
from gemma4cli.models.training import recompute_layers, with_gradients
from gemma4cli.tuning import fit
from gemma4cli.tuning.adapter import LowRankOptions, with_new_adapter
from gemma4cli.tuning.examples import Example
from gemma4cli.tuning.media_store import MediaStore
from gemma4cli.tuning.settings import TuningOptions
from gemma4cli.tuning.steps import Learner, Optimizer

LENGTH = 160


@pytest.fixture
def nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process holds beside the network does not count."""
    monkeypatch.setattr(fit, "resident", lambda: (0, 0))
    monkeypatch.setattr(fit, "_LATER", 0)


def learner_of(model: LocalModel, folder: Path) -> Learner:
    additions = LowRankOptions(rank=4, alpha=8, targets=("attention", "mlp"))
    network = with_new_adapter(with_gradients(model.network, towers=False), additions, seed=0)
    media = MediaStore(model=model, folder=folder, in_step=False)
    return Learner(network=network, media=media, tokens_at_once=10**6)


def example(length: int) -> Example:
    ids = tuple(index * 7 % 2000 for index in range(length))
    learned = ((length // 2, length),)
    return Example(origin="long", ids=ids, learned=learned, spans=(), digests=())


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_else")
@pytest.mark.parametrize("recompute", [False, True])
def test_the_estimate_is_above_the_peak_and_within_a_multiple(
    recompute: bool, tiny: LocalModel, tmp_path: Path
) -> None:
    learner = learner_of(tiny, tmp_path)
    examples = [example(LENGTH)] * 2
    options = TuningOptions(batch=2, recompute=recompute)
    estimate = fit.fitting(tiny, learner, examples, options).memory
    if recompute:
        recompute_layers(learner.network)
    mx.eval(learner.network.parameters())
    before = mx.get_active_memory()
    weights = sum(each.nbytes for each in fit.arrays_of(learner))
    mx.reset_peak_memory()
    _, gradients = learner.gradients(examples)
    Optimizer(learner.parameters, 0.01).changed(learner.parameters, gradients, 1e-3)
    step = mx.get_peak_memory() - before
    assert step <= estimate - weights <= 4 * step


def test_a_step_copies_no_weights_that_stay_as_they_are(tiny: LocalModel, tmp_path: Path) -> None:
    learner = learner_of(tiny, tmp_path)
    learner.gradients([example(8)])
    mx.eval(learner.network.parameters())
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    learner.gradients([example(8)])
    weights = sum(each.nbytes for each in fit.arrays_of(learner))
    assert mx.get_peak_memory() - before < weights / 3


def test_what_the_process_holds_already_is_foreseen_too(
    tiny: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = learner_of(tiny, tmp_path)
    options = TuningOptions(batch=1)

    def foreseen(allocated: int, of_files: int) -> int:
        monkeypatch.setattr(fit, "taken", lambda: 10**6)
        monkeypatch.setattr(fit, "resident", lambda: (allocated, of_files))
        return fit.fitting(tiny, learner, [example(40)], options).memory

    alone = foreseen(0, 0)
    assert foreseen(10**9 + 10**6, 10**8) == alone + 10**9 + 10**8
    assert foreseen(10**5, 0) == alone


@pytest.mark.usefixtures("nothing_else")
def test_examples_that_do_not_fit_together_are_computed_alone_then_with_less_kept(
    tiny: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = learner_of(tiny, tmp_path)
    examples = [example(LENGTH), example(40)]
    options = TuningOptions(batch=4)
    found = []
    memory = fit.fitting(tiny, learner, examples, options).memory
    for available in range(memory, 0, -memory // 40):
        monkeypatch.setattr(fit, "available_memory", lambda available=available: available)
        try:
            each = fit.fitting(tiny, learner, examples, options)
        except TuningTooLargeError as error:
            assert "long (160 tokens)" in str(error)
            break
        assert each.memory <= available
        assert each.tokens_at_once == each.rows * LENGTH
        found.append((each.recompute, each.rows))
    assert found[0] == (False, 4)
    assert (False, 1) in found and found[-1] == (True, 1)
    assert sorted(found, key=lambda each: each[0]) == found


def test_the_native_part_keeps_no_attention_weights_of_pictures(tiny: LocalModel) -> None:
    numerics = Numerics(item=4, backend="CPU", native=True)
    work = TuningWork(rows=1, length=64, targets=8, parameters=0, recompute=False)
    without, one, two = (
        tuning_size(tiny.network.config, numerics, replace(work, tower_tokens=count))
        for count in (0, 100, 200)
    )
    assert two - one == one - without > 0
