"""The process lacks something, or another exception ended what it did."""

from __future__ import annotations

import errno

from .base import Gemma4Error


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


class OutOfFilesError(Gemma4Error):
    """This process may open no more files."""

    def __init__(self) -> None:
        super().__init__("too many open files: raise the limit of this process (ulimit -n)")


class UnexpectedError(Gemma4Error):
    """An error that g4 does not raise on purpose, as the result of one of several inputs."""

    def __init__(self, cause: Exception) -> None:
        self.__cause__ = cause
        what = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
        super().__init__(f"unexpected error ({what}); --debug shows more")


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
