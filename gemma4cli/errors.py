"""Every error that g4 raises on purpose.

    Gemma4Error
    ├─ LoadError
    │  ├─ BackendMissingError        mlx is installed without a backend for this machine
    │  ├─ ModelNotFoundError         no such folder, alias or cached repository
    │  ├─ NoModelError               none was named, and none is in the local cache
    │  ├─ DownloadError              a model cannot be fetched, or not removed
    │  ├─ ModelTooLargeError         its weights do not fit the memory
    │  ├─ UnsupportedModelError      not a Gemma 4 checkpoint, or a format MLX cannot run
    │  ├─ CheckpointError            a file of the checkpoint is broken, or lacks a value
    │  └─ WeightsMismatchError       tensors missing, unexpected or of another shape
    ├─ MediaError                    always names its source
    │  ├─ MediaNotFoundError         no such file
    │  ├─ MediaDecodeError           empty, truncated, of another kind, or too large
    │  ├─ NoAudioTrackError          the file has nothing to hear
    │  ├─ NoVideoTrackError          the file has nothing to see
    │  └─ MicrophoneError            no device, or no PortAudio
    ├─ PromptError
    │  ├─ UnsupportedModalityError   the checkpoint cannot see, hear or think
    │  ├─ PlaceholderMismatchError   placeholders and soft tokens differ in number
    │  ├─ ConversationError          the messages do not form a conversation
    │  ├─ ContextLengthError         the prompt is longer than the model's context
    │  └─ PromptTooLargeError        prompt, media and answer do not fit the memory
    ├─ OptionError                   an option's value is out of range
    ├─ JournalError                  a transcript's progress cannot be kept on disk
    ├─ SavedConversationError        a conversation cannot be kept, is not there, or is in use
    ├─ AnswerCutError                an answer by a schema ended before it was whole
    └─ NonFiniteError                the model produced NaN or infinity

Errors carry fields; their text is built from the fields, fits one line and says what to do next.
Knows nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class Gemma4Error(Exception):
    """Base of every error that g4 raises on purpose."""


class LoadError(Gemma4Error):
    """A model cannot be loaded."""


class BackendMissingError(LoadError):
    """``import mlx.core`` failed: on Linux, plain ``mlx`` brings no backend."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(
            f"MLX has no backend here ({cause}). Install one: "
            "pip install 'gemma4cli[cpu]' for a CPU, 'gemma4cli[cuda]' for an NVIDIA card"
        )


class ModelNotFoundError(LoadError):
    """The name is no folder, no alias and no repository in the local cache."""

    def __init__(self, name: str, hint: str) -> None:
        self.name = name
        super().__init__(f"model {name!r} not found: {hint}")


class NoModelError(LoadError):
    """Neither the user nor the settings name a model, and none is cached."""

    def __init__(self, fetch: str) -> None:
        self.fetch = fetch
        super().__init__(
            f"no model was named and none is in the local cache: fetch one with: {fetch}, "
            "or try the built-in toy with: -m tiny"
        )


class DownloadError(LoadError):
    """A repository of the hub cannot be fetched, or what is cached of it not be removed."""

    def __init__(self, repo: str, problem: str) -> None:
        self.repo = repo
        self.problem = problem
        super().__init__(f"{repo}: {problem}")


_TRY_ANYWAY = "G4_IGNORE_MEMORY=1 tries it all the same"


class ModelTooLargeError(LoadError):
    """A model's weights, with the smallest run, take more memory than there is. In bytes."""

    def __init__(self, model: str, needed: int, free: int, hint: str) -> None:
        self.model = model
        self.needed = needed
        self.free = free
        super().__init__(
            f"{model} takes about {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB can be "
            f"had: {hint}; {_TRY_ANYWAY}"
        )


class UnsupportedModelError(LoadError):
    """The checkpoint is of a kind that g4 cannot run."""

    def __init__(self, what: str, hint: str) -> None:
        self.what = what
        super().__init__(f"cannot run {what}: {hint}")


class CheckpointError(LoadError):
    """A file of the checkpoint is missing, broken, or lacks a value that changes results."""

    def __init__(self, file: str, problem: str) -> None:
        self.file = file
        self.problem = problem
        super().__init__(f"{file}: {problem}")


