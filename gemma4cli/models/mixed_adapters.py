"""A network for rows with different adapters, which reads each matrix once for all of them.

It is one more tree of the layers that the networks with adapters share. Where an adapter changes a
matrix, its layer there multiplies all rows by the weights, and adds to each what its own adapter
adds. Which adapter that is belongs to no call: ``RowChoice`` says it for the calls that follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import mlx.core as mx
import mlx.nn as nn

from .adapters import KEPT_OF_A_RUN, changed_tree, copied
from .gemma4 import Gemma4
from .low_rank import LowRankLinear

_Ranks: TypeAlias = tuple[tuple[int, float], ...]
"""Rank and scale of a layer in each network; rank 0 where its adapter leaves the layer alone."""


class RowChoice:
    """The networks that rows ``[B]`` belong to, by their numbers.

    Attributes:
        numbers: An array ``[B]`` in int32.
    """

    def __init__(self) -> None:
        self.numbers = mx.zeros((0,), mx.int32)
        self._chosen: tuple[int, ...] = ()
        self._factors: dict[_Ranks, mx.array] = {}

    def choose(self, numbers: Sequence[int]) -> None:
        """Say it of the rows of the next calls."""
        if tuple(numbers) != self._chosen:
            self._chosen = tuple(numbers)
            self.numbers = mx.array(self._chosen, mx.int32)
            self._factors = {}

    def factors(self, ranks: _Ranks) -> mx.array:
        """What the rows multiply the thin products ``[B, L, R]`` of all networks by, ``[B, 1, R]``.

        It is the scale for those of the row's own network, and 0 for all others.
        """
        if ranks not in self._factors:
            rows = [
                [
                    scale * (number == own)
                    for number, (rank, scale) in enumerate(ranks)
                    for _ in range(rank)
                ]
                for own in self._chosen
            ]
            self._factors[ranks] = mx.array(rows, mx.float32)[:, None]
        return self._factors[ranks]

    @contextmanager
    def being(self, numbers: mx.array) -> Iterator[None]:
        """Take other ``numbers`` for steps that are recorded, whatever they are."""
        before, self.numbers = self.numbers, numbers
        try:
            yield
        finally:
            self.numbers = before


class Members:
    """A layer in each network: with what its adapter adds, or None where that is nothing."""

    def __init__(self, layers: Sequence[LowRankLinear | None]) -> None:
        self.layers = tuple(layers)
        self.ranks: _Ranks = tuple(
            (0, 0.0) if each is None else (each.lora_b.shape[0], each.scale) for each in layers
        )


class MixedLinear(nn.Module):
    """A linear layer to which each row's adapter adds its own low-rank product.

    The matrices of all adapters are multiplied as one, and the products of a row that are not its
    adapter's by 0. The layers of the networks keep views of it.

    Attributes:
        linear: The layer with the weights ``[N, K]``, which all networks have.
        lora_a: ``[K, R]``: those of all adapters side by side.
        lora_b: ``[R, N]``: one below the other.
    """

    def __init__(self, linear: nn.Module, members: Members, choice: RowChoice) -> None:
        super().__init__()
        self.linear = linear
        self.members = members
        self.choice = choice

    def stack(self) -> None:
        """Put the adapters' matrices into one; needed where the layer computes by itself."""
        layers = [each for each in self.members.layers if each is not None]
        columns = mx.concatenate([each.lora_a.T for each in layers])
        rows = mx.concatenate([each.lora_b for each in layers])
        mx.eval(columns, rows)
        self.lora_a, self.lora_b = columns.T, rows
        start = 0
        for each in layers:
            end = start + each.lora_b.shape[0]
            if each.lora_a.dtype == columns.dtype and each.lora_b.dtype == rows.dtype:
                each.lora_a, each.lora_b = columns[start:end].T, rows[start:end]
                mx.eval(each.lora_a, each.lora_b)
            start = end

    def __call__(self, x: mx.array) -> mx.array:
        """``x`` ``[B, L, K]`` to ``[B, L, N]``."""
        out = self.linear(x)
        inner = x @ self.lora_a
        inner = inner * self.choice.factors(self.members.ranks).astype(inner.dtype)
        return mx.addmm(out, inner, self.lora_b).astype(out.dtype)


class _ApartError(Exception):
    """A network differs in more than the additions to linear layers."""


@dataclass(frozen=True, slots=True, eq=False)
class Mixed:
    """Networks that can be computed together, by their numbers, and the one that does."""

    members: tuple[Gemma4, ...]
    network: Gemma4
    choice: RowChoice


def mixed(base: Gemma4, networks: Sequence[Gemma4], *, native: bool) -> Mixed | None:
    """What computes those of ``networks`` together that are ``base`` but for low-rank additions.

    None if these are fewer than two. A network differs in more if it has a table, experts, a head
    or whole tensors of its own in the language model, and without the native part if it is a DoRA
    or adds a bias. What the towers are like does not matter. ``native`` is whether the network will
    compute with the native part, and if so it has to be moved there; else each ``MixedLinear`` of
    it has to ``stack`` its matrices. Nothing is computed.
    """
    found: list[tuple[Gemma4, dict[str, LowRankLinear]]] = []
    for network in networks:
        try:
            changes = dict(_changes(base.language_model, network.language_model, "", native))
        except _ApartError:
            continue
        found.append((network, changes))
    paths = sorted({path for _, changes in found for path in changes})
    if len(found) < 2 or not paths:
        return None
    choice = RowChoice()
    layers: dict[tuple[str, ...], nn.Module] = {}
    for path in paths:
        members = Members([changes.get(path) for _, changes in found])
        linear = next(each.linear for each in members.layers if each is not None)
        layers[tuple(path.split("."))] = MixedLinear(linear, members, choice)
    twin = copied(base)
    twin.language_model = changed_tree(base.language_model, layers)
    before, after = (each.language_model.model.layers for each in (base, twin))
    for old, new in zip(before, after, strict=True):
        if new is not old:
            new.choice = choice
    return Mixed(tuple(network for network, _ in found), cast(Gemma4, twin), choice)


def _changes(base: Any, other: Any, path: str, native: bool) -> Iterator[tuple[str, LowRankLinear]]:
    """The paths of linear layers with an addition, and these layers. Raises _ApartError."""
    if other is base:
        return
    if isinstance(other, LowRankLinear):
        if other.linear is not base or not (native or _is_plain(other)):
            raise _ApartError
        yield path, other
        return
    for name, one, two in _pairs(base, other):
        yield from _changes(one, two, f"{path}.{name}" if path else name, native)


def _is_plain(layer: LowRankLinear) -> bool:
    return "m" not in layer and "lora_bias" not in layer


def _pairs(base: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    """What two modules or lists hold under the same names. Raises _ApartError."""
    one, two = _content(base), _content(other)
    if type(other) is not type(base) or one.keys() != two.keys():
        raise _ApartError
    for name, value in one.items():
        yield name, value, two[name]


def _content(node: Any) -> dict[str, Any]:
    if isinstance(node, list):
        return {str(number): each for number, each in enumerate(node)}
    if isinstance(node, nn.Module):
        return {k: v for k, v in dict.items(node) if k not in KEPT_OF_A_RUN}
    raise _ApartError
