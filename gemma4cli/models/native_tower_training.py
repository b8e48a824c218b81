"""The towers as training runs them on the native part's kernels, which have gradients.

Import only where the native part is in use. What has none gives way to other steps: products that
clip, gated products in one, and the audio tower's attention, which takes MLX's operations.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from ..native import _native as native
from .audio_tower import AudioAttention, AudioTower
from .layers import ClippedLinear
from .native_audio import NativeAudioAttention, NativeAudioTower
from .native_towers import NativeClippedLinear
from .native_vision import NativeVisionMLP
from .vision_tower import VisionMLP


class LearningVisionMLP(VisionMLP):
    def __call__(self, x: mx.array) -> mx.array:
        return self.down_proj(native.activate("gelu", self.gate_proj(x), self.up_proj(x)))


_CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    NativeClippedLinear: ClippedLinear,
    NativeVisionMLP: LearningVisionMLP,
    NativeAudioAttention: AudioAttention,
    NativeAudioTower: AudioTower,
}


def use_tower_gradients(part: nn.Module) -> None:
    """Change the layers of a tower or a projection to those that have gradients.

    The stems before them, which nothing is learned in, stay as they are.
    """
    for module in part.modules():
        learning = _CLASSES.get(type(module))
        if learning is not None:
            module.__class__ = learning
