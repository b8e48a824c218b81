"""How a model is divided, by the lists of tensors of the published checkpoints."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import pytest
from support.published import config_of, tensor_lists

from gemma4cli.models.config import Gemma4Config
from gemma4cli.models.names import canonical_names
from gemma4cli.models.shares import Heads, bytes_by_name, heads_of, parts, shares_of

PUBLISHED = {
    "12B.mlx-community-4bit": "mlx-community__gemma-4-12B-it-4bit",
    "26B-A4B.google-hf-bf16": "google__gemma-4-26B-A4B-it",
    "26B-A4B.mlx-community-4bit": "mlx-community__gemma-4-26b-a4b-it-4bit",
    "31B.mlx-community-4bit": "mlx-community__gemma-4-31b-it-4bit",
    "E2B.google-hf-bf16": "google__gemma-4-E2B-it",
    "E2B.mlx-community-4bit": "mlx-community__gemma-4-e2b-it-4bit",
    "E4B.mlx-community-4bit": "mlx-community__gemma-4-e4b-it-4bit",
}
_BYTES = {"BF16": 2, "U32": 4}

Sizes = dict[str, tuple[tuple[int, ...], int]]


def published(name: str) -> tuple[Gemma4Config, Sizes]:
    tensors = tensor_lists()[name]
    sizes = {}
    for given, canonical in canonical_names(tensors).items():
        dtype, shape = tensors[given]
        sizes[canonical] = tuple(shape), prod(shape) * _BYTES[dtype]
    return Gemma4Config.from_dict(config_of(PUBLISHED[name])), sizes


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_of_two_processes_holds_about_half(name: str) -> None:
    config, sizes = published(name)
    total = sum(size for _, size in sizes.values())
    shares = shares_of(config.text, sizes, 2)
    held = [sum(bytes_by_name(share, sizes).values()) / total for share in shares]
    assert max(held) <= 0.55
    assert sum(held) >= 1


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("count", [2, 3])
def test_together_the_parts_are_the_whole(name: str, count: int) -> None:
    """Every element of every tensor is in some process's part."""
    config, sizes = published(name)
    shapes = {tensor: shape for tensor, (shape, _) in sizes.items()}
    first, *others = [share.pieces(shapes) for share in shares_of(config.text, sizes, count)]
    for tensor, shape in shapes.items():
        if first[tensor].ranges is not None:
            pieces = [first[tensor], *(each[tensor] for each in others)]
            ranges = sorted(each for piece in pieces for each in piece.ranges or ())
            assert ranges[0][0] == 0
            assert all(end >= start for (_, end), (start, _) in pairwise(ranges))
            assert max(end for _, end in ranges) == shape[first[tensor].axis]


@pytest.mark.parametrize("count", [2, 4])
def test_no_group_of_quantized_numbers_is_read_twice_by_two(count: int) -> None:
    for name in PUBLISHED:
        if name.endswith("4bit"):
            config, sizes = published(name)
            shapes = {tensor: shape for tensor, (shape, _) in sizes.items()}
            for share in shares_of(config.text, sizes, count):
                padded = share.padding(shapes)
                # Of the 26B's 704 columns, 11 groups of 64, four parts are too few for whole ones.
                assert not padded or (name.startswith("26B") and count == 4)


@pytest.mark.parametrize("keys", [1, 2, 4, 8])
@pytest.mark.parametrize("count", range(1, 10))
def test_every_head_counts_once_and_has_its_keys(keys: int, count: int) -> None:
    heads = 8
    found = [heads_of(heads, keys, rank, count) for rank in range(count)]
    counted = [each for each in found if each.counts]
    assert sorted(h for each in counted for h in range(*each.queries)) == list(range(heads))
    for each in found:
        assert each.number > 0
        assert each.number % each.number_of_keys == 0
        together = heads // keys
        of = {head // together for head in range(*each.queries)}
        assert of == set(range(*each.keys))


def test_more_processes_than_heads_hold_some_twice() -> None:
    assert [heads_of(2, 1, rank, 4) for rank in (1, 2)] == [
        Heads(queries=(1, 2), keys=(0, 1)),
        Heads(queries=(1, 2), keys=(0, 1), counts=False),
    ]


def test_parts_do_not_cut_groups_if_there_are_enough() -> None:
    assert parts(704, 2) == [(0, 352), (352, 704)]
    assert parts(704, 2, 64) == [(0, 320), (320, 704)]
    assert parts(48, 2, 16) == [(0, 24), (24, 48)]


def test_too_few_columns_cannot_be_divided() -> None:
    with pytest.raises(ValueError, match="3 numbers cannot be divided among 4 processes"):
        parts(3, 4)
