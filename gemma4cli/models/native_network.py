"""Move a network onto the native part's kernels. Import only where the native part is in use."""

from __future__ import annotations

import mlx.nn as nn

from . import native_audio, native_low_rank, native_towers, native_vision
from .language import LanguageModel, TextModel
from .native_layers import LAYERS, stored_names
from .native_text import NativeDecoderLayer, NativeLanguageModel, NativeTextModel
from .text_layer import TextLayer

_CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    **LAYERS,
    **native_low_rank.CLASSES,
    **native_towers.CLASSES,
    **native_vision.CLASSES,
    **native_audio.CLASSES,
    TextLayer: NativeDecoderLayer,
    LanguageModel: NativeLanguageModel,
    TextModel: NativeTextModel,
}


def use_native(network: nn.Module) -> set[str]:
    """Change the classes of ``network``'s layers, keeping their weights.

    Returns the names of the tensors that must not be widened: the kernels read them as stored.
    """
    for module in network.modules():
        replacement = _CLASSES.get(type(module))
        if replacement is not None:
            module.__class__ = replacement
    return stored_names(network)
