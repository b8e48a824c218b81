"""Adapters in several processes: each changes the parts of layers that it holds.

What is added to a part of a matrix's rows is a part of B's rows, and to a part of its columns a
part of A's columns: the sum over processes of what these add is what the whole ones add. Only the
first process needs the adapter's files. The others get its tensors from it, one after the other,
and keep their parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from .adapters import (
    Change,
    LowRank,
    MisfitError,
    Replaced,
    adapted,
    copied,
    of_each_matrix,
    shapes,
)
from .gemma4 import Gemma4
from .low_rank import LOW_RANK, LowRankEmbedding, summed_rows
from .mirrored import lead_apart
from .sharded_text import Padded
from .shares import Range, Share

_LANGUAGE = "language_model."
_INNER = ".inner"
"""The matrix in a ``Padded`` one."""


def lead_adapted(network: Gemma4, changes: Sequence[Change], *, head_follows: bool) -> Gemma4:
    """``adapted`` for the first process's part of a network, in all of them.

    Raises MisfitError before anything is told.
    """
    mirror = network.language_model._mirror
    separate = [each for change in changes for each in _separate(change, network)]
    twin = _adapted(network, separate, head_follows=head_follows)
    told = [each for each in separate if _name(each).startswith(_LANGUAGE)]
    encoded = [[type(each).__name__, *_values(each)] for each in told]
    number = mirror.followers.next_number()
    for array in mirror.call("adapt", number, head_follows, encoded):
        mx.eval(array)
    lead_apart(twin.language_model, number)
    return twin


def follow_adapted(
    network: Gemma4, encoded: Sequence[Sequence[Any]], *, head_follows: bool
) -> Gemma4:
    """What ``lead_adapted`` tells; arrays in ``encoded`` are not computed yet."""
    found = []
    for kind, *values in encoded:
        for each in values:
            if isinstance(each, mx.array):
                mx.eval(each)
        made = _KINDS[kind]
        found.append(made(**dict(zip(_names(made), values, strict=True))))
    return _adapted(network, found, head_follows=head_follows)


_KINDS: Mapping[str, type[Change]] = {each.__name__: each for each in (LowRank, Replaced)}


def _names(kind: type[Change]) -> list[str]:
    return [each.name for each in fields(kind)]


def _values(change: Change) -> list[object]:
    return [getattr(change, name) for name in _names(type(change))]


def compute_norms(network: Gemma4) -> None:
    """``compute_norms`` of all layers that have one; all processes do it together.

    The norm of a row is that of all its columns, wherever they are.
    """
    language = network.language_model
    share: Share = language._share
    modules = dict(network.named_modules())
    for path, layer in modules.items():
        if not isinstance(layer, LOW_RANK) or "m" not in layer:
            continue
        outer = path.removesuffix(_INNER)
        if share.is_by_columns(f"{outer}.weight"):
            squares = _squares_of_rows(layer, modules[outer])
            if not share.counts(f"{outer}.weight"):
                squares = mx.zeros_like(squares)
        elif isinstance(layer, LowRankEmbedding) and not layer.is_by_row:
            squares = _squares_of_columns(layer)
        else:
            layer.compute_norms()
            continue
        layer["_kept_share"] = layer.m.astype(mx.float32) / mx.sqrt(language._group.sum(squares))
        mx.eval(layer["_kept_share"])


def _squares_of_rows(layer: nn.Module, outer: nn.Module) -> mx.array:
    """The sums ``[N]`` of squares of this process's columns."""
    before, after = outer.padding if isinstance(outer, Padded) else (0, 0)
    found = []
    for rows in _chunks(layer.linear, layer.lora_b.T, layer.lora_a.T, layer.scale):
        found.append(mx.square(rows[:, before : rows.shape[1] - after]).sum(axis=1))
        mx.eval(found[-1])
    return mx.concatenate(found)


def _squares_of_columns(layer: nn.Module) -> mx.array:
    """The sums ``[D]`` of squares of this process's rows of a table."""
    found = mx.zeros((layer.lora_b.shape[1],))
    for rows in _chunks(layer.embedding, layer.lora_a, layer.lora_b, layer.scale):
        found = found + mx.square(rows).sum(axis=0)
        mx.eval(found)
    return found


