"""Conversations: media are opened once, stay with the turn that brought them, and are answered.

The one path from messages to events; ``api`` and the command line stand on it. Knows no terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .decoded import SAMPLE_RATE, AudioClip, Decoded, VideoClip, VideoFrame
from .errors import ConversationError
from .events import (
    AudioDecoded,
    DecodeProgress,
    Event,
    Finished,
    TextDelta,
    ThoughtDelta,
    VideoSampled,
)
from .messages import AudioPart, ImagePart, Message, Part, TextPart, VideoPart
from .options import GenerateOptions, MediaOptions
from .processing.inputs import ModelInputs
from .processing.processor import PreparedMedium, Processor
from .processing.video import frame_times

if TYPE_CHECKING:
    from .engine.model import LoadedModel


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OpenedMessage:
    """A message whose media are decoded, one item for each media part, in order.

    The sound of a clip stands as audio parts behind the message's other parts.
    """

    message: Message
    media: tuple[Decoded, ...]
    _prepared: list[tuple[Processor, int | None, tuple[PreparedMedium, ...]]] = field(
        default_factory=list, init=False, repr=False
    )

    def prepared(self, processor: Processor, budget: int | None) -> tuple[PreparedMedium, ...]:
        """The media as the prompt and the model take them, computed once for a budget."""
        for owner, known_budget, prepared in self._prepared:
            if owner is processor and known_budget == budget:
                return prepared
        prepared = tuple(processor.prepare_medium(item, budget) for item in self.media)
        self._prepared[:] = [(processor, budget, prepared)]
        return prepared


def open_message(
    model: LoadedModel, message: Message, options: MediaOptions
) -> Iterator[DecodeProgress | AudioDecoded | VideoSampled | OpenedMessage]:
    """Decode a message's media: progress for each, at last the opened message.

    Raises MediaError, and UnsupportedModalityError before a file is opened.
    """
    media: list[Decoded] = []
    sounds: list[AudioClip] = []
    sound_parts: list[Part] = []
    parts = [part for part in message.parts if not isinstance(part, TextPart)]
    for part in parts:
        model.processor.check_modality(part)
    for part in parts:
        yield DecodeProgress(source=_name_of(part))
        item = _open_part(model, part, options)
        media.append(item)
        if isinstance(item, AudioClip):
            yield AudioDecoded(source=item.name, seconds=item.seconds)
        if isinstance(part, VideoPart) and part.source and isinstance(item, VideoClip):
            pieces = _heard_pieces(model, item.sound)
            yield VideoSampled(
                source=item.name,
                timestamps=tuple(frame.seconds for frame in item.frames),
                sound_seconds=sum(piece.seconds for piece in pieces),
            )
            sounds += pieces
            sound_parts += [AudioPart(source=part.source)] * len(pieces)
    if sound_parts:
        message = replace(message, content=(*message.parts, *sound_parts))
    yield OpenedMessage(message=message, media=(*media, *sounds))


def _name_of(part: ImagePart | AudioPart | VideoPart) -> str:
    if isinstance(part, VideoPart):
        source = part.source or part.frames[0]
        return source.name
    return part.source.name


def _open_part(
    model: LoadedModel, part: ImagePart | AudioPart | VideoPart, options: MediaOptions
) -> Decoded:
    from .media.audio import load_audio
    from .media.images import load_image

    if isinstance(part, ImagePart):
        return load_image(part.source)
    if isinstance(part, AudioPart):
        return load_audio(part.source)
    if part.source is None:
        frames = tuple(
            _fitted(model, load_image(source).pixels, seconds, options)
            for source, seconds in zip(part.frames, part.timestamps, strict=True)
        )
        return VideoClip(frames=frames, sound=None, name=_name_of(part))
    return _open_clip(model, part, options)


def _open_clip(model: LoadedModel, part: VideoPart, options: MediaOptions) -> VideoClip:
    from .media.sources import settle
    from .media.video import iter_frames, load_sound, probe_video

    assert part.source is not None
    source = settle(part.source)
    info = probe_video(source)
    start, end = options.video_start, options.video_end
    if start >= info.duration > 0:
        raise ConversationError(
            f"{source.name}: ends at {info.duration:.1f} s, before the start at {start:.1f} s"
        )
    times = frame_times(
        duration=info.duration,
        frame_count=info.frames,
        max_frames=options.video_max_frames or model.processor.config.vision.video_frames,
        fps=options.video_fps,
        start=start,
        end=end,
    )
    sound = None
    if info.has_sound and options.video_sound and model.processor.hears:
        sound = load_sound(source, start, end)
    frames = tuple(
        _fitted(model, frame.pixels, frame.seconds, options) for frame in iter_frames(source, times)
    )
    return VideoClip(frames=frames, sound=sound, name=source.name)


def _fitted(
    model: LoadedModel, pixels: npt.NDArray[np.uint8], seconds: float, options: MediaOptions
) -> VideoFrame:
    """A frame no larger than the model sees it: whole ones of a clip could fill the memory."""
    return VideoFrame(
        pixels=model.processor.fit_frame(pixels, options.video_budget), seconds=seconds
    )


def _heard_pieces(model: LoadedModel, sound: AudioClip | None) -> list[AudioClip]:
    """The sound of a clip in pieces no longer than the model hears."""
    if sound is None:
        return []
    longest = model.processor.longest_clip
    size = len(sound.samples) if longest is None else int(longest * SAMPLE_RATE)
    pieces = [sound.samples[i : i + size] for i in range(0, len(sound.samples), size)]
    # A rest too short for one soft token says nothing.
    heard = [piece for piece in pieces if len(piece) >= SAMPLE_RATE // 50]
    return [AudioClip(samples=np.ascontiguousarray(p), name=sound.name) for p in heard]


def prepare(
    model: LoadedModel,
    opened: Sequence[OpenedMessage],
    media: MediaOptions,
    *,
    think: bool = False,
    tools: Sequence[Mapping[str, Any]] = (),
) -> ModelInputs:
    """Model inputs of a conversation."""
    return model.processor.prepare_prompt(
        [item.message for item in opened],
        [prepared for item in opened for prepared in item.prepared(model.processor, media.budget)],
        think=think,
        tools=tools,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextUse:
    """Tokens that a conversation takes as a prompt, and how many the model's context has."""

    tokens: int
    limit: int


