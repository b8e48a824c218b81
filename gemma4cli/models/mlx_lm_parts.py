"""The parts of mlx-lm that g4 uses: the decoder layer, matrices of experts and the KV caches.

``mlx_lm/__init__`` imports transformers, which takes most of a second at every start, and these
modules do not need it. They are therefore imported under an empty placeholder package, and all its
entries are removed from ``sys.modules`` afterwards, so a program that imports mlx_lm later gets the
real package. If mlx_lm is already loaded, its modules are used.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

__all__ = [
    "Attention",
    "DecoderLayer",
    "KVCache",
    "ModelArgs",
    "QuantizedSwitchLinear",
    "RotatingKVCache",
    "RowCache",
    "SwitchLinear",
    "geglu",
]

_PACKAGE = "mlx_lm"


def _import_parts(*names: str) -> list[ModuleType]:
    modules = [f"{_PACKAGE}.models.{name}" for name in names]
    if _PACKAGE in sys.modules:
        return [importlib.import_module(name) for name in modules]
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("mlx-lm is not installed; reinstall g4", name=_PACKAGE)
    package = ModuleType(_PACKAGE)
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules[_PACKAGE] = package
    try:
        return [importlib.import_module(name) for name in modules]
    finally:
        for name in [n for n in sys.modules if n.partition(".")[0] == _PACKAGE]:
            del sys.modules[name]


if TYPE_CHECKING:
    from mlx_lm.models.cache import KVCache, RotatingKVCache
    from mlx_lm.models.gemma4_text import Attention, DecoderLayer, ModelArgs, geglu
    from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
else:
    _text, _cache, _switch = _import_parts("gemma4_text", "cache", "switch_layers")

    Attention = _text.Attention
    ModelArgs = _text.ModelArgs
    DecoderLayer = _text.DecoderLayer
    geglu = _text.geglu
    KVCache = _cache.KVCache
    RotatingKVCache = _cache.RotatingKVCache
    SwitchLinear = _switch.SwitchLinear
    QuantizedSwitchLinear = _switch.QuantizedSwitchLinear

RowCache: TypeAlias = KVCache | RotatingKVCache
"""The cache of one layer for a single row."""
