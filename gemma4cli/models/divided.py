"""Give the layers of a network the classes with which one of several processes computes."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.nn as nn

from .language import LanguageModel, TextModel
from .sharded_text import Group, Padded, ShardedLanguageModel, ShardedLayer, ShardedTextModel
from .shares import Share
from .text_layer import TextLayer

_CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    TextLayer: ShardedLayer,
    TextModel: ShardedTextModel,
    LanguageModel: ShardedLanguageModel,
}


def divide(
    network: nn.Module,
    share: Share,
    group: Group,
    padding: Mapping[str, tuple[int, int]],
    *,
    native: bool = False,
) -> None:
    """Let a network with the weights of ``share`` compute together with those of the others.

    ``native`` is whether its layers are those of the native part.
    """
    classes = _CLASSES
    if native:
        from .native_sharded import CLASSES as classes
    modules = dict(network.named_modules())
    for path, (before, after) in padding.items():
        parent, _, name = path.rpartition(".")
        padded = Padded(modules[path], before, after)
        padded.__class__ = classes.get(Padded, Padded)
        modules[parent][name] = padded
    language = network.language_model
    for module in (language, language.model):
        module.__class__ = classes[type(module)]
        module._group, module._share = group, share
    for layer, kind in zip(language.model.layers, share.text.layer_types, strict=True):
        layer.__class__ = classes[type(layer)]
        layer._group, layer._counts = group, share.heads(kind).counts
