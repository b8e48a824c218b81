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

import errno
from collections.abc import Sequence
from pathlib import Path


class Gemma4Error(Exception):
    """Base of every error that g4 raises on purpose."""


class LoadError(Gemma4Error):
    """A model cannot be loaded."""


class BackendMissingError(LoadError):
    """``import mlx.core`` failed: on Linux, plain ``mlx`` includes no backend."""

    def __init__(self, cause: str) -> None:
        from .extras import install_command

        self.cause = cause
        super().__init__(
            f"MLX has no backend here ({cause}). Install one: {install_command('cpu')} "
            f"for a CPU, {install_command('cuda')} for an NVIDIA card"
        )


class ModelNotFoundError(LoadError):
    """The name is not a folder, an alias or a repository in the local cache."""

    def __init__(self, name: str, hint: str) -> None:
        self.name = name
        super().__init__(f"model {name!r} not found: {hint}")


class NoModelError(LoadError):
    """Neither the command line nor the settings name a model, and none is cached."""

    def __init__(self, fetch: str) -> None:
        self.fetch = fetch
        super().__init__(
            f"no model given and none in the local cache: download one with: {fetch}, "
            "or try the built-in toy with: -m tiny"
        )


class DownloadError(LoadError):
    """A hub repository cannot be downloaded, or its cached files cannot be removed."""

    def __init__(self, repo: str, problem: str) -> None:
        self.repo = repo
        self.problem = problem
        super().__init__(f"{repo}: {problem}")


_TRY_ANYWAY = "or set G4_IGNORE_MEMORY=1 to try anyway"


