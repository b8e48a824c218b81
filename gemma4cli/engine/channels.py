"""Decode generated ids to text and separate thoughts from the answer.

A model thinks in a channel: ``<|channel>thought\\n ... <channel|>``. Markers are recognized by
token id, so text that only looks like a marker stays text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..events import TextDelta, ThoughtDelta
from ..processing.tokenizer import Tokenizer

_OPEN, _CLOSE = "<|channel>", "<channel|>"


class ChannelSplitter:
    """Turns ids into deltas; ``text`` and ``thoughts`` hold the output so far.

    ``prompt_ids`` show whether the prompt ends inside a thought.
    """

    def __init__(self, tokenizer: Tokenizer, prompt_ids: Sequence[int]) -> None:
        def control(name: str) -> int | None:
            return tokenizer.control_id(name) if tokenizer.has_control(name) else None

        self._open, self._close = control(_OPEN), control(_CLOSE)
        self._decoder = tokenizer.stream_decoder()
        self._in_thought = False
        for token in prompt_ids:
            if token in (self._open, self._close):
                self._in_thought = token == self._open
        self._in_label = False
        self._texts: list[str] = []
        self._thoughts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def thoughts(self) -> str:
        return "".join(self._thoughts)

    def push(self, token: int) -> Iterator[TextDelta | ThoughtDelta]:
        """The deltas that this id completes, if any."""
        if token in (self._open, self._close):
            yield from self._emit(self._decoder.flush())
            self._in_thought = self._in_label = token == self._open
            return
        yield from self._emit(self._decoder.push(token))

    def finish(self) -> Iterator[TextDelta | ThoughtDelta]:
        """Flush an incomplete character."""
        yield from self._emit(self._decoder.flush())

    def _emit(self, text: str) -> Iterator[TextDelta | ThoughtDelta]:
        if self._in_label:
            # A channel starts with a line that holds its name.
            _, newline, text = text.partition("\n")
            self._in_label = not newline
        if not text:
            return
        if self._in_thought:
            self._thoughts.append(text)
            yield ThoughtDelta(text=text)
        else:
            self._texts.append(text)
            yield TextDelta(text=text)
