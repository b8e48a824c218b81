"""g4: Gemma 4 on the command line, and from Python.

Names are resolved when they are first used, so importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .api import (
        generate,
        list_models,
        load,
        model_info,
        model_path,
        stream_generate,
        stream_transcribe,
        transcribe,
    )
    from .conversations.chat import Chat
    from .errors import Gemma4Error
    from .events import Finished, TextDelta, ThoughtDelta
    from .options import GenerateOptions, LoadOptions, MediaOptions, TranscribeOptions
    from .transcript import Segment

_HOMES = {
    "Chat": "conversations.chat",
    "Finished": "events",
    "Gemma4Error": "errors",
    "GenerateOptions": "options",
    "LoadOptions": "options",
    "MediaOptions": "options",
    "Segment": "transcript",
    "TextDelta": "events",
    "ThoughtDelta": "events",
    "TranscribeOptions": "options",
    "generate": "api",
    "list_models": "api",
    "load": "api",
    "model_info": "api",
    "model_path": "api",
    "stream_generate": "api",
    "stream_transcribe": "api",
    "transcribe": "api",
}

__all__ = [
    "Chat",
    "Finished",
    "Gemma4Error",
    "GenerateOptions",
    "LoadOptions",
    "MediaOptions",
    "Segment",
    "TextDelta",
    "ThoughtDelta",
    "TranscribeOptions",
    "__version__",
    "generate",
    "list_models",
    "load",
    "model_info",
    "model_path",
    "stream_generate",
    "stream_transcribe",
    "transcribe",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)