class WeightsMismatchError(LoadError):
    """The tensors of a checkpoint are not those that its config asks for."""

    def __init__(
        self, missing: Sequence[str], unexpected: Sequence[str], misshapen: Sequence[str] = ()
    ) -> None:
        self.missing = tuple(missing)
        self.unexpected = tuple(unexpected)
        self.misshapen = tuple(misshapen)
        counts = [
            f"{len(names)} {kind} (first: {names[0]})"
            for kind, names in (
                ("missing", self.missing),
                ("unexpected", self.unexpected),
                ("of another shape", self.misshapen),
            )
            if names
        ]
        super().__init__(
            f"the weights do not fit config.json: tensors {'; '.join(counts)}. "
            "Fetch the checkpoint again, or name another one"
        )


class MediaError(Gemma4Error):
    """A media file cannot be used. ``source`` is its name as the user gave it."""

    def __init__(self, source: str, problem: str) -> None:
        self.source = source
        self.problem = problem
        super().__init__(f"{source}: {problem}")


class MediaNotFoundError(MediaError):
    """There is no such file."""

    def __init__(self, source: str) -> None:
        super().__init__(source, "no such file")


class MediaDecodeError(MediaError):
    """The file is empty, damaged, too large, or not of the kind asked for."""


class NoAudioTrackError(MediaError):
    """The file has no audio track, or one without samples."""


class NoVideoTrackError(MediaError):
    """The file has no video track."""


class MicrophoneError(MediaError):
    """Recording is not possible."""

    def __init__(self, problem: str) -> None:
        super().__init__("microphone", problem)


class PromptError(Gemma4Error):
    """The conversation cannot be put to this model."""


class UnsupportedModalityError(PromptError):
    """The checkpoint lacks what the input needs; nothing is ever dropped silently."""

    def __init__(self, modality: str, model: str, lack: str) -> None:
        self.modality = modality
        self.model = model
        super().__init__(f"{model} takes no {modality}: {lack}. Choose another model with -m")


class PlaceholderMismatchError(PromptError):
    """The prompt has another number of placeholders than the towers gave soft tokens."""

    def __init__(self, kind: str, placeholders: int, soft_tokens: int) -> None:
        self.kind = kind
        self.placeholders = placeholders
        self.soft_tokens = soft_tokens
        super().__init__(
            f"the prompt has {placeholders} {kind} placeholders but {soft_tokens} {kind} "
            "soft tokens were computed"
        )


class ConversationError(PromptError):
    """The messages, or the file that holds them, do not form a conversation."""


class ContextLengthError(PromptError):
    """The prompt does not fit the model's context."""

    def __init__(
        self,
        tokens: int,
        limit: int,
        hint: str = "give less text, fewer media, a smaller --budget or fewer video frames",
    ) -> None:
        self.tokens = tokens
        self.limit = limit
        super().__init__(
            f"the prompt has {tokens} tokens but the model's context ends at {limit}: {hint}"
        )


class PromptTooLargeError(PromptError):
    """What is asked takes more memory than there is, though the model fits. In bytes."""

    def __init__(self, needed: int, free: int, hint: str) -> None:
        self.needed = needed
        self.free = free
        super().__init__(
            f"this takes about {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB can be had: "
            f"{hint}; {_TRY_ANYWAY}"
        )


class OptionError(Gemma4Error):
    """An option has a value outside its range."""


class JournalError(Gemma4Error):
    """Finished pieces of a transcript cannot be kept."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: progress cannot be kept ({problem})")


class SavedConversationError(Gemma4Error):
    """A saved conversation cannot be kept, is not there, or is in use."""

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        self.problem = problem
        super().__init__(f"conversation {name}: {problem}")


class AnswerCutError(Gemma4Error):
    """An answer that has to fit a schema was cut off, so that it does not."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        super().__init__(
            f"the answer was cut after {tokens} tokens, before it fitted the schema: "
            "raise --max-tokens, or bound the schema's strings and lists"
        )


class NonFiniteError(Gemma4Error):
    """A forward pass gave NaN or infinity; its text would be noise."""

    def __init__(self, where: str) -> None:
        self.where = where
        super().__init__(
            f"the model produced values that are not finite ({where}): "
            "try --dtype float32, or fetch the checkpoint again"
        )
