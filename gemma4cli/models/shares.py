"""Which part of each tensor one of several processes holds, as data: a table by role.

    rows of queries, keys and values   whole heads
    columns of the attention's output  those heads
    rows and columns of MLPs, experts  a part of the inner width, the same of every expert
    rows of vocabularies               a part of the tokens
    towers, projections of media       the first process only
    everything else                    every process

Keys and values that fewer heads share than there are processes are in several of them. Where a
part of columns ends within a group of quantized numbers, both neighbors hold that group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Literal

from .names import EMBEDDINGS, HEAD
from .text_config import LayerType, TextConfig

Role = Literal["queries", "keys", "attended", "inner", "narrowed", "vocabulary", "per layer"]

_ROLES: Mapping[str, Role] = {
    "self_attn.q_proj": "queries",
    "self_attn.k_proj": "keys",
    "self_attn.v_proj": "keys",
    "self_attn.o_proj": "attended",
    "mlp.gate_proj": "inner",
    "mlp.up_proj": "inner",
    "mlp.down_proj": "narrowed",
    "experts.gate_up_proj": "inner",
    "experts.down_proj": "narrowed",
    "experts.switch_glu.gate_proj": "inner",
    "experts.switch_glu.up_proj": "inner",
    "experts.switch_glu.down_proj": "narrowed",
}
_TABLES: Mapping[str, Role] = {
    EMBEDDINGS: "vocabulary",
    HEAD: "vocabulary",
    "language_model.model.embed_tokens_per_layer.": "per layer",
}
_LAYER = re.compile(
    r"^language_model\.model\.layers\.(\d+)\.([a-z0-9_.]+?)(?:\.(weight|scales|biases))?$"
)
_LANGUAGE = "language_model."

Range = tuple[int, int]
"""First and last, half open."""

_UNITS = (128, 64, 32, 16, 8, 4, 2)
"""Widths that parts are a multiple of, widest first: products of such widths are faster."""
_GROUPS_EACH = 4
"""Groups of quantized numbers that a part has at least, or it may end within one."""


def parts(total: int, count: int, group: int = 1) -> list[Range]:
    """``total`` columns in ``count`` parts as even as possible.

    Where they are quantized in groups, no group is cut if there are enough; the first part, whose
    process has the towers, is then the smaller one. Raises ValueError if there are fewer columns
    than parts.
    """
    if total < count:
        raise ValueError(f"{total} numbers cannot be divided among {count} processes")
    unit = next((unit for unit in _UNITS if total % (unit * count) == 0), 1)
    if unit % group and total % group == 0 and total // group >= _GROUPS_EACH * count:
        unit = group
    return [(unit * first, unit * last) for first, last in _even(total // unit, count)]


def _even(total: int, count: int) -> list[Range]:
    ends = [total * number // count for number in range(count + 1)]
    return list(pairwise(ends))


@dataclass(frozen=True, kw_only=True, slots=True)
class Heads:
    """The heads of one process, and of keys and values the heads that they read.

    If there are more processes than heads, some do not ``count``: they hold heads of another.
    """

    queries: Range
    keys: Range
    counts: bool = True

    @property
    def number(self) -> int:
        return self.queries[1] - self.queries[0]

    @property
    def number_of_keys(self) -> int:
        return self.keys[1] - self.keys[0]


def heads_of(heads: int, key_heads: int, rank: int, count: int) -> Heads:
    """The share of the process ``rank`` of ``count``.

    Whole heads of keys with their queries if there are enough; else a part of one's queries.
    """
    together = heads // key_heads
    if count <= key_heads:
        first, last = _even(key_heads, count)[rank]
        return Heads(queries=(first * together, last * together), keys=(first, last))
    groups = _even(count, key_heads)
    key, (start, end) = next(each for each in enumerate(groups) if each[1][0] <= rank < each[1][1])
    sharing = min(end - start, together)
    counts = rank - start < sharing
    first, last = _even(together, sharing)[min(rank - start, sharing - 1)]
    base = key * together
    return Heads(queries=(base + first, base + last), keys=(key, key + 1), counts=counts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """The part of a tensor along ``axis`` that a process holds, as ranges that follow each other.

    ``axis`` counts from the end. None is all of it.
    """

    axis: int = -1
    ranges: tuple[Range, ...] | None = None

    def shape(self, whole: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the part of a tensor of shape ``whole``."""
        if self.ranges is None:
            return whole
        found = list(whole)
        found[self.axis] = sum(last - first for first, last in self.ranges)
        return tuple(found)


