"""A recording with the times of its transcript, to pieces that a model hears at once.

They are like those into which ``g4 transcribe`` cuts: no longer, without long silences, and cut
where nobody speaks, as far as the times of the subtitles say.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

from ..bounded import read_bounded
from ..conversations.file import Conversation
from ..messages import AudioPart, Message, Source, TextPart
from ..plain_text import decode_text
from ..subtitles.reading import READERS, TranscriptError, read_segments
from ..times import clock, file_time
from ..transcript import Segment
from .samples import Fault, Sample

_LONGEST = 30.0
"""Seconds of a piece, with its padding, for a model that hears more at once."""
_ROUNDING = 0.01
"""Seconds by which a piece is shorter than what the model hears."""
_LONGEST_PAUSE = 2.0
"""A longer silence is in no piece."""
_PADDING = 0.3
"""Seconds before and after speech, at most half of a pause."""
_LATE = 1 / 2
"""The share of the longest piece after which a cut is sought."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """From ``start`` to ``end``, in seconds, ``text`` is said."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedRecording:
    """A recording whose transcript has times; ``prompt`` is asked about each piece of it."""

    file: Path
    transcript: Path
    segments: Sequence[Segment]
    prompt: str
    repeats: int = 1

    def samples(self, longest_clip: float | None) -> Iterator[Sample | Fault]:
        """Its pieces, for a model that hears so many seconds at once; None is any number."""
        longest = min(_LONGEST, _LONGEST if longest_clip is None else longest_clip)
        for each in pieces_of(self.segments, longest - _ROUNDING):
            if isinstance(each, Piece):
                yield self._sample(each)
                continue
            yield Fault(
                origin=str(self.transcript),
                problem=f"what begins at {clock(each.start)} lasts {each.end - each.start:.0f} s, "
                f"and the model hears {longest:.0f} s at once: divide it",
            )

    def _sample(self, piece: Piece) -> Sample:
        part = AudioPart(source=Source.of(self.file), start=piece.start, end=piece.end)
        messages = (
            Message(role="user", content=(TextPart(text=self.prompt), part)),
            Message(role="assistant", content=piece.text),
        )
        return Sample(
            origin=f"{self.file} {file_time(piece.start)}-{file_time(piece.end)}",
            conversation=Conversation(messages=messages),
            repeats=self.repeats,
        )


def transcript_of(recording: Path) -> Path | None:
    """The file with times beside a recording, if there is one; other JSON is none."""
    for suffix in READERS:
        for file in (recording.with_suffix(suffix), recording.with_name(recording.name + suffix)):
            if file.is_file() and (suffix != ".json" or b'"segments"' in file.read_bytes()):
                return file
    return None


def timed_recording(
    recording: Path, transcript: Path, prompt: str, repeats: int
) -> TimedRecording | Fault:
    """A recording with its transcript, or what is wrong with that."""
    origin = str(transcript)
    try:
        found = decode_text(read_bounded(transcript))
        if found is None or found.notice is not None:
            return Fault(origin=origin, problem="is not UTF-8 text")
        segments = read_segments(found.text, transcript.suffix.lower())
    except OSError as exc:
        return Fault(origin=origin, problem=f"cannot be read ({exc.strerror or exc})")
    except TranscriptError as exc:
        return Fault(origin=origin, problem=str(exc))
    if not segments:
        return Fault(origin=origin, problem="has no text")
    return TimedRecording(
        file=recording, transcript=transcript, segments=segments, prompt=prompt, repeats=repeats
    )


def pieces_of(segments: Sequence[Segment], longest: float) -> Iterator[Piece | Segment]:
    """Pieces of at most ``longest`` seconds of segments in order; one that is longer as it is."""
    runs: list[list[Segment]] = []
    for each in segments:
        if each.end - each.start > longest:
            yield each
        elif runs and each.start - max(one.end for one in runs[-1]) <= _LONGEST_PAUSE:
            runs[-1].append(each)
        else:
            runs.append([each])
    groups = [group for run in runs for group in _cut(run, longest)]
    ends = [max(each.end for each in group) for group in groups]
    for number, group in enumerate(groups):
        before = _PADDING if number == 0 else (group[0].start - ends[number - 1]) / 2
        last = number == len(groups) - 1
        after = _PADDING if last else (groups[number + 1][0].start - ends[number]) / 2
        spare = (longest - (ends[number] - group[0].start)) / 2
        before, after = (max(0.0, min(each, spare, _PADDING)) for each in (before, after))
        yield Piece(
            start=max(0.0, group[0].start - before),
            end=ends[number] + after,
            text=" ".join(each.text for each in group),
        )


def _cut(run: list[Segment], longest: float) -> Iterator[list[Segment]]:
    """Segments without long silences in groups that fit, cut at the longest pauses."""
    while run:
        ends = list(accumulate((each.end for each in run), max))
        fitting = max(1, bisect_right(ends, run[0].start + longest))
        if fitting < len(run):
            late = run[0].start + _LATE * longest
            pauses = [
                (following.start - one.end, number)
                for number, (one, following) in enumerate(pairwise(run[: fitting + 1]), start=1)
                if one.end >= late or number == fitting
            ]
            fitting = max(pauses)[1]
        yield run[:fitting]
        run = run[fitting:]
