"""A media file cannot be used."""

from __future__ import annotations

from .base import Gemma4Error


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