def _too_large(what: str, needed: int, free: int, hint: str) -> str:
    return (
        f"{what} needs about {_size(needed)} of memory; {_size(free)} available: "
        f"{hint}, {_TRY_ANYWAY}"
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 10**9 else f"{count / 1e6:.0f} MB"


class ModelTooLargeError(LoadError):
    """A model's weights and its smallest run need more memory than is free. In bytes."""

    def __init__(self, model: str, needed: int, free: int, hint: str) -> None:
        self.model = model
        self.needed = needed
        self.free = free
        super().__init__(_too_large(model, needed, free, hint))


class UnsupportedModelError(LoadError):
    """g4 cannot run this kind of checkpoint."""

    def __init__(self, what: str, hint: str) -> None:
        self.what = what
        super().__init__(f"cannot run {what}: {hint}")


class CheckpointError(LoadError):
    """A file of the checkpoint is missing or broken, or lacks a value that affects results."""

    def __init__(self, file: str, problem: str) -> None:
        self.file = file
        self.problem = problem
        super().__init__(f"{file}: {problem}")


class WeightsMismatchError(LoadError):
    """The tensors of a checkpoint do not match its config."""

    def __init__(
        self, missing: Sequence[str], unexpected: Sequence[str], misshapen: Sequence[str] = ()
    ) -> None:
        self.missing = tuple(missing)
        self.unexpected = tuple(unexpected)
        self.misshapen = tuple(misshapen)
        counts = [
            f"{len(names)} {kind} (first: {', '.join(names[:_NAMED])})"
            for kind, names in (
                ("missing", self.missing),
                ("unexpected", self.unexpected),
                ("of the wrong shape", self.misshapen),
            )
            if names
        ]
        cause = "left them out" if self.missing else "added or changed them"
        super().__init__(
            f"the tensors do not match config.json: {'; '.join(counts)}. If a tool made this "
            f"checkpoint, it {cause}: merge or convert again; else download it again"
        )


_NAMED = 3
"""Tensors to name in an error."""


class AdapterError(LoadError):
    """An adapter is not there, cannot be read, or does not fit the model; ``adapter`` is its name.

    ``tensor`` is the first that does not fit, if that is the cause.
    """

    def __init__(self, adapter: str, problem: str, tensor: str | None = None) -> None:
        self.adapter = adapter
        self.problem = problem
        self.tensor = tensor
        super().__init__(f"adapter {adapter}: {problem}")


class ServerError(LoadError):
    """The server that has the model cannot be used; ``server`` is its address."""

    def __init__(self, server: str, problem: str) -> None:
        self.server = server
        self.problem = problem
        super().__init__(f"{server}: {problem}")


class MediaError(Gemma4Error):
    """A media file cannot be used. ``source`` is its name as the user gave it."""

    def __init__(self, source: str, problem: str) -> None:
        self.source = source
        self.problem = problem
        super().__init__(f"{source}: {problem}")


class MediaNotFoundError(MediaError):
    """There is no such file; ``similar`` is the name of one that could be meant."""

    def __init__(self, source: str, similar: str | None = None) -> None:
        self.similar = similar
        hint = "" if similar is None else f"; did you mean {similar}?"
        super().__init__(source, f"no such file{hint}")


class MediaDecodeError(MediaError):
    """The file is empty, damaged, too large, or not of the kind asked for."""


class NoAudioTrackError(MediaError):
    """The file has no audio track, or one without samples."""


class TrackNotFoundError(MediaError):
    """The file does not have the audio track that was asked for; ``known`` names those it has."""

    def __init__(self, source: str, wanted: str, known: str) -> None:
        self.wanted = wanted
        self.known = known
        has = f"it has {known}; choose one with --track" if known else "it has none"
        super().__init__(source, f"has no audio track {wanted}: {has}")


class ChannelNotFoundError(MediaError):
    """The audio track has fewer channels than the number that was asked for."""

    def __init__(self, source: str, wanted: int, count: int) -> None:
        self.wanted = wanted
        self.count = count
        has = "one channel" if count == 1 else f"channels 1 to {count}"
        super().__init__(source, f"has no channel {wanted}: its audio track has {has}")


class NoVideoTrackError(MediaError):
    """The file has no video track."""


class MicrophoneError(MediaError):
    """Recording is not possible."""

    def __init__(self, problem: str) -> None:
        super().__init__("microphone", problem)


class PromptError(Gemma4Error):
    """The model cannot answer this conversation."""


class UnsupportedModalityError(PromptError):
    """The checkpoint does not support part of the input; nothing is dropped silently."""

    def __init__(self, modality: str, model: str, lack: str) -> None:
        self.modality = modality
        self.model = model
        super().__init__(
            f"{model} does not support {modality}: {lack}. Choose another model with -m"
        )


class PlaceholderMismatchError(PromptError):
    """The numbers of placeholders in the prompt and of computed soft tokens differ."""

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
    """The prompt is longer than the model's context; by about how much, if it is ``estimated``."""

    def __init__(
        self, tokens: int, limit: int, hint: str = "use less text", *, estimated: bool = False
    ) -> None:
        self.tokens = tokens
        self.limit = limit
        count = f"about {tokens:,}" if estimated else f"{tokens:,}"
        super().__init__(
            f"the prompt has {count} tokens, more than the model's context of {limit:,}: {hint}"
        )


class PromptTooLargeError(PromptError):
    """The model fits in memory, but prompt, media and answer do not. In bytes."""

    def __init__(self, needed: int, free: int, hint: str) -> None:
        self.needed = needed
        self.free = free
        super().__init__(_too_large("this request", needed, free, hint))


class TuningDataError(Gemma4Error):
    """Nothing, or not all, can be learned from data: a message names it and what is wrong."""


class TuningError(Gemma4Error):
    """A tuning cannot begin or go on."""


class TuningTooLargeError(TuningError):
    """A step of a tuning needs more memory than is free. In bytes."""

    def __init__(self, what: str, needed: int, free: int, hint: str) -> None:
        self.needed = needed
        self.free = free
        super().__init__(_too_large(what, needed, free, hint))


class FunctionsError(Gemma4Error):
    """A file of Python functions, or one of them, cannot be offered to the model."""


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
    """An answer cannot match its schema within its length; ``shortest`` document in tokens."""

    def __init__(self, tokens: int, shortest: int | None = None) -> None:
        self.tokens = tokens
        self.shortest = shortest
        if shortest is None:
            problem = f"the answer was cut off after {tokens} tokens, before it matched the schema"
        else:
            problem = (
                f"the shortest document that matches the schema takes {shortest} tokens, but the "
                f"answer may have {tokens}"
            )
        super().__init__(f"{problem}: raise --max-tokens, or ask for less in the schema")


class NonFiniteError(Gemma4Error):
    """A forward pass produced NaN or infinity; its text would be noise."""

    def __init__(self, where: str) -> None:
        self.where = where
        super().__init__(
            f"the model produced NaN or infinity ({where}): "
            "try --dtype float32, or download the checkpoint again"
        )


class QueueFullError(Gemma4Error):
    """A server has as many prompts to answer as it takes at once.

    ``retry_after`` is in how many seconds there may be room.
    """

    def __init__(self, waiting: int, retry_after: float = 1.0) -> None:
        self.waiting = waiting
        self.retry_after = retry_after
        super().__init__(f"{waiting} prompts wait for an answer already: try again later")


class ClosingError(Gemma4Error):
    """A server is closing: it takes no more prompts, and ends answers that take too long."""

    def __init__(self) -> None:
        super().__init__("the server is closing: try again later")


class PackagesMissingError(Gemma4Error):
    """Packages of an extra are not installed; ``user`` is what needs them."""

    def __init__(self, extra: str, user: str, package: str) -> None:
        from .extras import install_command

        self.extra = extra
        self.package = package
        super().__init__(
            f"{user} needs {package}, which is not installed: {install_command(extra)}"
        )


class RemoteError(Gemma4Error):
    """A server cannot answer this; its error, if it has one, is none of g4's."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(problem)


class OutputError(Gemma4Error):
    """A result cannot be written. ``kept`` says what has become of the file there before.

    ``others_may`` says that it is about this name, and results of other names may be written.
    """

    def __init__(
        self, path: Path, problem: str, kept: str = "", *, others_may: bool = False
    ) -> None:
        self.path = path
        self.problem = problem
        self.others_may = others_may
        super().__init__(f"{path}: cannot be written ({problem}){'; ' if kept else ''}{kept}")


class ProcessLostError(Gemma4Error):
    """Another of the processes that compute together has ended, with ``status``."""

    def __init__(self, problem: str, status: int) -> None:
        self.status = status
        super().__init__(problem)


class OutOfMemoryError(Gemma4Error):
    """Memory ran out, or is certain to; ``problem`` says what to do."""

    def __init__(
        self,
        problem: str = "use smaller files, a smaller model with -m or fewer at once, close other "
        "programs, or raise the limit of this process (ulimit -v)",
    ) -> None:
        self.problem = problem
        super().__init__(f"out of memory: {problem}")


class UnexpectedError(Gemma4Error):
    """An error that g4 does not raise on purpose, as the result of one of several inputs."""

    def __init__(self, cause: Exception) -> None:
        self.__cause__ = cause
        what = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
        super().__init__(f"unexpected error ({what}); --debug shows more")


class OutOfFilesError(Gemma4Error):
    """This process may open no more files."""

    def __init__(self) -> None:
        super().__init__("too many open files: raise the limit of this process (ulimit -n)")


def unexpected(cause: Exception) -> Gemma4Error:
    """The error for any exception; one that g4 raises on purpose is an error already.

    But not if it comes from a lack of descriptors: that says nothing about the file it names.
    """
    error: Gemma4Error
    if is_out_of_files(cause):
        error = OutOfFilesError()
    elif isinstance(cause, Gemma4Error):
        return cause
    elif is_out_of_memory(cause):
        error = OutOfMemoryError()
    else:
        return UnexpectedError(cause)
    error.__cause__ = cause
    return error


def is_out_of_files(cause: BaseException) -> bool:
    """Whether an exception, or what led to it, is that no more files may be opened."""
    seen: BaseException | None = cause
    for _ in range(_CAUSES):
        if seen is None:
            break
        if getattr(seen, "errno", None) in (errno.EMFILE, errno.ENFILE):
            return True
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return False


_CAUSES = 20
"""Exceptions that led to one another, at most."""


def is_out_of_memory(cause: Exception) -> bool:
    """Whether an exception says, in one of many ways, that there was no memory."""
    if isinstance(cause, MemoryError) or (
        isinstance(cause, OSError) and cause.errno == errno.ENOMEM
    ):
        return True
    text = str(cause).lower()
    if isinstance(cause, RuntimeError) and "resource temporarily unavailable" in text:
        return True  # a thread cannot be started
    return isinstance(cause, OSError | RuntimeError | ImportError) and any(
        words in text for words in _NO_MEMORY
    )


_NO_MEMORY = (
    "out of memory",
    "unable to allocate",
    "cannot allocate memory",
    "bad_alloc",
    "failed to map segment",
    "can't start new thread",
)
"""What MLX, Pillow, the dynamic linker and Python say when there is no memory."""
