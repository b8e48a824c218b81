"""Rejects text, sound and clips that are far too long, without reading or decoding all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import ContextLengthError
from ..messages import Message, Source, TextPart

if TYPE_CHECKING:
    from ..decoded import AudioClip
    from ..engine.answering import AnsweringModel
    from ..media.sound.tracks import TrackChoice

_CHUNK = 1 << 15
"""Characters that are encoded at a time."""

_CUT_TOKENS = 64
"""How many tokens more there may be because a text is cut between two chunks."""

_LONG = 1000.0
"""Seconds in which the tokens of sound are counted."""

_SHORT = 2
"""Characters per token of the context; shorter text is left to the check of the whole prompt."""

_FAR = 16
"""Contexts that the soft tokens of clips may fill before that check, which says more."""


def require_text_fits(model: AnsweringModel, message: Message) -> None:
    """Raise ContextLengthError if the text of a message alone is longer than the context.

    At most about as much of it is encoded as the context holds.
    """
    texts = [part.text for part in message.parts if isinstance(part, TextPart)]
    total, limit = sum(map(len, texts)), model.context_length
    if total <= _SHORT * limit:
        return
    tokens = seen = 0
    for text in texts:
        for at in range(0, len(text), _CHUNK):
            chunk = text[at : at + _CHUNK]
            tokens += max(0, len(model.processor.tokenizer.encode(chunk)) - _CUT_TOKENS)
            seen += len(chunk)
            if tokens > limit:
                raise ContextLengthError(
                    _rounded(tokens * total // seen), limit, "use less text", estimated=True
                )


def require_clips_fit(model: AnsweringModel, soft_tokens: Iterable[int]) -> None:
    """Raise ContextLengthError for clips that are far longer than the context.

    A few bytes of a file may claim months of sound, whose prompt would fill the memory. What is
    little too long is left to the check of the whole prompt.
    """
    total, limit = sum(soft_tokens), model.context_length
    if total > _FAR * limit:
        raise ContextLengthError(
            _rounded(total), limit, "use a part of it (g4 video --from, --to)", estimated=True
        )


def sound_that_fits(model: AnsweringModel, source: Source, track: TrackChoice) -> AudioClip:
    """A recording's sound, or the start of it that the model hears.

    Raises ContextLengthError for one that alone is longer than the context, if the model hears any
    length; and MediaError.
    """
    from ..media.sound.audio import load_audio
    from ..media.sound.lengths import seconds_if_longer

    longest = model.processor.longest_clip
    if longest is not None:
        return load_audio(source, track, longest)
    limit, second = model.context_length, model.processor.sound_tokens(_LONG) / _LONG
    too_long = seconds_if_longer(source, track, limit / second)
    if too_long is None:
        clip = load_audio(source, track, limit / second)
        if clip.whole is None:
            return clip
        too_long = clip.whole
    raise ContextLengthError(
        _rounded(round(too_long * second)), limit, "use a shorter recording", estimated=True
    )


def _rounded(number: int) -> int:
    """Two digits and zeros."""
    digits = str(number)
    return int(digits[:2].ljust(len(digits), "0"))
