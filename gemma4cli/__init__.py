"""g4: Gemma 4 on the command line, and from Python.

The imports below are the list of public names. They are cheap: numpy and mlx are imported by the
calls, and ``Chat``, which needs numpy, is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._version import __version__ as __version__
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
from .errors import Gemma4Error as Gemma4Error
from .events import Finished as Finished
from .events import TextDelta as TextDelta
from .events import ThoughtDelta as ThoughtDelta
from .options import GenerateOptions as GenerateOptions
from .options import LoadOptions as LoadOptions
from .options import MediaOptions as MediaOptions
from .options import TranscribeOptions as TranscribeOptions
from .transcript import Segment as Segment

if TYPE_CHECKING:
    from .conversations.chat import Chat as Chat
else:
    # Hidden from type checkers, for which every name would exist otherwise.
    def __getattr__(name):
        if name == "Chat":
            from .conversations.chat import Chat

            return Chat
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Chat",
    "__version__",
    *(
        name
        for name, value in tuple(globals().items())
        if not name.startswith("_") and getattr(value, "__module__", "").startswith(f"{__name__}.")
    ),
]
