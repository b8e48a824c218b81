"""Layers with a low-rank addition: LoRA, and DoRA where there are magnitudes.

Names and shapes of tensors are those of mlx-lm's LoRALinear, LoRASwitchLinear, LoRAEmbedding and
DoRALinear, so a network's tensors have the names of mlx-lm's adapter files. Unlike those, a layer
works on any layer around which it is put (quantized, of the native part, split over a CPU's cores),
and the norms of DoRA are computed once, not at each call.
"""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx
import mlx.nn as nn

_ROWS = 4096
"""Rows of a matrix that are unpacked at once."""


class LowRankLinear(nn.Module):
    """``linear(x) + scale * x lora_a lora_b``, for a linear layer of any kind.

    Attributes:
        linear: The layer with the weights ``[N, K]``, and its own bias if it has one.
        lora_a: ``[K, r]``.
        lora_b: ``[r, N]``.
        scale: The factor of the product; PEFT's alpha / r, mlx-lm's "scale".
        m: Magnitudes ``[N]`` of DoRA. With them each output but for the layer's bias is multiplied
            by ``m / norm``, where norm is that of its row of the summed weights.
        lora_bias: Bias ``[N]`` of PEFT's lora_B, which is multiplied by ``scale`` too.
    """

    def __init__(
        self,
        linear: nn.Module,
        lora_a: mx.array,
        lora_b: mx.array,
        scale: float,
        m: mx.array | None = None,
        lora_bias: mx.array | None = None,
    ) -> None:
        super().__init__()
        self.linear = linear
        self.lora_a = lora_a
        self.lora_b = lora_b
        self.scale = scale
        if m is not None:
            self.m = m
        if lora_bias is not None:
            self.lora_bias = lora_bias

    def __call__(self, x: mx.array) -> mx.array:
        out = self.linear(x)
        bias = self.linear.get("bias") if "m" in self else None
        if bias is not None:
            out = out - bias
        summed = mx.addmm(out, x @ self.lora_a, self.lora_b, alpha=self.scale)
        if "lora_bias" in self:
            summed = summed + self.scale * self.lora_bias
        if "m" in self:
            summed = summed * self._share()
        summed = summed.astype(out.dtype)
        return summed if bias is None else summed + bias

    def _share(self) -> mx.array:
        """What DoRA multiplies outputs by, ``[N]``; kept when the layer is not being trained."""
        if self.training:
            norms = row_norms(self.linear, self.lora_b.T, self.lora_a.T, self.scale)
            return self.m / mx.stop_gradient(norms)
        if "_kept_share" not in self:
            self.compute_norms()
        return self["_kept_share"]

    def compute_norms(self) -> None:
        """Compute what DoRA needs of the weights, which reads them all; nothing without DoRA."""
        if "m" in self:
            norms = row_norms(self.linear, self.lora_b.T, self.lora_a.T, self.scale)
            self["_kept_share"] = self.m.astype(mx.float32) / norms
            mx.eval(self["_kept_share"])


class LowRankSwitchLinear(nn.Module):
    """``LowRankLinear`` for a matrix of each expert, around a SwitchLinear of any kind.

    Attributes:
        linear: The layer with the weights ``[E, N, K]``.
        lora_a: ``[E, r, K]``.
        lora_b: ``[E, N, r]``.
        scale: The factor of the product.
    """

    def __init__(self, linear: nn.Module, lora_a: mx.array, lora_b: mx.array, scale: float) -> None:
        super().__init__()
        self.linear = linear
        self.lora_a = lora_a
        self.lora_b = lora_b
        self.scale = scale

    def __call__(self, x: mx.array, indices: mx.array, sorted_indices: bool = False) -> mx.array:
        """``x`` ``[..., 1, K]`` and the experts' ``indices`` as SwitchLinear takes them."""
        out = self.linear(x, indices, sorted_indices=sorted_indices)
        return (out + self.low_rank(x, indices, sorted_indices)).astype(out.dtype)

    def low_rank(self, x: mx.array, indices: mx.array, sorted_indices: bool = False) -> mx.array:
        """The addition alone, ``[..., 1, N]``."""
        for matrices in (self.lora_a, self.lora_b):
            x = mx.gather_mm(
                x,
                matrices.swapaxes(-1, -2),
                rhs_indices=indices,
                sorted_indices=sorted_indices,
            )
        return self.scale * x


