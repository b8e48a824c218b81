"""The parts of mlx-lm that g4 uses: the decoder layer and the KV caches.

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
        raise ImportError("mlx-lm is not installed; reinstall g4", name=_PACKAGE)
    package = ModuleType(_PACKAGE)
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules[_PACKAGE] = package
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