class Chat:
    """A conversation with one model.

    ``history`` holds what was asked and answered, thoughts apart. A turn that was cancelled keeps
    what had been said; one that failed, or was cancelled before a word, leaves nothing behind.

    A turn computes what is new in it: the rest is in the KV cache from the turns before.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        system: str | None = None,
        media: MediaOptions | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        from .engine.turn_cache import TurnCache

        self.model = model
        self.media = media or MediaOptions()
        self.tools = tuple(tools)
        self._opened: list[OpenedMessage] = []
        self._turns = TurnCache()
        self._think = False
        self._measured: tuple[tuple[object, ...], int] = ((), 0)
        if system:
            self._keep(Message(role="system", content=system))

    @property
    def history(self) -> tuple[Message, ...]:
        return tuple(item.message for item in self._opened)

    def _keep(self, message: Message) -> None:
        self._opened.append(OpenedMessage(message=message, media=()))

    def clear(self) -> None:
        """Forget everything but the system prompt."""
        self._opened = [item for item in self._opened if item.message.role == "system"]
        self._turns.clear()

    def load(self, messages: Sequence[Message]) -> Iterator[Event]:
        """Take over messages that were said elsewhere, opening their media."""
        for message in messages:
            for step in open_message(self.model, message, self.media):
                if isinstance(step, OpenedMessage):
                    self._opened.append(step)
                else:
                    yield step

    def send(
        self, content: str | tuple[Part, ...], options: GenerateOptions | None = None
    ) -> Iterator[Event]:
        """Say something and stream the answer; close the stream to cancel it."""
        before = list(self._opened)
        try:
            yield from self.load([Message(role="user", content=content)])
            yield from self.reply(options)
        finally:
            if not self._is_answered():
                self._opened = before

    def retry(self, options: GenerateOptions | None = None) -> Iterator[Event]:
        """Drop the last answer and stream another; without one, the old answer stays."""
        before = list(self._opened)
        try:
            while self._is_answered():
                del self._opened[-1]
            yield from self.reply(options)
        finally:
            if not self._is_answered():
                self._opened = before

    def reply(self, options: GenerateOptions | None = None) -> Iterator[Event]:
        """Stream the answer to the conversation as it stands."""
        from .engine.generate import generate

        options = options or GenerateOptions()
        if not self._opened or self._opened[-1].message.role not in ("user", "tool"):
            raise ConversationError("the conversation does not end with something to answer")
        self._think = options.think
        inputs = self._inputs()
        said: list[str] = []
        thought: list[str] = []
        kept = False
        try:
            for event in generate(self.model, inputs, options, self._turns):
                if isinstance(event, TextDelta):
                    said.append(event.text)
                elif isinstance(event, ThoughtDelta):
                    thought.append(event.text)
                kept = isinstance(event, Finished)
                yield event
        except (GeneratorExit, KeyboardInterrupt):
            kept = kept or bool(said)
            raise
        finally:
            if kept:
                self._keep(
                    Message(
                        role="assistant",
                        content="".join(said),
                        thoughts="".join(thought) or None,
                    )
                )

    def undo(self) -> bool:
        """Forget the last user turn and what followed it; False where there is none."""
        turns = self._user_turns()
        if turns:
            del self._opened[turns[-1] :]
        return bool(turns)

    def drop_oldest(self) -> int:
        """Forget the oldest user turn with its answer; returns how many user turns that were.

        Those that got no answer go with the one behind them. The system prompt stays.
        """
        turns = self._user_turns()
        if not turns:
            return 0
        next_turn = (i for i in turns[1:] if self._opened[i - 1].message.role != "user")
        end = next(next_turn, len(self._opened))
        kept = [item for item in self._opened[:end] if item.message.role == "system"]
        self._opened = kept + self._opened[end:]
        return sum(i < end for i in turns)

    def context(self) -> ContextUse:
        """How much of the model's context the conversation takes, thinking as in the last turn."""
        state = (*self._opened, self.model, self.media, self.tools, self._think)
        if state != self._measured[0]:
            tokens = len(self._inputs().ids) if self._opened else 0
            self._measured = (state, tokens)
        return ContextUse(tokens=self._measured[1], limit=self.model.context_length)

    def _inputs(self) -> ModelInputs:
        return prepare(self.model, self._opened, self.media, think=self._think, tools=self.tools)

    def _is_answered(self) -> bool:
        return bool(self._opened) and self._opened[-1].message.role == "assistant"

    def _user_turns(self) -> list[int]:
        """Where user messages stand."""
        return [i for i, item in enumerate(self._opened) if item.message.role == "user"]
