"""The finished pieces of one recording on disk, from which an interrupted run resumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ..checked_json import JsonError, as_dataclass
from ..journal import JobJournal
from ..transcript import Doubt

_LONGEST = 1e8
"""Seconds of a recording: three years."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PieceText:
    """The text of one piece; ``start`` and ``end`` are in seconds of the recording.

    Its first ``overlap`` seconds belong to the previous piece as well, that of its ``channel`` if
    channels are kept apart. The field names are the keys in a journal.
    """

    start: float
    end: float
    overlap: float
    text: str
    translation: str | None = None
    doubt: Doubt | None = None
    channel: int | None = None

    def is_of(self, start: float, channel: int | None) -> bool:
        """Whether it is the text of a piece with this start and channel."""
        return self.start == start and self.channel == channel


class Journal(JobJournal[PieceText]):
    """The finished pieces of one job: the recording, the model, the options."""

    def line(self, item: PieceText) -> Mapping[str, object]:
        fields = asdict(item)
        if item.channel is None:
            del fields["channel"]
        return fields

    def parse(self, line: Mapping[str, object]) -> PieceText:
        piece = as_dataclass(PieceText, line)
        if not 0 <= piece.start <= piece.end <= _LONGEST or not 0 <= piece.overlap <= _LONGEST:
            raise JsonError(f"a piece from {piece.start:g} to {piece.end:g} s cannot be")
        return piece
