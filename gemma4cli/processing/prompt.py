"""Conversation and soft-token counts to the prompt: token ids, and where the placeholders are.

Text is encoded apart from control tokens, so what a user types never becomes one. Knows no files,
no pixels and no samples: media are numbers of soft tokens here.
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
from .prompt_tokens import Control, Expanded, Media, Piece, Placeholders, Text, merged
from .template import (
    TemplateOptions,
    kind_of,
    media_parts,
    render,
)
from .tokenizer import Tokenizer, well_formed

__all__ = [
    "PLACEHOLDER",
    "AudioSlot",
    "ImageSlot",
    "MediaSpan",
    "Prompt",
    "PromptFlavour",
    "Slot",
    "VideoSlot",
    "build_prompt",
    "check_placeholders",
    "media_parts",
]

PLACEHOLDER: Mapping[MediaKind, str] = {
    "image": "<|image|>",
    "video": "<|video|>",
    "audio": "<|audio|>",
}
"""The control token that one soft token of each kind will replace."""

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
class PromptFlavour:
    """The one point in which the templates of the sizes differ.

    ``empty_thought``: 12B, 26B-A4B and 31B open the answer with an empty thought when thinking is
    off; E2B and E4B do not.
    """

    empty_thought: bool

    @classmethod
    def detect(cls, chat_template: str | None, *, default: bool) -> PromptFlavour:
        """From the checkpoint's own chat template; ``default`` where it has none.

        Templates that add the empty thought hold it as one literal, its newline escaped or not.
        """
        if chat_template is None:
            return cls(empty_thought=default)
        literals = ("<|channel>thought\\n<channel|>", "<|channel>thought\n<channel|>")
        return cls(empty_thought=any(literal in chat_template for literal in literals))


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSlot:
    """What one image part becomes."""

    soft_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioSlot:
    """What one audio part becomes."""

    soft_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoSlot:
    """What one video part becomes: the time in seconds and the soft tokens of each frame."""

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

    The markers around them are not part of it. ``item`` is the number of the media part in the
    conversation, ``frame`` the number of the frame in its video.
    """

    kind: MediaKind
    start: int
    end: int
    item: int
    frame: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A prompt ready for the model.

    ``text`` is for people: control tokens are written by name, so it cannot be encoded back
    where a user typed such a name.
    """

    ids: tuple[int, ...]
    spans: tuple[MediaSpan, ...]
    text: str


def build_prompt(
    messages: Sequence[Message],
    slots: Sequence[Slot] = (),
    *,
    tokenizer: Tokenizer,
    flavour: PromptFlavour,
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
        empty_thought=flavour.empty_thought,
        add_generation_prompt=add_generation_prompt,
    )
    pieces = list(render(messages, tools=tools, options=options))
    _check_slots(messages, slots)
    return _encode(list(merged(expand(pieces, slots))), tokenizer)


def check_placeholders(prompt: Prompt, soft_tokens: Mapping[MediaKind, Sequence[int]]) -> None:
    """Make sure that every placeholder will meet its soft token, before the model runs.

    ``soft_tokens`` has, for each kind, how many soft tokens the towers gave for every image,
    video frame or clip, in the order of the prompt's spans.
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


def expand(pieces: Sequence[Piece], slots: Sequence[Slot]) -> Iterator[Expanded]:
    """Pieces with every media item replaced by its markers and placeholders."""
    for piece in pieces:
        if not isinstance(piece, Media):
            yield piece
            continue
        match slots[piece.item]:
            case ImageSlot(soft_tokens=count):
                yield from _image(Placeholders(kind="image", count=count, item=piece.item))
            case AudioSlot(soft_tokens=count):
                yield from _audio(Placeholders(kind="audio", count=count, item=piece.item))
            case VideoSlot(frames=frames):
                yield from _video(piece.item, frames)


def _image(placeholders: Placeholders) -> tuple[Expanded, ...]:
    """3 soft tokens  ->  <|image> <|image|> <|image|> <|image|> <image|>."""
    return (Control("<|image>"), placeholders, Control("<image|>"))


def _audio(placeholders: Placeholders) -> tuple[Expanded, ...]:
    """3 soft tokens  ->  <|audio> <|audio|> <|audio|> <|audio|> <audio|>."""
    return (Control("<|audio>"), placeholders, Control("<audio|>"))


def _video(item: int, frames: Sequence[tuple[float, int]]) -> Iterator[Expanded]:
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


def _encode(pieces: Sequence[Expanded], tokenizer: Tokenizer) -> Prompt:
    """Merged pieces to ids; spans are counted here, where the ids are."""
    ids: list[int] = []
    spans: list[MediaSpan] = []
    texts: list[str] = []
    for piece in pieces:
        match piece:
            case Text(text=text):
                ids += tokenizer.encode(text)
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


def _control_id(name: str, tokenizer: Tokenizer) -> int:
    if not tokenizer.has_control(name) and name in _NEEDED_FOR:
        lack = f"its vocabulary has no {name} token"
        raise UnsupportedModalityError(_NEEDED_FOR[name], tokenizer.source, lack)
    return tokenizer.control_id(name)
