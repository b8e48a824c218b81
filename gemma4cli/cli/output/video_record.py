"""What a record in JSON says of a clip: plan and frames, or its segments and their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import Gemma4Error
from ...events import Event, SegmentFinished, VideoPlanned, VideoSampled
from .results import failure


@dataclass(kw_only=True, slots=True)
class VideoRecord:
    """Takes note of the events of one input; without a clip among them there are no fields."""

    plan: VideoPlanned | None = None
    frames: tuple[float, ...] | None = None
    segments: list[SegmentFinished] = field(default_factory=list)

    def see(self, event: Event) -> None:
        """Take note of an event, if it is about a clip."""
        match event:
            case VideoPlanned():
                self.plan = event
            case VideoSampled(timestamps=timestamps):
                self.frames = timestamps
            case SegmentFinished():
                self.segments.append(event)

    def fields(self) -> dict[str, Any]:
        """What the record has besides; a clip in segments has plan and frames in each."""
        if self.segments:
            return {"segments": [_segment(each) for each in self.segments]}
        return _sight(self.plan, self.frames)


def _segment(event: SegmentFinished) -> dict[str, Any]:
    times = {"start": round(event.start, 3), "end": round(event.end, 3)}
    if event.answer is None:
        assert isinstance(event.error, Gemma4Error), "a segment without an answer has an error"
        return {**times, "error": failure("", event.error)["error"]}
    answer = {"text": event.answer.text, "finish_reason": event.answer.reason}
    if event.answer.thoughts:
        answer["thoughts"] = event.answer.thoughts
    return {**times, **answer, **_sight(event.plan, event.timestamps)}


def _sight(plan: VideoPlanned | None, frames: Sequence[float] | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if frames is not None:
        found["frames"] = [round(seconds, 3) for seconds in frames]
    if plan is not None:
        found["plan"] = {
            "frames": plan.frames,
            "spacing": None if plan.spacing is None else round(plan.spacing, 3),
            "soft_tokens": plan.soft_tokens,
            "sound_seconds": round(plan.sound_seconds, 3),
            "audio_pieces": plan.audio_pieces,
        }
    return found
