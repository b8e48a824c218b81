"""Muon: momentum whose every direction is made equally long, for the matrices of layers.

Source: K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), with the
step size of J. Liu et al., "Muon is Scalable for LLM Training" (2025), section 2.2, which lets it
share AdamW's learning rate. ``torch.optim.Muon`` computes in bfloat16, which a CPU without such
products takes twenty times as long for.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_MOMENTUM = 0.95
_RMS = 0.2
"""Root mean square of an update of AdamW, by which the rate is matched."""


def matrices_of(layers: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The parameters of ``layers`` that Muon is for."""
    return [p for p in layers.parameters() if p.ndim == 2 and p.requires_grad]


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix ``[m, n]`` with its singular values brought near 1, to between 0.7 and 1.2."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=1e-7)
    a, b, c = _NEWTON_SCHULZ
    for _ in range(_ITERATIONS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide


class Muon(torch.optim.Optimizer):
    """Steps of ``lr``; every parameter is a matrix."""

    def __init__(
        self, matrices: Iterable[torch.nn.Parameter], *, lr: float, weight_decay: float
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for matrix in group["params"]:
                state = self.state[matrix]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(matrix)
                momentum = state["momentum"].lerp_(matrix.grad, 1 - _MOMENTUM)
                update = orthogonal(matrix.grad.lerp(momentum, _MOMENTUM))
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(update, alpha=-group["lr"] * _RMS * max(matrix.shape) ** 0.5)
