"""The frames that were looked at, written where the user can look at them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..events import Event, Notice, VideoSampled
from ..messages import Source


def saving_frames(events: Iterator[Event], source: Source, folder: Path) -> Iterator[Event]:
    """The events; once the frames are known they are written."""
    for event in events:
        yield event
        if isinstance(event, VideoSampled):
            yield written_frames(source, event.timestamps, folder)


def written_frames(source: Source, timestamps: Sequence[float], folder: Path) -> Notice:
    """Write the frames at ``timestamps``, and say where. Raises MediaError."""
    from ..media.frame_files import SHEET, save_frames

    files = save_frames(source, timestamps, folder)
    return Notice(text=f"{source.name}: {len(files)} frames and {SHEET} in {folder}")
