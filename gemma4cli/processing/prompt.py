"""Conversation and soft-token counts to the prompt: token ids and the spans of placeholders.

Text is encoded separately from control tokens, so nothing a user types becomes one. Media are
represented by their numbers of soft tokens only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from ..errors import (
    ConversationError,
    PlaceholderMismatchError,
    UnsupportedModalityError,
)
from ..messages import MediaKind, Message
from ..times import minutes_label
from .prompt_tokens import Control, ExpandedPart, Media, Placeholders, PromptPart, Text, merged
from .template import (
    TemplateOptions,
    answer,
    kind_of,
    media_parts,
    render,
)
from .text_encoder import TextEncoder, well_formed

__all__ = [
    "PLACEHOLDER",
    "AudioSlot",
    "ImageSlot",
    "MediaSpan",
    "Prompt",
    "PromptStyle",
    "Slot",
    "VideoSlot",
    "answer_ids",
    "build_prompt",
    "check_placeholders",
    "media_parts",
]

PLACEHOLDER: Mapping[MediaKind, str] = {
    "image": "<|image|>",
    "video": "<|video|>",
    "audio": "<|audio|>",
}
"""The control token that a soft token of each kind replaces."""

_NEEDED_FOR = {
    "<|think|>": "thinking",
    "<|image>": "images",
    "<|image|>": "images",
    "<image|>": "images",
    "<|video|>": "video",
    "<|audio>": "audio",
    "<|audio|>": "audio",
    "<audio|>": "audio",
    "<|tool>": "tools",
    "<|tool_call>": "tools",
    "<|tool_response>": "tools",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptStyle:
    """The only difference between the chat templates of the model sizes.

    ``empty_thought``: with thinking off, the generation prompt of 12B, 26B-A4B and 31B ends in an
    empty thought; that of E2B and E4B does not.
    """

    empty_thought: bool

    @classmethod
    def detect(cls, chat_template: str | None, *, default: bool) -> PromptStyle:
        """The style of a checkpoint's chat template; ``default`` if it has none.

        Templates that add the empty thought contain it as one literal, with the newline escaped or
        not.
        """
        if chat_template is None:
            return cls(empty_thought=default)
        literals = ("<|channel>thought\\n<channel|>", "<|channel>thought\n<channel|>")
        return cls(empty_thought=any(literal in chat_template for literal in literals))


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSlot:
    """The soft tokens of an image part."""

    soft_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioSlot:
    """The soft tokens of an audio part."""

    soft_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoSlot:
    """The time in seconds and the soft tokens of each frame of a video part."""

    frames: tuple[tuple[float, int], ...]


Slot = ImageSlot | AudioSlot | VideoSlot

_SLOT_KIND: Mapping[type[Slot], MediaKind] = {
    ImageSlot: "image",
    AudioSlot: "audio",
    VideoSlot: "video",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaSpan:
    """The placeholders of one image, one video frame or one audio clip: ``ids[start:end]``.

    The begin and end tokens around them are not included. ``item`` is the index of the media part
    in the conversation, ``frame`` that of the frame in its video.
    """

    kind: MediaKind
    start: int
    end: int
    item: int
    frame: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A prompt ready for the model.

    ``text`` is for display: control tokens appear by name, so it does not encode back to ``ids``
    if a user typed such a name.
    """

    ids: tuple[int, ...]
    spans: tuple[MediaSpan, ...]
    text: str


def build_prompt(
    messages: Sequence[Message],
    slots: Sequence[Slot] = (),
    *,
    tokenizer: TextEncoder,
    style: PromptStyle,
    think: bool = False,
    tools: Sequence[Mapping[str, Any]] = (),
    add_generation_prompt: bool = True,
) -> Prompt:
    """The prompt of a conversation; ``slots`` are in the order of ``media_parts(messages)``.

    user [image of 2 soft tokens, "What?"]
    ->  <bos> <|turn> user\\n <|image> <|image|> <|image|> <image|> What? <turn|> \\n
        <|turn> model\\n                                           spans: image [4, 6)
    """
    options = TemplateOptions(
        think=think,
        empty_thought=style.empty_thought,
        add_generation_prompt=add_generation_prompt,
    )
    parts = list(render(messages, tools=tools, options=options))
    _check_slots(messages, slots)
    return _encode(list(merged(expand(parts, slots))), tokenizer)


def answer_ids(
    messages: Sequence[Message], *, tokenizer: TextEncoder, think: bool = False
) -> tuple[int, ...]:
    """The ids that the model generates to give the last of ``messages`` after those before it.

    The last id is the one that it stops at.
    """
    *before, last = messages
    continues = think and bool(before) and before[-1].role == "tool"
    parts = answer(last, think=think, thinks_already=continues)
    return _encode(list(merged(expand(list(parts), ()))), tokenizer).ids


