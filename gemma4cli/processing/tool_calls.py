"""The model's calls of functions, read back from its output as it comes.

    <|tool_call> call:get_weather{city: <|"|> Paris <|"|> ,days:3} <tool_call|>
    ->  get_weather, {"city":"Paris","days":3}

Strings are enclosed in control tokens, which are recognized by id, so they may contain anything.
Besides the syntax that ``tools.call`` writes, what models write by mistake is read if it is clear:
whitespace, quoted keys, strings in plain quotes or in none, a comma at the end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping
from math import isfinite
from typing import Any

from ..checked_json import MAX_DEPTH, JsonError, check
from .tokenizer import Tokenizer

CALL_BEGIN, CALL_END = "<|tool_call>", "<tool_call|>"
QUOTE = '<|"|>'

NAME = re.compile(r"[\w.:/-]{1,256}")
"""What a function may be called."""

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_ODD_NUMBER = re.compile(r"[+-]?(\d+\.|\.\d+|[1-9]\d*|0)([eE][+-]?\d+)?", re.ASCII)
_LONGEST_NUMBER = 400
_WORDS = {
    "true": "true",
    "True": "true",
    "false": "false",
    "False": "false",
    "null": "null",
    "None": "null",
}

_Steps = Generator[None, str, None]
"""Part of the grammar; it is sent one symbol after the other."""


class CallSyntaxError(Exception):
    """A call that cannot be read; the message says why."""


class CallParser:
    """Reads one call from the ids after ``<|tool_call>``.

    Properties are the ``name`` of the function, empty until it is known, and JSON of the
    ``arguments`` so far.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = tokenizer.stream_decoder()
        self._quote = tokenizer.control_id(QUOTE) if tokenizer.has_control(QUOTE) else None
        self._grammar = _Grammar()
        self._steps = self._grammar.call()
        self._problem: str | None = None
        self._is_complete = False
        # Parts, since a text that grows by each of them would be copied each time.
        self._raw = [CALL_BEGIN]
        self._arguments: list[str] = []
        next(self._steps)

    @property
    def name(self) -> str:
        return self._grammar.name

    @property
    def arguments(self) -> str:
        return "".join(self._arguments)

    def push(self, token: int) -> str:
        """The next part of the arguments' JSON that this id completes, possibly empty."""
        if token == self._quote:
            symbols = [*self._text(self._decoder.flush()), QUOTE]
            self._raw.append(QUOTE)
        elif token in self._tokenizer.control_ids:
            self._raw.append(self._tokenizer.decode([token], skip_control=False))
            symbols = []
        else:
            symbols = list(self._text(self._decoder.push(token)))
        return self._take(symbols)

    def finish(self) -> Mapping[str, Any]:
        """The arguments at ``<tool_call|>``. Raises CallSyntaxError."""
        self._take([*self._text(self._decoder.flush()), CALL_END])
        self._raw.append(CALL_END)
        if self._problem is not None:
            raise CallSyntaxError(self._problem)
        assert self._is_complete, "the grammar ends with the end marker"
        # Of a key that occurs twice, the last value counts, as for most that read JSON.
        arguments: dict[str, Any] = json.loads(self.arguments)
        try:
            check(arguments)
        except JsonError as exc:
            raise CallSyntaxError(str(exc)) from exc
        return arguments

    def cut_off(self) -> str:
        """All of a call that ends here and is none, with control tokens by name."""
        self._text(self._decoder.flush())
        return "".join(self._raw)

    def _text(self, text: str) -> str:
        self._raw.append(text)
        return text

    def _take(self, symbols: list[str]) -> str:
        if self._problem is not None:
            return ""
        try:
            for symbol in symbols:
                self._steps.send(symbol)
        except StopIteration:
            self._is_complete = True
        except CallSyntaxError as exc:
            self._problem = str(exc)
        delta = "".join(self._grammar.written)
        self._grammar.written.clear()
        self._arguments.append(delta)
        return delta