WHOLE = Piece()


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """The part of a model that the process ``rank`` of ``count`` holds.

    ``text`` is the config of the whole language model; ``group`` is the size of groups of quantized
    numbers in MLPs, 1 without; ``rows_per_layer`` are those of the table of per-layer embeddings.
    """

    rank: int
    count: int
    text: TextConfig
    group: int = 1
    rows_per_layer: Range = (0, 0)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def rows(self) -> Range:
        """Of the embeddings, and of the head."""
        return parts(self.text.vocab_size, self.count)[self.rank]

    def heads(self, kind: LayerType) -> Heads:
        text = self.text
        full = kind == "full_attention"
        keys = text.num_global_kv_heads if full and text.k_eq_v else None
        return heads_of(text.num_heads, keys or text.num_kv_heads, self.rank, self.count)

    def inner(self, width: int) -> Range:
        """The part of an MLP's inner width."""
        return parts(width, self.count, self.group)[self.rank]

    @property
    def sizes(self) -> TextConfig:
        """The language model's config with the sizes that this process's memory depends on."""
        own = self.layer_config("sliding_attention")
        full = self.heads("full_attention").number_of_keys
        return replace(own, num_global_kv_heads=full)

    def layer_config(self, kind: LayerType) -> TextConfig:
        """The sizes of this process's part of a layer."""
        text, heads = self.text, self.heads(kind)
        first, last = self.inner(text.intermediate_size)
        moe = text.moe
        if moe is not None:
            start, end = self.inner(moe.intermediate_size)
            moe = replace(moe, intermediate_size=end - start)
        return replace(
            text,
            num_heads=heads.number,
            num_kv_heads=heads.number_of_keys,
            num_global_kv_heads=heads.number_of_keys,
            intermediate_size=last - first,
            moe=moe,
        )

    def pieces(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Piece]:
        """The part of each tensor that this process holds; without those that it does not need.

        ``shapes`` are those of the whole checkpoint's tensors by their canonical names.
        """
        return {
            name: self._piece(name, shape, shapes)
            for name, shape in shapes.items()
            if self.is_first or name.startswith(_LANGUAGE)
        }

    def padding(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, int]]:
        """Columns before and after its own that the process holds of matrices, by their path.

        They complete groups of quantized numbers. ``shapes`` as in ``pieces``.
        """
        found = {}
        for name, shape in shapes.items():
            match = _LAYER.match(name)
            role = _role(name)
            if match is None or match.group(3) != "scales" or role not in ("attended", "narrowed"):
                continue
            (first, last), width = self._columns(name, role)
            start, end = _aligned(first, last, width // shape[-1])
            if (first - start, end - last) != (0, 0):
                found[name.removesuffix(".scales")] = (first - start, end - last)
        return found

    def _piece(
        self, name: str, shape: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]]
    ) -> Piece:
        role = _role(name)
        if role is None:
            return WHOLE
        if role == "vocabulary":
            return Piece(axis=-2, ranges=(self.rows,))
        if role == "per layer":
            return Piece(axis=-2, ranges=(self.rows_per_layer,))
        if role in ("attended", "narrowed"):
            (first, last), width = self._columns(name, role)
            base = (
                name.rpartition(".")[0]
                if name.endswith((".weight", ".scales", ".biases"))
                else name
            )
            scales = shapes.get(f"{base}.scales")
            if scales is not None:
                first, last = _aligned(first, last, width // scales[-1])
            stored = shape[-1]
            return Piece(ranges=((first * stored // width, last * stored // width),))
        if role == "inner":
            return self._inner_rows(name, shape)
        heads, size = self.heads(self._kind(name)), self._head_size(name)
        first, last = heads.queries if role == "queries" else heads.keys
        return Piece(axis=-2, ranges=((first * size, last * size),))

    def _inner_rows(self, name: str, shape: tuple[int, ...]) -> Piece:
        fused = ".experts.gate_up_proj" in name
        width = shape[-2] // 2 if fused else shape[-2]
        first, last = self._of_width(name, width)
        own = ((first, last), (width + first, width + last)) if fused else ((first, last),)
        return Piece(axis=-2, ranges=own)

    def whole(self, name: str) -> int | None:
        """How long the axis of a tensor is in all that is divided; None for none."""
        role = _role(name)
        if role is None:
            return None
        if role == "vocabulary":
            return self.text.vocab_size
        if role == "per layer":
            return self.text.ple_vocab_size
        if role in ("queries", "keys"):
            heads = replace(self, rank=0, count=1).heads(self._kind(name))
            number = heads.number if role == "queries" else heads.number_of_keys
            return number * self._head_size(name)
        width = self._columns(name, role)[1]
        return 2 * width if ".experts.gate_up_proj" in name else width

    def is_by_columns(self, name: str) -> bool:
        """Whether the processes hold columns of a matrix, and add up its outputs."""
        return _role(name) in ("attended", "narrowed")

    def counts(self, name: str) -> bool:
        """Whether this process's part of a matrix is its own, not that of another one."""
        return _role(name) != "attended" or self.heads(self._kind(name)).counts

    def columns(self, name: str) -> int:
        """How many columns a matrix of an MLP or of experts has in all."""
        return self._columns(name, "narrowed")[1]

    def _columns(self, name: str, role: Role) -> tuple[Range, int]:
        """The columns that this process needs of a matrix, and how many there are in all."""
        if role == "attended":
            size = self._head_size(name)
            first, last = self.heads(self._kind(name)).queries
            return (first * size, last * size), self.text.num_heads * size
        moe = self.text.moe
        if ".experts." in name and moe is not None:
            width = moe.intermediate_size
        else:
            doubled = self.text.double_wide_mlp and 0 < self.text.num_stored_layers <= _layer(name)
            width = self.text.intermediate_size * (2 if doubled else 1)
        return self._of_width(name, width), width

    def _of_width(self, name: str, width: int) -> Range:
        """The part of an inner width; of a doubled one, twice that of the others."""
        single = self.text.intermediate_size
        if ".experts." not in name and width == 2 * single:
            first, last = self.inner(single)
            return 2 * first, 2 * last
        return self.inner(width)

    def _kind(self, name: str) -> LayerType:
        return self.text.layer_types[min(_layer(name), self.text.num_layers - 1)]

    def _head_size(self, name: str) -> int:
        full = self._kind(name) == "full_attention"
        return self.text.global_head_dim if full else self.text.head_dim


def _layer(name: str) -> int:
    match = _LAYER.match(name)
    assert match is not None, "only tensors of layers are asked about"
    return int(match.group(1))


def _role(name: str) -> Role | None:
    for prefix, role in _TABLES.items():
        if name.startswith(prefix):
            return role
    match = _LAYER.match(name)
    return None if match is None else _ROLES.get(match.group(2))


def _aligned(first: int, last: int, group: int) -> Range:
    return first // group * group, -(-last // group) * group


def shares_of(
    text: TextConfig, sizes: Mapping[str, tuple[tuple[int, ...], int]], count: int
) -> list[Share]:
    """The parts of a model for ``count`` processes.

    ``sizes`` are shapes and bytes by canonical names. What the first process holds alone is made
    up by its part of the table of per-layer embeddings, of which a token reads one row.

    Raises ValueError if a part cannot be divided so often.
    """
    shapes = {name: shape for name, (shape, _) in sizes.items()}
    whole = Share(rank=0, count=1, text=text)
    groups = [
        whole.columns(name) // shape[-1]
        for name, shape in shapes.items()
        if name.endswith(".scales") and _role(name) == "narrowed"
    ]
    made = [
        Share(rank=rank, count=count, text=text, group=max(groups, default=1))
        for rank in range(count)
    ]
    rows = text.ple_vocab_size
    if not text.ple_size:
        return made
    table = sum(size for name, (_, size) in sizes.items() if _role(name) == "per layer")
    held = [
        sum(
            _bytes_of(piece, *sizes[name])
            for name, piece in share.pieces(shapes).items()
            if _role(name) != "per layer"
        )
        for share in made
    ]
    ends = [0, *_filled(held, table, rows)]
    return [
        replace(share, rows_per_layer=bounds)
        for share, bounds in zip(made, pairwise(ends), strict=True)
    ]


_FEWEST_ROWS = 32
"""Of a table: MLX does not quantize a single row in every format."""


def _filled(held: list[int], table: int, rows: int) -> Iterator[int]:
    """The ends of parts of ``rows`` rows with which all processes hold about as many bytes."""
    unit = _FEWEST_ROWS if rows >= 2 * _FEWEST_ROWS * len(held) else 1
    average = (sum(held) + table) / len(held)
    wanted = [max(average - each, 0.0) for each in held]
    done, end, units = 0.0, 0, rows // unit
    for following, each in zip(reversed(range(len(held))), wanted, strict=True):
        done += each
        fair = round(units * done / (sum(wanted) or 1.0))
        end = min(max(fair, end + 1), units - following)
        yield rows if following == 0 else end * unit


def _bytes_of(piece: Piece, shape: tuple[int, ...], size: int) -> int:
    return size * prod(piece.shape(shape)) // max(1, prod(shape))


def bytes_by_name(share: Share, sizes: Mapping[str, tuple[tuple[int, ...], int]]) -> dict[str, int]:
    """Bytes of each tensor that a process holds; ``sizes`` as in ``shares_of``."""
    shapes = {name: shape for name, (shape, _) in sizes.items()}
    pieces = share.pieces(shapes)
    return {name: _bytes_of(piece, *sizes[name]) for name, piece in pieces.items()}
