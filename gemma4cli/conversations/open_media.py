"""Messages to decoded media: clips are planned, then everything is opened once.

Of the conversation, it knows only the messages before; it knows no terminal.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..decoded import AudioClip, Decoded, Image, VideoClip, VideoFrame
from ..errors import ConversationError, MediaDecodeError, NoAudioTrackError
from ..events import (
    AudioDecoded,
    DecodeProgress,
    Notice,
    PicturesDecoded,
    VideoPlanned,
    VideoSampled,
)
from ..messages import AudioPart, ImagePart, MediaPart, Message, Part, Source, TextPart, VideoPart
from ..options import GenerateOptions, MediaOptions
from ..processing.inputs import ModelInputs
from ..processing.prompt import AudioSlot, Prompt, Slot, build_prompt
from ..processing.video import ClipPlan, frame_times, interleaved, plan_clip
from .lengths import require_clips_fit, require_text_fits, sound_that_fits
from .opened import OpenedMedium, OpenedMessage

if TYPE_CHECKING:
    from ..engine.answering import AnsweringModel
    from ..media.pictures.video import VideoInfo
    from ..media.sound.tracks import TrackChoice


def open_message(
    model: AnsweringModel,
    message: Message,
    options: MediaOptions,
    *,
    before: Sequence[OpenedMessage] = (),
    generate: GenerateOptions | None = None,
) -> Iterator[
    DecodeProgress
    | PicturesDecoded
    | AudioDecoded
    | VideoPlanned
    | VideoSampled
    | Notice
    | OpenedMessage
]:
    """Decode a message's media: events for each, at last the opened message.

    Clips are planned first: if a message with clips does not fit the context or the memory after
    the messages ``before`` it and with the answer that ``generate`` describes, the error comes
    before anything is decoded.

    Raises MediaError, UnsupportedModalityError before any file is opened, ContextLengthError for
    its text alone, and that and PromptTooLargeError from the plan.
    """
    require_text_fits(model, message)
    for part in message.parts:
        if not isinstance(part, TextPart):
            model.processor.check_modality(part)
    clips: dict[int, _PlannedClip] = {}
    for number, part in enumerate(message.parts):
        if isinstance(part, VideoPart) and part.source is not None:
            yield DecodeProgress(source=part.source.name)
            planned_clip = clips[number] = _plan_clip(model, part.source, options)
            if planned_clip.notice is not None:
                yield planned_clip.notice
            yield planned_clip.event
    if clips:
        require_clips_fit(model, (each.plan.soft_tokens for each in clips.values()))
        generate = generate or GenerateOptions(max_tokens=1)
        planned = _planned_prompt(model, message, clips, before, options, think=generate.think)
        model.check_plan(planned, generate)
    text = " ".join(part.text for part in message.parts if isinstance(part, TextPart))
    media: list[OpenedMedium] = []
    parts: list[Part] = []
    for number, part in enumerate(message.parts):
        if isinstance(part, TextPart):
            parts.append(part)
            continue
        yield DecodeProgress(source=_name_of(part))
        if number not in clips:
            if isinstance(part, AudioPart):
                item: Decoded = yield from _open_sound(model, part, options)
            else:
                item = _open_part(model, part, options)
            parts.append(part)
            if isinstance(item, AudioClip):
                yield AudioDecoded(source=item.name, seconds=item.seconds)
            elif isinstance(item, Image):
                if isinstance(part, ImagePart) and (notice := _notice(item, part.source)):
                    yield Notice(text=notice)
                yield PicturesDecoded(source=item.name, pictures=(item,))
            else:
                yield PicturesDecoded(source=item.name, pictures=item.frames)
            source = part.source if isinstance(part, ImagePart) else None
            media.append(OpenedMedium(item, source, text))
            if isinstance(item, Image):
                media[-1].prepared(model.processor, options.budget)
            continue
        clip = _open_clip(model, clips[number], options)
        if clip.frames[-1].breaks_off:
            seconds = clip.frames[-1].seconds
            yield Notice(text=f"{clip.name}: what follows {seconds:.1f} s cannot be decoded")
        items = tuple(interleaved(clip, clips[number].plan, model.processor.longest_clip))
        yield VideoSampled(
            source=clip.name,
            timestamps=tuple(frame.seconds for frame in clip.frames),
        )
        yield PicturesDecoded(source=clip.name, pictures=clip.frames)
        media += [OpenedMedium(each, None, text) for each in items]
        parts += [
            AudioPart(source=clips[number].given) if isinstance(each, AudioClip) else part
            for each in items
        ]
    yield OpenedMessage(
        message=replace(message, content=tuple(parts)) if clips else message,
        original=message,
        media=tuple(media),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _PlannedClip:
    """A clip that is about to be decoded; ``source`` is ``given`` after ``settle``.

    ``with_sound`` says whether its sound is decoded, too, which is then that of ``track``;
    ``notice`` says which one that is.
    """

    given: Source
    source: Source
    info: VideoInfo
    with_sound: bool
    track: TrackChoice
    notice: Notice | None
    plan: ClipPlan

    @property
    def event(self) -> VideoPlanned:
        return VideoPlanned(
            source=self.given.name,
            frames=len(self.plan.times),
            spacing=self.plan.spacing,
            soft_tokens=self.plan.soft_tokens,
            sound_seconds=self.plan.sound_seconds,
            audio_pieces=len(self.plan.sound_tokens),
        )


def _notice(image: Image, source: Source) -> str | None:
    """What a file holds beside the picture that the model sees, unless the user chose it."""
    if image.frames > 1:
        return f"{image.name}: the first of {image.frames} frames; g4 video sees all of them"
    if image.pages > 1 and source.page is None:
        return f"{image.name}: page {image.page} of {image.pages}; --pages all chooses each of them"
    return None


def _name_of(part: MediaPart) -> str:
    if isinstance(part, VideoPart):
        source = part.source or part.frames[0]
        return source.name
    return part.source.name


def _open_sound(
    model: AnsweringModel, part: AudioPart, options: MediaOptions
) -> Generator[Notice, None, AudioClip]:
    """Decode a clip of sound; a notice says which track, unless that is clear."""
    from ..media.sound.audio import load_part
    from ..media.sources import settle

    source = settle(part.source)
    track, notice = _chosen_track(source, options)
    if notice is not None:
        yield notice
    if part.end is not None or part.start:
        return load_part(source, part.start, part.end, track)
    return sound_that_fits(model, source, track)


def _open_part(
    model: AnsweringModel, part: ImagePart | VideoPart, options: MediaOptions
) -> Decoded:
    """Decode an image, or a clip given as frames."""
    from ..media.pictures.images import load_image

    if isinstance(part, ImagePart):
        return load_image(part.source)
    frames = tuple(
        _fitted(model, load_image(source).pixels, seconds, options)
        for source, seconds in zip(part.frames, part.timestamps, strict=True)
    )
    return VideoClip(frames=frames, sound=None, name=_name_of(part))


def _chosen_track(source: Source, options: MediaOptions) -> tuple[TrackChoice, Notice | None]:
    """The audio track that the model hears, and a notice if the user did not choose it.

    Raises the errors of ``sound_tracks``.
    """
    from ..media.sound.audio import audible_tracks
    from ..media.sound.tracks import ANY_TRACK, TrackChoice, describe_choice

    if options.track is not None:
        return TrackChoice(wanted=options.track), None
    tracks = audible_tracks(source)
    text = describe_choice("hearing", source.name, tracks)
    if text is None:
        return ANY_TRACK, None
    return TrackChoice(wanted=tracks[0].number), Notice(text=text)


def clip_part(source: Source, options: MediaOptions) -> tuple[float, float]:
    """Start and end, in seconds, of the part of a clip's picture that the options select.

    Raises MediaError, and ConversationError for a part after the clip's end.
    """
    from ..media.pictures.video import probe_video

    return _part_of(source, probe_video(source).duration, options)


def _part_of(source: Source, duration: float, options: MediaOptions) -> tuple[float, float]:
    start, end = options.video_start, options.video_end
    if start >= duration > 0:
        raise ConversationError(
            f"{source.name}: ends at {duration:.1f} s, before the start at {start:.1f} s"
        )
    return start, duration if end is None else min(end, duration)


def _plan_clip(model: AnsweringModel, given: Source, options: MediaOptions) -> _PlannedClip:
    from ..media.pictures.video import probe_video
    from ..media.sound.tracks import ANY_TRACK
    from ..media.sources import settle

    source = settle(given)
    track, notice, with_sound = ANY_TRACK, None, False
    if options.video_sound and model.processor.hears:
        with suppress(NoAudioTrackError, MediaDecodeError):
            track, notice = _chosen_track(source, options)
            with_sound = True
    info = probe_video(source, track)
    with_sound = with_sound and info.has_sound
    start, end = _part_of(source, info.duration, options)
    times = frame_times(
        duration=info.duration,
        frame_count=info.frames,
        max_frames=options.video_max_frames or model.processor.config.vision.video_frames,
        fps=options.video_fps,
        start=start,
        end=options.video_end,
    )
    sound_end = start
    if with_sound:
        sound_end = info.duration if info.sound_end is None else info.sound_end
    plan = plan_clip(
        model.processor,
        times,
        start=start,
        end=end,
        sound_end=sound_end if options.video_end is None else min(sound_end, options.video_end),
        size=(info.height, info.width),
        budget=options.video_budget,
    )
    return _PlannedClip(
        given=given,
        source=source,
        info=info,
        with_sound=with_sound,
        track=track,
        notice=notice if with_sound else None,
        plan=plan,
    )


def _open_clip(model: AnsweringModel, clip: _PlannedClip, options: MediaOptions) -> VideoClip:
    from ..media.pictures.video import iter_frames, load_sound

    sound = None
    if clip.with_sound:
        sound = load_sound(clip.source, clip.info, clip.plan.start, options.video_end, clip.track)
    frames = tuple(
        replace(_fitted(model, frame.pixels, frame.seconds, options), breaks_off=frame.breaks_off)
        for frame in iter_frames(clip.source, clip.plan.times)
    )
    return VideoClip(frames=frames, sound=sound, name=clip.source.name)


def _fitted(
    model: AnsweringModel, pixels: npt.NDArray[np.uint8], seconds: float, options: MediaOptions
) -> VideoFrame:
    """A frame no larger than the model sees it: full-size frames of a clip could fill memory."""
    return VideoFrame(
        pixels=model.processor.fit_frame(pixels, options.video_budget), seconds=seconds
    )


def _planned_prompt(
    model: AnsweringModel,
    message: Message,
    clips: Mapping[int, _PlannedClip],
    before: Sequence[OpenedMessage],
    options: MediaOptions,
    *,
    think: bool,
) -> Prompt:
    """The prompt up to a message whose clips are not decoded yet, without its other media."""
    processor = model.processor
    parts: list[Part] = []
    slots: list[Slot] = [
        each.slot for item in before for each in item.prepared(processor, options.budget)
    ]
    for number, part in enumerate(message.parts):
        if isinstance(part, TextPart):
            parts.append(part)
        elif number in clips:
            for slot in clips[number].plan.slots():
                is_audio = isinstance(slot, AudioSlot)
                parts.append(AudioPart(source=clips[number].given) if is_audio else part)
                slots.append(slot)
    return build_prompt(
        [*(item.message for item in before), replace(message, content=tuple(parts))],
        slots,
        tokenizer=processor.tokenizer,
        style=processor.prompt_style,
        think=think,
    )


def prepare(
    model: AnsweringModel,
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
