"""A clip from the microphone, attached to a message; it is not transcribed."""

from __future__ import annotations

import io
import select
import wave
from typing import TYPE_CHECKING

from ...decoded import SAMPLE_RATE
from ...errors import MicrophoneError
from ...messages import AudioPart, Part, Source
from ..environment import Environment

if TYPE_CHECKING:
    from ...media.sound.microphone import AudioSource

LONGEST_SECONDS = 30.0
"""The longest clip that Gemma 4 takes (model card)."""

PAUSE_SECONDS = 1.5
_SHORTEST_SECONDS = 0.1


def record_part(env: Environment, device: str | None, name: str = "recording") -> Part:
    """Record from a device until Enter, a pause or ``LONGEST_SECONDS``.

    Raises MicrophoneError, also if nothing was recorded.
    """
    from ...media.sound.microphone import record

    with record(device) as source:
        env.say("recording; stops at Enter or a pause")
        return clip_of(env, source, name)


def clip_of(env: Environment, source: AudioSource, name: str) -> Part:
    """One clip captured from ``source``, as 16-bit WAV."""
    from ...transcription.live import record_clip

    clip = record_clip(
        source,
        name=name,
        longest=LONGEST_SECONDS,
        pause=PAUSE_SECONDS,
        stop_when=lambda: _enter_pressed(env),
    )
    seconds = len(clip.samples) / SAMPLE_RATE
    if seconds < _SHORTEST_SECONDS:
        raise MicrophoneError("nothing was recorded")
    env.say(f"{name}: {seconds:.1f} s")
    samples = (clip.samples.clip(-1.0, 1.0) * 32767).astype("<i2")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())
    return AudioPart(source=Source.of(out.getvalue(), name=f"{name}.wav"))


def _enter_pressed(env: Environment) -> bool:
    """Whether Enter was pressed; the line is consumed."""
    if not env.stdin.isatty():
        return False
    ready, _, _ = select.select([env.stdin], [], [], 0)
    if ready:
        env.stdin.readline()
    return bool(ready)