class LowRankEmbedding(nn.Module):
    """An embedding table of any kind with ``scale * lora_a lora_b`` added.

    Attributes:
        embedding: The layer with the table ``[V, D]``.
        lora_a: ``[V, r]``.
        lora_b: ``[r, D]``.
        scale: The factor of the product.
        m: Magnitudes of DoRA: ``[V]`` of rows (mlx-lm), or ``[D]`` of columns (PEFT).
    """

    def __init__(
        self,
        embedding: nn.Module,
        lora_a: mx.array,
        lora_b: mx.array,
        scale: float,
        m: mx.array | None = None,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.lora_a = lora_a
        self.lora_b = lora_b
        self.scale = scale
        if m is not None:
            self.m = m

    def __call__(self, ids: mx.array) -> mx.array:
        """Rows ``[..., D]`` of ``ids``."""
        rows = self.embedding(ids)
        summed = mx.addmm(rows, self.lora_a[ids], self.lora_b, alpha=self.scale)
        if "m" in self:
            share = self._share()
            summed = summed * (share[ids][..., None] if self.is_by_row else share)
        return summed.astype(rows.dtype)

    def as_linear(self, x: mx.array) -> mx.array:
        """``x`` ``[..., D]`` times the transposed table, ``[..., V]``."""
        columns = "m" in self and not self.is_by_row
        if columns:
            x = (x * self._share()).astype(x.dtype)
        out = self.embedding.as_linear(x)
        summed = mx.addmm(out, x @ self.lora_b.T, self.lora_a.T, alpha=self.scale)
        if "m" in self and not columns:
            summed = summed * self._share()
        return summed.astype(out.dtype)

    @property
    def is_by_row(self) -> bool:
        """Whether DoRA has a magnitude for each row of the table, not for each column."""
        return self.m.shape[0] == self.lora_a.shape[0]

    def _share(self) -> mx.array:
        if "_kept_share" not in self:
            self.compute_norms()
        return self["_kept_share"]

    def compute_norms(self) -> None:
        """See ``LowRankLinear.compute_norms``."""
        if "m" in self:
            norms = row_norms if self.is_by_row else _column_norms
            found = norms(self.embedding, self.lora_a, self.lora_b, self.scale)
            self["_kept_share"] = self.m.astype(mx.float32) / found
            mx.eval(self["_kept_share"])


LOW_RANK = (LowRankLinear, LowRankSwitchLinear, LowRankEmbedding)


def plain_rows(layer: nn.Module, start: int, end: int) -> mx.array:
    """Rows [start, end) of a layer's weights, in float32 if they are quantized.

    Of experts, all rows of these experts.
    """
    weight = layer["weight"][start:end]
    if "scales" not in layer:
        return weight
    scales, biases = layer["scales"][start:end], layer.get("biases")
    if biases is not None:
        # Scales of a narrow type would round what they scale to that type.
        scales, biases = (each.astype(mx.float32) for each in (scales, biases[start:end]))
    unpacked: mx.array = mx.dequantize(
        weight,
        scales,
        biases,
        group_size=layer.group_size,
        bits=layer.bits,
        mode=layer.mode,
        dtype=mx.float32,
    )
    return unpacked


def added_to_expert(layer: LowRankSwitchLinear, number: int) -> mx.array:
    """What a layer adds to the weights of an expert, ``[N, K]`` in float32."""
    left, right = (each[number].astype(mx.float32) for each in (layer.lora_b, layer.lora_a))
    return layer.scale * (left @ right)


def merged_rows(layer: nn.Module, weight: mx.array) -> Iterator[mx.array]:
    """``weight`` with the addition of a layer, in float32 and some rows at a time.

    Of experts, ``[E, N, K]``, one expert at a time.
    """
    if isinstance(layer, LowRankSwitchLinear):
        for number in range(weight.shape[0]):
            yield weight[number : number + 1].astype(mx.float32) + added_to_expert(layer, number)
        return
    left, right = layer.lora_a, layer.lora_b
    if isinstance(layer, LowRankLinear):
        left, right = layer.lora_b.T, layer.lora_a.T
    m = layer.get("m")
    plain = _Plain(weight)
    shares = None
    if m is not None and m.shape[0] != weight.shape[0]:
        shares = m / _column_norms(plain, left, right, layer.scale)
    for start in range(0, weight.shape[0], _ROWS):
        rows = summed_rows(plain, left, right, layer.scale, start)
        if shares is not None:
            rows = rows * shares
        elif m is not None:
            rows = rows * (m[start : start + _ROWS, None] / mx.linalg.norm(rows, axis=1)[:, None])
        yield rows


class _Plain(nn.Module):
    """Weights that are no layer's."""

    def __init__(self, weight: mx.array) -> None:
        super().__init__()
        self.weight = weight


def row_norms(layer: nn.Module, left: mx.array, right: mx.array, scale: float) -> mx.array:
    """Norms ``[N]`` of the rows of ``W + scale * left right``, in float32.

    ``left`` ``[N, r]``, ``right`` ``[r, K]``. Some thousand rows are computed at a time.
    """
    parts = []
    for start in range(0, left.shape[0], _ROWS):
        rows = summed_rows(layer, left, right, scale, start)
        parts.append(mx.linalg.norm(rows, axis=1))
        if not layer.training:
            mx.eval(parts[-1])
    return parts[0] if len(parts) == 1 else mx.concatenate(parts)


def _column_norms(layer: nn.Module, left: mx.array, right: mx.array, scale: float) -> mx.array:
    """As ``row_norms``, of the columns ``[K]``."""
    squares = mx.zeros((right.shape[1],))
    for start in range(0, left.shape[0], _ROWS):
        rows = summed_rows(layer, left, right, scale, start)
        squares = squares + mx.square(rows).sum(axis=0)
        mx.eval(squares)
    return mx.sqrt(squares)


def summed_rows(
    layer: nn.Module, left: mx.array, right: mx.array, scale: float, start: int
) -> mx.array:
    """Some thousand rows from ``start`` on of ``W + scale * left right``, in float32."""
    added = left[start : start + _ROWS].astype(mx.float32) @ right.astype(mx.float32)
    return plain_rows(layer, start, start + _ROWS).astype(mx.float32) + scale * added