class _Grammar:
    """The grammar of a call as coroutines. A symbol is a character, ``QUOTE`` or ``CALL_END``.

    Each method but ``call`` begins at the current symbol and ends at the one after its part.
    """

    def __init__(self) -> None:
        self.name = ""
        self.written: list[str] = []
        self._symbol = ""

    def call(self) -> _Steps:
        yield from self._next()
        yield from self._space()
        head: list[str] = []
        while self._symbol != "{":
            if len(self._symbol) > 1 or len(head) > 300:
                raise CallSyntaxError("a call must be call:NAME{ARGUMENTS}")
            head.append(self._symbol)
            yield from self._next()
        prefix, _, name = "".join(head).partition(":")
        if prefix.strip() != "call" or not NAME.fullmatch(name.strip()):
            raise CallSyntaxError("a call must be call:NAME{ARGUMENTS}")
        self.name = name.strip()
        yield from self._object(1)
        yield from self._space()
        if self._symbol != CALL_END:
            raise CallSyntaxError("a call must end after its arguments")

    def _next(self) -> _Steps:
        self._symbol = yield

    def _space(self) -> _Steps:
        while self._symbol.isspace():
            yield from self._next()

    def _value(self, depth: int) -> _Steps:
        if depth > MAX_DEPTH:
            raise CallSyntaxError(f"arguments are nested more than {MAX_DEPTH} deep")
        match self._symbol:
            case "{":
                yield from self._object(depth)
            case "[":
                yield from self._array(depth)
            case '"':
                self.written.append(json.dumps((yield from self._json_string())))
            case _ if self._symbol == QUOTE:
                yield from self._string()
            case _:
                self.written.append(_plain((yield from self._until(",}]"))))

    def _object(self, depth: int) -> _Steps:
        self.written.append("{")
        yield from self._next()
        yield from self._space()
        separator = ""
        while self._symbol != "}":
            key = yield from self._key()
            yield from self._space()
            if self._symbol != ":":
                raise CallSyntaxError(f"a colon must follow the key {key!r}")
            yield from self._next()
            yield from self._space()
            self.written.append(f"{separator}{json.dumps(key, ensure_ascii=False)}:")
            yield from self._value(depth + 1)
            yield from self._separated("}")
            separator = ","
        self.written.append("}")
        yield from self._next()

    def _array(self, depth: int) -> _Steps:
        self.written.append("[")
        yield from self._next()
        yield from self._space()
        separator = ""
        while self._symbol != "]":
            self.written.append(separator)
            yield from self._value(depth + 1)
            yield from self._separated("]")
            separator = ","
        self.written.append("]")
        yield from self._next()

    def _separated(self, end: str) -> _Steps:
        """The comma after an item, unless the bracket ``end`` follows."""
        yield from self._space()
        if self._symbol == ",":
            yield from self._next()
            yield from self._space()
        elif self._symbol != end:
            raise CallSyntaxError(f"a comma or {end} must follow a value")

    def _key(self) -> Generator[None, str, str]:
        if self._symbol == QUOTE:
            characters: list[str] = []
            yield from self._next()
            while self._symbol != QUOTE:
                characters.append(self._inside())
                yield from self._next()
            yield from self._next()
            return "".join(characters)
        if self._symbol == '"':
            return (yield from self._json_string())
        return (yield from self._until(":,{}[]"))

    def _string(self) -> _Steps:
        self.written.append('"')
        yield from self._next()
        while self._symbol != QUOTE:
            self.written.append(json.dumps(self._inside(), ensure_ascii=False)[1:-1])
            yield from self._next()
        self.written.append('"')
        yield from self._next()

    def _json_string(self) -> Generator[None, str, str]:
        characters = ['"']
        escaped = False
        yield from self._next()
        while self._symbol != '"' or escaped:
            escaped = self._symbol == "\\" and not escaped
            characters.append(self._inside())
            yield from self._next()
        yield from self._next()
        try:
            return str(json.loads("".join([*characters, '"']), strict=False))
        except json.JSONDecodeError as exc:
            raise CallSyntaxError("a string has an invalid escape") from exc

    def _until(self, ends: str) -> Generator[None, str, str]:
        characters: list[str] = []
        while self._symbol not in ends:
            characters.append(self._inside())
            yield from self._next()
        text = "".join(characters).strip()
        if not text:
            raise CallSyntaxError("a key or a value is missing")
        return text

    def _inside(self) -> str:
        """The current character of a key or value."""
        if len(self._symbol) > 1:
            raise CallSyntaxError("a key or a value is not complete")
        return self._symbol


def _plain(text: str) -> str:
    """JSON of a value without quotes: a number, true, false, null, or else a string."""
    if text in _WORDS:
        return _WORDS[text]
    if _NUMBER.fullmatch(text) and len(text) <= _LONGEST_NUMBER:
        return text
    is_number = _NUMBER.fullmatch(text) or _ODD_NUMBER.fullmatch(text)
    if is_number and isfinite(float(text)):
        return json.dumps(float(text))
    return json.dumps(text, ensure_ascii=False)
