"""Which moments of a clip are shown to the model."""

from __future__ import annotations

import math


def frame_times(
    *,
    duration: float,
    frame_count: int | None,
    max_frames: int,
    fps: float | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> tuple[float, ...]:
    """Times in seconds from the clip's start, ascending, at most ``max_frames``.

    The span is cut into equal parts and each is shown as it begins; for a steady frame rate those
    are the frames number i*T//n, the reference's choice (video_utils.py). ``fps`` asks for that
    many a second, as far as ``max_frames`` allows. ``frame_count`` is how many frames the whole
    clip has, where known: no more are asked for.
    """
    end = duration if end is None else min(end, duration)
    span = max(0.0, end - start)
    count = max_frames if span > 0 else 1
    if fps is not None:
        count = min(count, max(1, math.ceil(span * fps - 1e-9)))
    if frame_count is not None and duration > 0:
        count = min(count, max(1, round(frame_count * span / duration)))
    return tuple(start + span * i / count for i in range(count))
