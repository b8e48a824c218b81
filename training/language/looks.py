"""Where what an answer says was seen or heard: the soft tokens that each of its tokens tells of.

A decoder that writes speech down copies one word after the other from a sound. Which ones follow
each other it can learn from its answers alone, but slowly: speech says the same word twice. In
pictures and videos it is the same with things and scenes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from gemma4cli.processing.prompt import AudioSlot, ImageSlot, MediaSpan, VideoSlot, time_label
from gemma4cli.processing.tokenizer import Tokenizer

from ..pictures.captions import parts, phrase
from ..pictures.description import Thing
from ..pictures.features import Shown
from ..pictures.labels import token_at
from ..pictures.lettering import character_centers
from ..speech.audio_features import Heard
from ..words.numbers import digit_words, english_parts, german_parts
from .conversations import Conversation
from .dialogues import Encoded, Turn

_PARTS = {"en": english_parts, "de": german_parts}
_WORD_TOKENS = 2
"""Soft tokens on which the tower's head reads a word, from the one on which it begins."""
_LABEL_TOKENS = 8
"""The time before a frame, and the token that begins it: " 00:03 <|image>"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """The token at position ``token`` tells of what is at the positions ``places``."""

    token: int
    places: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Said:
    """The characters of an answer from ``begin`` to before ``end`` tell of ``places``."""

    begin: int
    end: int
    places: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Medium:
    """A picture, a frame with its time, or a sound, and the turn that it came with."""

    turn: int
    span: MediaSpan
    content: Shown | Heard
    stamp: str | None = None


def looks(conversation: Conversation, encoded: Encoded, tokenizer: Tokenizer) -> list[Look]:
    """All tokens of the answers of which it is known what they tell of."""
    media = list(_media(conversation, encoded))
    found: list[Look] = []
    for number, (turn, positions) in enumerate(
        zip(conversation.turns, encoded.answers, strict=True)
    ):
        if turn.thought is not None:
            continue
        said = list(_said([each for each in media if each.turn <= number], turn))
        if not said:
            continue
        end = 0
        for position, token in zip(positions, tokenizer.encode(turn.answer), strict=False):
            text = tokenizer.decode([token])
            begin, end = end, end + len(text)
            # A token that is nothing but a space leads to what follows it.
            last = end + 1 if text == " " else end
            found += [
                Look(token=position, places=each.places)
                for each in said
                if begin < each.end and last > each.begin
            ][:1]
    return found


def words_heard(clip: Heard) -> dict[int, tuple[range, ...]]:
    """The soft tokens of the words of a clip's transcript, by their number.

    A word has one range, a number one for each of its digits. Words that the tower did not hear as
    they are written are left out.
    """
    heard: list[tuple[str, tuple[range, ...]]] = []
    at = 0
    for written, count in _PARTS[clip.language]([word for _, word in clip.spelled]):
        spoken = [word for _, word in clip.spelled[at : at + count]]
        starts = [start for start, _ in clip.spelled[at : at + count]]
        wheres = digit_words(written, spoken) if written.isdecimal() else [0]
        ranges = (range(starts[n], min(starts[n] + _WORD_TOKENS, len(clip.tokens))) for n in wheres)
        heard.append((written, tuple(ranges)))
        at += count
    matcher = SequenceMatcher(None, clip.written.split(), [w for w, _ in heard], autojunk=False)
    return {
        block.a + offset: heard[block.b + offset][1]
        for block in matcher.get_matching_blocks()
        for offset in range(block.size)
    }


def _media(conversation: Conversation, encoded: Encoded) -> Iterator[_Medium]:
    """In order; a frame that shows what the frame before it did is left out."""
    spans, pictures = iter(encoded.spans), iter(conversation.pictures)
    sounds = iter(conversation.sounds)
    for number, turn in enumerate(conversation.turns):
        before: Shown | None = None
        for part in turn.parts:
            match part:
                case ImageSlot():
                    yield _Medium(turn=number, span=next(spans), content=next(pictures))
                case AudioSlot():
                    yield _Medium(turn=number, span=next(spans), content=next(sounds))
                case VideoSlot():
                    for seconds, _ in part.frames:
                        span, shown = next(spans), next(pictures)
                        if before is None or shown.picture != before.picture:
                            stamp = time_label(seconds)
                            yield _Medium(turn=number, span=span, content=shown, stamp=stamp)
                        before = shown


def _said(media: Sequence[_Medium], turn: Turn) -> Iterator[_Said]:
    answer = turn.answer
    described = 0
    for medium in media:
        match medium.content:
            case Heard() as clip if clip.written:
                yield from _written(medium.span, clip, answer)
            case Shown() as shown:
                rest = answer[described:]
                at = re.search(rf"(?i)\b{re.escape(phrase(shown.picture))}(?=\.)", rest)
                begin = len(answer) if at is None else described + at.start()
                if medium.stamp is not None:
                    yield from _stamped(medium, answer, begin)
                if at is not None:
                    described += at.end()
                    yield from _described(medium.span, shown, answer, begin)
    seen = [medium for medium in media if isinstance(medium.content, Shown)]
    if seen:
        yield from _asked(seen[-1], turn)


def _written(span: MediaSpan, clip: Heard, answer: str) -> Iterator[_Said]:
    """The words of a transcript."""
    at = re.search(rf"(?<!\w){re.escape(clip.written)}(?!\w)", answer)
    if at is None:
        return
    places = words_heard(clip)
    for number, word in enumerate(re.finditer(r"\S+", clip.written)):
        begin, end = at.start() + word.start(), at.start() + word.end()
        ranges = places.get(number, ())
        for count, heard in enumerate(ranges, start=1):
            # The digits of a number one by one, any other word whole.
            last = begin + 1 if count < len(ranges) else end
            seen = tuple(span.start + place for place in heard)
            yield _Said(begin=begin, end=last, places=seen)
            begin = last


def _stamped(frame: _Medium, answer: str, begin: int) -> Iterator[_Said]:
    """The time of a scene that is described at ``begin``, or that was asked for."""
    stamp = f"At {frame.stamp}"
    places = tuple(range(frame.span.start - _LABEL_TOKENS, frame.span.end + 1))
    if answer[:begin].endswith(f"{stamp} "):
        yield _Said(begin=begin - len(stamp) - 1, end=begin - 1, places=places)
    elif answer == f"{stamp}.":
        yield _Said(begin=0, end=len(stamp), places=places)


def _described(span: MediaSpan, shown: Shown, answer: str, begin: int) -> Iterator[_Said]:
    """The things, or the letters, of a picture whose caption stands at ``begin``."""
    picture = shown.picture
    if picture.plain is not None:
        return
    if picture.lettering:
        yield from _spelled(span, shown, answer.index(picture.lettering[0].text, begin))
        return
    for text, things in parts(picture):
        # The first word of an answer has a capital letter.
        begin = answer.index(text[1:], begin) - 1
        end = begin + len(text)
        yield _Said(begin=begin, end=end, places=_things(span, shown, things))
        begin = end


def _asked(medium: _Medium, turn: Turn) -> Iterator[_Said]:
    """A short answer about the picture ``medium``."""
    shown = medium.content
    assert isinstance(shown, Shown)
    if turn.about:
        places = _things(medium.span, shown, turn.about)
        yield _Said(begin=0, end=len(turn.answer), places=places)
    elif shown.picture.lettering and turn.answer == shown.picture.lettering[0].text:
        yield from _spelled(medium.span, shown, 0)


def _spelled(span: MediaSpan, shown: Shown, begin: int) -> Iterator[_Said]:
    """The characters that the picture shows, from the character ``begin`` of an answer on."""
    for number, center in enumerate(character_centers(shown.picture.lettering[0]), start=begin):
        yield _Said(begin=number, end=number + 1, places=(_place(span, shown, *center),))


def _things(span: MediaSpan, shown: Shown, things: Sequence[Thing]) -> tuple[int, ...]:
    """Their middles; of equal ones that of the last, whose soft token knows how many they are."""
    if len({thing.look for thing in things}) == 1:
        last = max(_place(span, shown, thing.x, thing.y) for thing in things)
        return (last,)
    return tuple({_place(span, shown, thing.x, thing.y) for thing in things})


def _place(span: MediaSpan, shown: Shown, x: float, y: float) -> int:
    row, column = token_at(x, y, shown.picture, shown.grid)
    return span.start + row * shown.grid[1] + column
