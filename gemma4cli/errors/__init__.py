"""The errors that g4 raises on purpose.

    Gemma4Error
    ├─ LoadError
    │  ├─ BackendMissingError        MLX is installed without a backend for this machine
    │  ├─ ModelNotFoundError         no such folder, alias or cached repository
    │  ├─ NoModelError               no model given, and none in the local cache
    │  ├─ DownloadError              a model cannot be downloaded or removed
    │  ├─ ModelTooLargeError         the weights do not fit in memory
    │  ├─ UnsupportedModelError      not a Gemma 4 checkpoint, or a format MLX cannot run
    │  ├─ CheckpointError            a file of the checkpoint is broken or lacks a value
    │  ├─ WeightsMismatchError       tensors missing, unexpected or of the wrong shape
    │  ├─ AdapterError               an adapter cannot be read, or does not fit the model
    │  └─ ServerError                a server that has the model cannot be used
    ├─ MediaError                    always names its source
    │  ├─ MediaNotFoundError         no such file
    │  ├─ MediaDecodeError           empty, truncated, of another kind, or too large
    │  ├─ NoAudioTrackError          the file has nothing to hear
    │  ├─ TrackNotFoundError         the file has no such audio track
    │  ├─ ChannelNotFoundError       its audio track has no such channel
    │  ├─ NoVideoTrackError          the file has nothing to see
    │  └─ MicrophoneError            no device, or no PortAudio
    ├─ PromptError
    │  ├─ UnsupportedModalityError   the checkpoint cannot see, hear or think
    │  ├─ PlaceholderMismatchError   the numbers of placeholders and soft tokens differ
    │  ├─ ConversationError          the messages do not form a conversation
    │  ├─ ContextLengthError         the prompt is longer than the model's context
    │  └─ PromptTooLargeError        prompt, media and answer do not fit in memory
    ├─ TuningDataError               examples cannot be learned from
    ├─ TuningError                   a tuning cannot begin, or go on
    │  └─ TuningTooLargeError        its steps do not fit in memory
    ├─ FunctionsError                a file's functions cannot be offered to the model
    ├─ OptionError                   an option's value is out of range
    ├─ JournalError                  a transcript's progress cannot be kept on disk
    ├─ SavedConversationError        a conversation cannot be kept, is not there, or is in use
    ├─ AnswerCutError                an answer was cut off before it matched its schema
    ├─ NonFiniteError                the model produced NaN or infinity
    ├─ QueueFullError                a server has too many prompts to answer
    ├─ ClosingError                  a server ends, or ends before an answer does
    ├─ PackagesMissingError          an extra of g4 is not installed
    ├─ RemoteError                   a server does not answer a prompt, and why
    ├─ OutputError                   a result cannot be written
    ├─ ProcessLostError              another of several processes has ended, and why
    ├─ OutOfMemoryError              memory ran out while something was read or computed
    ├─ OutOfFilesError               this process may open no more files
    └─ UnexpectedError               an error that g4 does not know, in one of several inputs

Each error has fields. Its message is built from them, fits on one line and says what to do next.
Imports only the standard library at first; errors about packages ask `extras`.
"""

from __future__ import annotations

from .base import Gemma4Error as Gemma4Error
from .files import JournalError as JournalError
from .files import OutputError as OutputError
from .files import SavedConversationError as SavedConversationError
from .media import ChannelNotFoundError as ChannelNotFoundError
from .media import MediaDecodeError as MediaDecodeError
from .media import MediaError as MediaError
from .media import MediaNotFoundError as MediaNotFoundError
from .media import MicrophoneError as MicrophoneError
from .media import NoAudioTrackError as NoAudioTrackError
from .media import NoVideoTrackError as NoVideoTrackError
from .media import TrackNotFoundError as TrackNotFoundError
from .models import AdapterError as AdapterError
from .models import BackendMissingError as BackendMissingError
from .models import CheckpointError as CheckpointError
from .models import DownloadError as DownloadError
from .models import LoadError as LoadError
from .models import ModelNotFoundError as ModelNotFoundError
from .models import ModelTooLargeError as ModelTooLargeError
from .models import NoModelError as NoModelError
from .models import UnsupportedModelError as UnsupportedModelError
from .models import WeightsMismatchError as WeightsMismatchError
from .process import OutOfFilesError as OutOfFilesError
from .process import OutOfMemoryError as OutOfMemoryError
from .process import ProcessLostError as ProcessLostError
from .process import UnexpectedError as UnexpectedError
from .process import is_out_of_files as is_out_of_files
from .process import is_out_of_memory as is_out_of_memory
from .process import unexpected as unexpected
from .prompts import AnswerCutError as AnswerCutError
from .prompts import ContextLengthError as ContextLengthError
from .prompts import ConversationError as ConversationError
from .prompts import NonFiniteError as NonFiniteError
from .prompts import PlaceholderMismatchError as PlaceholderMismatchError
from .prompts import PromptError as PromptError
from .prompts import PromptTooLargeError as PromptTooLargeError
from .prompts import UnsupportedModalityError as UnsupportedModalityError
from .servers import ClosingError as ClosingError
from .servers import QueueFullError as QueueFullError
from .servers import RemoteError as RemoteError
from .servers import ServerError as ServerError
from .tuning import TuningDataError as TuningDataError
from .tuning import TuningError as TuningError
from .tuning import TuningTooLargeError as TuningTooLargeError
from .usage import FunctionsError as FunctionsError
from .usage import OptionError as OptionError
from .usage import PackagesMissingError as PackagesMissingError
