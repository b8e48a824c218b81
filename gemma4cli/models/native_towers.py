"""Steps that both towers take on the native part. Import only where the native part is in use."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from ..native import _native as native
from .layers import ClippedLinear
from .native_layers import bias_of, matrix
from .native_low_rank import is_plain


class NativeClippedLinear(ClippedLinear):
    def __call__(self, x: mx.array) -> mx.array:
        if not is_plain(self.linear):
            return super().__call__(x)
        linear = self.linear
        return native.linear(x, *matrix(linear), clip=self._limits(), adapter=bias_of(linear))

    def _limits(self) -> mx.array | None:
        """The bounds of input and output as one array ``[4]``, made on first use."""
        if not self.clipped:
            return None
        if "_bounds" not in self:
            bounds = (self.input_min, self.input_max, self.output_min, self.output_max)
            self["_bounds"] = mx.stack([bound.astype(mx.float32) for bound in bounds])
        return self["_bounds"]


CLASSES: dict[type[nn.Module], type[nn.Module]] = {ClippedLinear: NativeClippedLinear}
