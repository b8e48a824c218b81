"""Decode generated ids to text and separate thoughts and calls of functions from the answer.

A model thinks in a channel: ``<|channel>thought\\n ... <channel|>``. Markers are recognized by
token id, so text that only looks like a marker stays text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from hashlib import blake2b

from ..events import AnswerDelta, TextDelta, ThoughtDelta, ToolCallDelta, ToolCallFinished
from ..messages import ToolCall
from ..processing.tokenizer import StreamDecoder, Tokenizer
from ..processing.tool_calls import CALL_BEGIN, CALL_END, CallParser, CallSyntaxError

_OPEN, _CLOSE = "<|channel>", "<channel|>"


class ChannelSplitter:
    """Turns ids into deltas; ``text``, ``thoughts`` and ``calls`` hold the output so far.

    ``prompt_ids`` show whether the prompt ends inside a thought. Calls of functions are read only
    with ``reads_calls``; a call that cannot be read, or is cut off, becomes text.
    """

    def __init__(
        self, tokenizer: Tokenizer, prompt_ids: Sequence[int], *, reads_calls: bool = False
    ) -> None:
        def control(name: str) -> int | None:
            return tokenizer.control_id(name) if tokenizer.has_control(name) else None

        self._tokenizer = tokenizer
        self._open, self._close = control(_OPEN), control(_CLOSE)
        self._call_begin = control(CALL_BEGIN) if reads_calls else None
        self._call_end = control(CALL_END)
        self._decoder = tokenizer.stream_decoder()
        self._in_thought = False
        for token in prompt_ids:
            if token in (self._open, self._close):
                self._in_thought = token == self._open
        self._in_label = False
        self._prompt_ids = prompt_ids
        self._call: _Call | None = None
        self._begun = 0
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self.calls: list[ToolCall] = []

    @cached_property
    def _prompt_text(self) -> str:
        return repr(tuple(self._prompt_ids))

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def thoughts(self) -> str:
        return "".join(self._thoughts)

    def is_text(self, token: int) -> bool:
        """Whether this id, as the next one, is part of the answer's text."""
        if self._call is not None or self._in_thought:
            return False
        return token not in self._tokenizer.control_ids

    def new_decoder(self) -> StreamDecoder:
        return self._tokenizer.stream_decoder()

    def push(self, token: int) -> Iterator[AnswerDelta]:
        """The deltas that this id completes, if any."""
        if self._call is not None:
            if token == self._call_end:
                yield from self._end_call(self._call)
                return
            if token not in (self._open, self._close, self._call_begin):
                yield from self._call.push(token)
                return
            yield from self._abandon_call()
        if token in (self._open, self._close):
            yield from self._emit(self._decoder.flush())
            self._in_thought = self._in_label = token == self._open
        elif token == self._call_begin:
            yield from self._emit(self._decoder.flush())
            # A call also ends a thought that the model did not close.
            self._in_thought = self._in_label = False
            self._call = self._begin_call()
        else:
            yield from self._emit(self._decoder.push(token))

    def finish(self) -> Iterator[AnswerDelta]:
        """Flush an incomplete character, or an incomplete call."""
        yield from self._emit(self._decoder.flush())
        yield from self._abandon_call()

    def _begin_call(self) -> _Call:
        """A call whose id is the same each time this prompt is answered, and other prompts' not."""
        digest = blake2b(f"({self._begun}, {self._prompt_text})".encode(), digest_size=12)
        self._begun += 1
        return _Call(self._tokenizer, self._begun - 1, f"call_{digest.hexdigest()}")

    def _end_call(self, call: _Call) -> Iterator[AnswerDelta]:
        try:
            finished = call.finish()
        except CallSyntaxError:
            yield from self._abandon_call()
            return
        self._call = None
        self.calls.append(finished.call)
        yield finished

    def _abandon_call(self) -> Iterator[TextDelta | ThoughtDelta]:
        """Make text of a call that is not one."""
        if self._call is not None:
            raw = self._call.raw
            self._call = None
            yield from self._emit(raw)

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


class _Call:
    """A call of a function that is being written."""

    def __init__(self, tokenizer: Tokenizer, index: int, call_id: str) -> None:
        self._parser = CallParser(tokenizer)
        self._index = index
        self._id = call_id
        self._is_named = False

    @property
    def raw(self) -> str:
        return self._parser.cut_off()

    def push(self, token: int) -> Iterator[ToolCallDelta]:
        arguments = self._parser.push(token)
        if not arguments:
            return
        delta = ToolCallDelta(index=self._index, id=self._id, name=self._parser.name)
        if not self._is_named:
            self._is_named = True
            yield delta
        yield ToolCallDelta(index=delta.index, id=delta.id, name=delta.name, arguments=arguments)

    def finish(self) -> ToolCallFinished:
        """Raises CallSyntaxError."""
        arguments = self._parser.finish()
        call = ToolCall(name=self._parser.name, arguments=arguments, id=self._id)
        return ToolCallFinished(index=self._index, call=call)
