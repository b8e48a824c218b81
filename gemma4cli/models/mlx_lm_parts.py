"""The parts of mlx-lm that g4 stands on: the text layer and the KV caches.

``mlx_lm/__init__`` imports transformers, which costs every start most of a second, and none of the
parts need it. So the modules are imported under a bare stand-in for the package, and all traces
are taken out of ``sys.modules`` again: a program that imports mlx_lm later gets the real one.
Where mlx_lm is loaded already, that one is used.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["DecoderLayer", "KVCache", "ModelArgs", "RotatingKVCache"]

_PACKAGE = "mlx_lm"


def _import_parts() -> tuple[ModuleType, ModuleType]:
    names = (f"{_PACKAGE}.models.gemma4_text", f"{_PACKAGE}.models.cache")
    if _PACKAGE in sys.modules:
        text, cache = (importlib.import_module(name) for name in names)
        return text, cache
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("mlx-lm is not installed; install g4 again", name=_PACKAGE)
    stand_in = ModuleType(_PACKAGE)
    stand_in.__path__ = list(spec.submodule_search_locations)
    sys.modules[_PACKAGE] = stand_in
    try:
        text, cache = (importlib.import_module(name) for name in names)
    finally:
        for name in [n for n in sys.modules if n.partition(".")[0] == _PACKAGE]:
            del sys.modules[name]
    return text, cache


if TYPE_CHECKING:
    from mlx_lm.models.cache import KVCache, RotatingKVCache
    from mlx_lm.models.gemma4_text import DecoderLayer, ModelArgs
else:
    _text, _cache = _import_parts()

    ModelArgs = _text.ModelArgs
    DecoderLayer = _text.DecoderLayer
    KVCache = _cache.KVCache
    RotatingKVCache = _cache.RotatingKVCache
