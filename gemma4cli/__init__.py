"""g4: Gemma 4 on the command line, and from Python.

The public names are imported when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from ._version import __version__ as __version__

TYPE_CHECKING = False
"""What type checkers take for true. The module ``typing`` would be imported for it alone."""

if TYPE_CHECKING:
    from .api import connect as connect
    from .api import generate as generate
    from .api import list_models as list_models
    from .api import load as load
    from .api import model_info as model_info
    from .api import model_path as model_path
    from .api import stream_each as stream_each
    from .api import stream_generate as stream_generate
    from .api import stream_segments as stream_segments
    from .api import stream_transcribe as stream_transcribe
    from .api import transcribe as transcribe
    from .conversations.chat import Chat as Chat
    from .conversations.functions import function_of as function_of
    from .conversations.tool_loop import Tools as Tools
    from .conversations.tool_loop import run_tools as run_tools
    from .errors import Gemma4Error as Gemma4Error
    from .events import Finished as Finished
    from .events import TextDelta as TextDelta
    from .events import ThoughtDelta as ThoughtDelta
    from .events import ToolResult as ToolResult
    from .messages import ToolCall as ToolCall
    from .options import GenerateOptions as GenerateOptions
    from .options import LoadOptions as LoadOptions
    from .options import MediaOptions as MediaOptions
    from .options import TokenBias as TokenBias
    from .options import TranscribeOptions as TranscribeOptions
    from .transcript import Segment as Segment
    from .tune_api import stream_tune as stream_tune
    from .tune_api import tune as tune
    from .tuning.events import StepDone as StepDone
    from .tuning.events import TuningFinished as TuningFinished
    from .tuning.settings import TuningOptions as TuningOptions
else:
    _MODULES = {
        "api": "connect generate list_models load model_info model_path stream_each "
        "stream_generate stream_segments stream_transcribe transcribe",
        "conversations.chat": "Chat",
        "conversations.functions": "function_of",
        "conversations.tool_loop": "Tools run_tools",
        "errors": "Gemma4Error",
        "events": "Finished TextDelta ThoughtDelta ToolResult",
        "messages": "ToolCall",
        "options": "GenerateOptions LoadOptions MediaOptions TokenBias TranscribeOptions",
        "transcript": "Segment",
        "tune_api": "stream_tune tune",
        "tuning.events": "StepDone TuningFinished",
        "tuning.settings": "TuningOptions",
    }
    _MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}

    # Hidden from type checkers, for which every name would exist otherwise.
    def __getattr__(name):
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
        globals()[name] = value
        return value

    __all__ = [*_MODULE_OF, "__version__"]

    def __dir__():
        return sorted({*globals(), *_MODULE_OF})
