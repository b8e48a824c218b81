"""The optimiser of the layers' matrices."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from training.muon import Muon, matrices_of, orthogonal


@pytest.mark.parametrize("shape", [(16, 64), (64, 16), (32, 32)])
def test_every_direction_of_a_matrix_becomes_about_equally_long(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    lengths = torch.linalg.svdvals(orthogonal(torch.randn(shape) ** 3))
    assert lengths.min() > 0.5
    assert lengths.max() < 1.3


def test_directions_stay_what_they_are() -> None:
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(8, 24), full_matrices=False)
    made = orthogonal(left @ torch.diag(torch.linspace(1, 5, 8)) @ right)
    turned = left.T @ made @ right.T
    assert (turned - torch.diag(turned.diagonal())).abs().max() < 1e-4


def test_a_step_is_as_long_as_one_of_adamw() -> None:
    torch.manual_seed(0)
    matrix = torch.nn.Parameter(torch.zeros(48, 48))
    matrix.grad = torch.randn(48, 48)
    Muon([matrix], lr=0.01, weight_decay=0.0).step()
    assert matrix.detach().pow(2).mean().sqrt() == pytest.approx(0.2 * 0.01, rel=0.2)


def test_it_learns_a_map() -> None:
    torch.manual_seed(0)
    layer, truth = torch.nn.Linear(12, 12, bias=False), torch.randn(12, 12)
    optimizer = Muon(matrices_of(layer), lr=0.05, weight_decay=0.0)
    losses = []
    for _ in range(300):
        rows = torch.randn(32, 12)
        loss = (layer(rows) - rows @ truth.T).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 100


def test_only_matrices_that_learn_are_its() -> None:
    layers = torch.nn.Sequential(
        torch.nn.Linear(4, 3), torch.nn.LayerNorm(3), torch.nn.Linear(3, 2)
    )
    layers[2].weight.requires_grad_(False)
    assert [p.shape for p in matrices_of(layers)] == [(3, 4)]
