"""Batches that other processes make ahead of time."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from training import ahead as module
from training.ahead import ahead


@dataclass(frozen=True)
class Made:
    """What a step may be: tensors in a dataclass, some of them empty."""

    numbers: torch.Tensor
    nothing: torch.Tensor


def made(step: int) -> Made:
    return Made(numbers=torch.full((step, 2), step), nothing=torch.zeros(0, 3))


@pytest.mark.parametrize("beside_gpu", [False, True])
def test_steps_come_whole_and_in_order(monkeypatch: pytest.MonkeyPatch, beside_gpu: bool) -> None:
    monkeypatch.setattr(module, "on_gpu", lambda: beside_gpu)
    monkeypatch.setattr(module.os, "cpu_count", lambda: 4)
    steps = range(3, 14)
    given = list(ahead(made, steps))
    assert len(given) == len(steps)
    for step, each in zip(steps, given, strict=True):
        assert torch.equal(each.numbers, made(step).numbers)
        assert each.nothing.shape == (0, 3)


def test_a_step_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(step: int) -> Made:
        raise ValueError(f"no data for step {step}")

    monkeypatch.setattr(module, "on_gpu", lambda: True)
    monkeypatch.setattr(module.os, "cpu_count", lambda: 4)
    with pytest.raises(ValueError, match="no data for step 5"):
        next(ahead(fail, range(5, 9)))
