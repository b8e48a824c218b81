"""The frames that were looked at, written where the user can look at them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ...events import Event, Finished, Notice, VideoSampled
from ...messages import Source


def saving_frames(
    events: Iterator[Event], source: Source, folder: Path, *, segmented: bool
) -> Iterator[Event]:
    """The events; the frames are written as soon as all of them are known. Raises MediaError.

    Those of a clip in segments are known when the last segment is answered.
    """
    times: set[float] = set()
    for event in events:
        if isinstance(event, Finished) and segmented and times:
            yield _written(source, sorted(times), folder)
        yield event
        if isinstance(event, VideoSampled):
            times |= set(event.timestamps)
            if not segmented:
                yield _written(source, event.timestamps, folder)


def _written(source: Source, timestamps: Sequence[float], folder: Path) -> Notice:
    from ...media.pictures.frame_files import SHEET, save_frames

    files = save_frames(source, timestamps, folder)
    return Notice(text=f"{source.name}: {len(files)} frames and {SHEET} in {folder}")