def _chunks(layer: nn.Module, left: mx.array, right: mx.array, scale: float) -> Iterator[mx.array]:
    start = 0
    while start < left.shape[0]:
        rows = summed_rows(layer, left, right, scale, start)
        yield rows
        start += rows.shape[0]


def _separate(change: Change, network: Gemma4) -> list[Change]:
    """``change`` by matrices; those of all experts have one shape in no process but all together.

    Raises MisfitError for one that does not fit the whole network.
    """
    moe = network.config.text.moe
    found: list[Change] = [change]
    if isinstance(change, LowRank) and change.path.endswith(".experts") and moe is not None:
        size = network.config.text.hidden_size
        found = [*of_each_matrix(change, moe.num_experts, moe.intermediate_size, size)]
    share: Share = network.language_model._share
    for each in found:
        _check(each, share)
    return found


def _check(change: Change, share: Share) -> None:
    """Raise MisfitError unless the axis that is divided is as long as in the whole network."""
    name = _name(change)
    length = share.whole(name)
    if length is None:
        return
    by_columns = share.is_by_columns(name)
    if isinstance(change, Replaced):
        value, axis = change.value, -1 if by_columns else -2
    elif by_columns or change.of_table:
        value, axis = change.a, -1
    else:
        value, axis = change.b, -2
    expected = list(value.shape)
    if value.ndim < 2 or expected[axis] == length:
        return
    expected[axis] = length
    raise MisfitError(change.tensor, shapes(value.shape, expected))


def _name(change: Change) -> str:
    return change.name if isinstance(change, Replaced) else f"{change.path}.weight"


def _adapted(network: Gemma4, changes: Sequence[Change], *, head_follows: bool) -> Gemma4:
    """``network`` with the parts of ``changes`` that are about this process's part of it."""
    modules = dict(network.named_modules())
    share: Share = network.language_model._share
    own = [part for each in changes if (part := _own(each, share, modules)) is not None]
    twin = adapted(network, own, head_follows=head_follows)
    # Their own ones, if only towers are changed too: they know the number of their network.
    twin.language_model = copied(twin.language_model)
    twin.language_model.model = copied(twin.language_model.model)
    return twin


def _own(change: Change, share: Share, modules: Mapping[str, nn.Module]) -> Change | None:
    name = _name(change)
    shape = tuple(change.value.shape) if isinstance(change, Replaced) else _shape(change)
    piece = share.pieces({name: shape}).get(name)
    if piece is None or piece.ranges is None:
        return None if piece is None else change
    ranges = piece.ranges
    path = name.removesuffix(".weight").replace(
        ".experts.down_proj", ".experts.switch_glu.down_proj"
    )
    outer = modules.get(path)
    if isinstance(outer, Padded):
        (first, last), (before, after) = ranges[0], outer.padding
        ranges = ((first - before, last + after),)
        path += _INNER
    if isinstance(change, Replaced):
        name = f"{path}.weight" if isinstance(outer, Padded) else name
        return replace(change, name=name, value=_part(change.value, piece.axis, ranges))
    if piece.axis == -1:
        bias = change.bias if share.is_first else None
        return replace(change, path=path, a=_part(change.a, -1, ranges), bias=bias)
    m, bias = change.magnitude, change.bias
    if m is not None and m.shape[0] == shape[-2]:
        m = _part(m, -1, ranges)
    if bias is not None:
        bias = _part(bias, -1, ranges)
    if change.of_table:
        return replace(change, a=_part(change.a, -1, ranges), magnitude=m, bias=bias)
    return replace(change, b=_part(change.b, -2, ranges), magnitude=m, bias=bias)


def _shape(change: LowRank) -> tuple[int, ...]:
    """That of the weights to which something is added."""
    if change.of_table:
        return change.a.shape[-1], change.b.shape[-2]
    return (*change.b.shape[:-1], change.a.shape[-1])


def _part(value: mx.array, axis: int, ranges: Sequence[Range]) -> mx.array:
    """Ranges of a tensor along ``axis``, and nothing that keeps the rest of it."""
    index: list[slice] = [slice(None)] * value.ndim
    found = []
    for first, last in ranges:
        index[axis] = slice(first, last)
        found.append(value[tuple(index)])
    part = mx.contiguous(found[0] if len(found) == 1 else mx.concatenate(found, axis=axis))
    return part
