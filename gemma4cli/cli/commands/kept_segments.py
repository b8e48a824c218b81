"""The answers about the segments of a long clip on disk, from which an interrupted run resumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...checked_json import JsonError, as_dataclass
from ...errors import JournalError
from ...events import Event, Notice, SegmentFinished
from ...journal import JobJournal, file_facts, not_kept, remove_stale
from ...messages import Source

Asking = Callable[[Sequence[SegmentFinished]], Iterator[Event]]
"""The events of a clip in segments, of which some are known."""


class _SegmentJournal(JobJournal[SegmentFinished]):
    def line(self, item: SegmentFinished) -> Mapping[str, object]:
        fields = asdict(item)
        del fields["error"]
        return fields

    def parse(self, line: Mapping[str, Any]) -> SegmentFinished:
        kept = as_dataclass(SegmentFinished, line)
        if kept.answer is None:
            raise JsonError("a kept segment has an answer")
        return kept


def keeping_segments(
    folder: Path, job: Mapping[str, object], clip: Source, ask: Asking, *, restart: bool
) -> Iterator[Event]:
    """The events of ``ask``; finished segments are kept in ``folder`` until the clip is done.

    ``job`` is everything that the answers depend on except the clip. Only files are kept.
    """
    with ExitStack() as stack:
        journal = None
        try:
            if clip.path is not None:
                remove_stale(folder)
                whole = {**job, **file_facts(clip.path)}
                journal = stack.enter_context(_SegmentJournal(folder, whole, restart=restart))
        except OSError:
            pass  # opening the clip says what is wrong with it
        except JournalError as error:
            yield Notice(text=not_kept(error))
        known = () if journal is None else journal.done
        if journal is not None and journal.damage is not None:
            yield Notice(text=journal.damage)
        if known:
            count = f"{len(known)} segment{'s' if len(known) > 1 else ''}"
            yield Notice(text=f"{clip.name}: resumes after {count}")
        for event in ask(known):
            if journal is not None and isinstance(event, SegmentFinished):
                try:
                    if event.answer is not None and event not in known:
                        journal.add(event)
                except JournalError as error:
                    journal.forget()
                    journal = None
                    yield Notice(text=not_kept(error))
            yield event
        if journal is not None:
            journal.forget()