def check_placeholders(prompt: Prompt, soft_tokens: Mapping[MediaKind, Sequence[int]]) -> None:
    """Check before the model runs that every placeholder has a soft token.

    ``soft_tokens`` has, for each kind, the number of soft tokens of every image, video frame or
    clip, in the order of the prompt's spans. Raises PlaceholderMismatchError.
    """
    for kind in PLACEHOLDER:
        wanted = [span.end - span.start for span in prompt.spans if span.kind == kind]
        given = list(soft_tokens.get(kind, ()))
        if wanted == given:
            continue
        if sum(wanted) != sum(given):
            raise PlaceholderMismatchError(kind, sum(wanted), sum(given))
        pairs = zip_longest(wanted, given, fillvalue=0)
        raise PlaceholderMismatchError(kind, *next(pair for pair in pairs if pair[0] != pair[1]))


def expand(parts: Sequence[PromptPart], slots: Sequence[Slot]) -> Iterator[ExpandedPart]:
    """Parts with every media item replaced by its begin token, placeholders and end token."""
    for part in parts:
        if not isinstance(part, Media):
            yield part
            continue
        match slots[part.item]:
            case ImageSlot(soft_tokens=count):
                yield from _image(Placeholders(kind="image", count=count, item=part.item))
            case AudioSlot(soft_tokens=count):
                yield from _audio(Placeholders(kind="audio", count=count, item=part.item))
            case VideoSlot(frames=frames):
                yield from _video(part.item, frames)


def _image(placeholders: Placeholders) -> tuple[ExpandedPart, ...]:
    """3 soft tokens  ->  <|image> <|image|> <|image|> <|image|> <image|>."""
    return (Control("<|image>"), placeholders, Control("<image|>"))


def _audio(placeholders: Placeholders) -> tuple[ExpandedPart, ...]:
    """3 soft tokens  ->  <|audio> <|audio|> <|audio|> <|audio|> <audio|>."""
    return (Control("<|audio>"), placeholders, Control("<audio|>"))


def _video(item: int, frames: Sequence[tuple[float, int]]) -> Iterator[ExpandedPart]:
    """Frames at 0 s and 61.9 s with one soft token each.

    ->  "00:00 " <|image> <|video|> <image|> " 01:01 " <|image> <|video|> <image|>
    """
    for number, (seconds, count) in enumerate(frames):
        gap = " " if number else ""
        yield Text(f"{gap}{minutes_label(seconds)} ")
        yield from _image(Placeholders(kind="video", count=count, item=item, frame=number))


def _check_slots(messages: Sequence[Message], slots: Sequence[Slot]) -> None:
    parts = media_parts(messages)
    if len(parts) != len(slots):
        raise ConversationError(
            f"the conversation has {len(parts)} media parts but {len(slots)} were prepared"
        )
    for number, (part, slot) in enumerate(zip(parts, slots, strict=True)):
        if kind_of(part) != _SLOT_KIND[type(slot)]:
            raise ConversationError(
                f"media part {number + 1} is of kind {kind_of(part)} "
                f"but was prepared as {_SLOT_KIND[type(slot)]}"
            )
        if isinstance(slot, VideoSlot) and not slot.frames:
            raise ConversationError(f"media part {number + 1} is a video without frames")


def _encode(parts: Sequence[ExpandedPart], tokenizer: TextEncoder) -> Prompt:
    """Merged parts to ids and spans."""
    encoded = iter(tokenizer.encode_each([each.text for each in parts if isinstance(each, Text)]))
    ids: list[int] = []
    spans: list[MediaSpan] = []
    texts: list[str] = []
    for part in parts:
        match part:
            case Text(text=text):
                ids += next(encoded)
                texts.append(well_formed(text))
            case Control(name=name):
                ids.append(_control_id(name, tokenizer))
                texts.append(name)
            case Placeholders(kind=kind, count=count, item=item, frame=frame):
                name = PLACEHOLDER[kind]
                start = len(ids)
                ids += [_control_id(name, tokenizer)] * count
                texts.append(name * count)
                spans.append(
                    MediaSpan(kind=kind, start=start, end=len(ids), item=item, frame=frame)
                )
    return Prompt(ids=tuple(ids), spans=tuple(spans), text="".join(texts))


def _control_id(name: str, tokenizer: TextEncoder) -> int:
    if not tokenizer.has_control(name) and name in _NEEDED_FOR:
        lack = f"its vocabulary has no {name} token"
        raise UnsupportedModalityError(_NEEDED_FOR[name], tokenizer.source, lack)
    return tokenizer.control_id(name)
