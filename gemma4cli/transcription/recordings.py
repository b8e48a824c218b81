"""Files as recordings; ``live`` has those of a microphone."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO

from ..decoded import SAMPLE_RATE
from ..errors import MediaError
from ..events import Notice
from ..media.copies import Copy
from ..media.feeds import Feed, LiveSource
from ..media.recognition import kind_of_stream
from ..media.sound.forward import can_be_heard
from ..media.sound.lengths import audio_seconds
from ..media.sound.sound_blocks import SoundBlock, sound_blocks
from ..media.sound.tracks import TrackChoice, describe_choice, sound_tracks
from ..media.sources import feed_of, settle, spool
from ..messages import Source
from ..options import TranscribeOptions
from .cut import Limits, Piece, cut_sound

_AHEAD = 8
"""Pieces of a pipe that may wait for the model; that of the largest batch."""

_MOST_TRACKS = 16
"""Tracks that are searched for speech: each takes as long as the whole recording."""

_PAST = "the others cannot be heard any more in a pipe; choose with --track, or pass a file"


def _is_media(head: BinaryIO) -> bool:
    return kind_of_stream(head) is not None


class FileRecording:
    """A file, a pipe, standard input or bytes as a recording.

    ``is_cut`` says whether ``stop`` came before its end.

    Nothing is opened before its turn; ``pieces`` raises what is wrong with it. Of several audio
    tracks that the options allow, the next one is used if there is no speech in the first.
    ``opened`` turns the source into what is read, or raises MediaError.

    Pipes and standard input are heard as they come, in a thread, so that who waits for them can be
    interrupted. If their format needs all of the file, they are first copied into the folder
    ``spool_to``, since memory may not hold them.
    """

    live = False

    def __init__(
        self,
        source: Source,
        *,
        spool_to: Path,
        options: TranscribeOptions | None = None,
        opened: Callable[[Source], Source] = Source.of,
    ) -> None:
        options = options or TranscribeOptions()
        self._error: MediaError | None = None
        self._given = source
        self._opened = opened
        self._spool_to = spool_to
        self._choice = TrackChoice(wanted=options.track, hint=options.language)
        self._channels = options.channels
        self._ahead = max(_AHEAD, options.batch or 0)
        self._end = 0
        self._is_stopped = False
        self.is_cut = False

    @cached_property
    def _found(self) -> Source:
        return self._opened(self._given)

    @cached_property
    def _feed(self) -> Feed | None:
        return feed_of(self._found)

    @cached_property
    def _source(self) -> Source:
        if self._feed is None:
            return settle(self._found)
        live = LiveSource(name=self._given.name, feed=self._feed)
        if can_be_heard(live, self._choice):
            return live
        return spool(self._found, self._feed, self._spool_to, _is_media)

    @property
    def file(self) -> Path | None:
        path = self._given.path
        return path if path is not None and os.path.isfile(path) else None

    @property
    def seconds(self) -> float | None:
        try:
            return None if self._feed else audio_seconds(self._source, self._choice)
        except MediaError:
            return None

    def pieces(self, limits: Limits) -> Iterator[Piece | Notice | None]:
        if self._feed is None:
            yield from self._pieces(limits)
            return
        from .ahead import Ahead  # no file needs threads

        with (
            closing(self._feed),
            Ahead(lambda: self._pieces(limits), self._feed.stop, most=self._ahead) as ahead,
        ):
            while True:
                if ahead.is_waiting:
                    yield None
                try:
                    item = next(ahead)
                except StopIteration:
                    return
                yield item

    def position(self) -> float:
        return self._end / SAMPLE_RATE

    def stop(self) -> None:
        """Make it end where it is, since nobody wants more of it. Called by any thread."""
        self._is_stopped = True

    def _pieces(self, limits: Limits) -> Generator[Piece | Notice, None, None]:
        tracks = sound_tracks(self._source, self._choice)
        name = self._given.name
        notice = describe_choice("transcribing", name, tracks)
        if notice is not None and self._choice.wanted is None:
            yield Notice(text=notice)
        copy = self._copied() if len(tracks) > 1 else None
        tracks = tracks[:_MOST_TRACKS]
        for track, following in zip_longest(tracks, tracks[1:]):
            self._error = None
            speaks = False
            chosen = TrackChoice(wanted=track.number)
            for piece in cut_sound(self._blocks(chosen), limits):
                speaks = True
                if copy is not None:
                    copy.drop()
                yield piece
            if speaks or following is None:
                break
            why = "no speech" if self._error is None else self._error.problem
            if isinstance(self._source, LiveSource):
                if copy is None or not copy.is_whole:
                    yield Notice(text=f"{name}: audio track {track}: {why}; {_PAST}")
                    break
                copy.finish()
                self._source = replace(self._found, path=copy.path)
            yield Notice(
                text=f"{name}: audio track {track}: {why}; transcribing audio track {following}"
            )
        if self._error is not None:
            raise self._error

    def _copied(self) -> Copy | None:
        """The pipe's content for other tracks; dropped when speech shows that none is needed."""
        if not isinstance(self._source, LiveSource):
            return None
        return self._source.feed.copy_to(self._spool_to / "pipe")

    def _blocks(self, choice: TrackChoice) -> Iterator[SoundBlock]:
        try:
            for block in sound_blocks(self._source, choice, self._channels):
                if self._feed is not None and self._feed.stopped:
                    return
                if self._is_stopped:
                    self.is_cut = True
                    return
                self._end = max(self._end, block.at + block.samples.shape[1])
                yield block
        except MediaError as error:
            # Raised later: the sound before the damage is transcribed first.
            self._error = error
