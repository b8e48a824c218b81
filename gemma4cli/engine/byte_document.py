"""A JSON document that a grammar has begun, byte by byte.

The grammar is run on bytes instead of tokens: 256 symbols are few enough to try all that may come
next, at a few microseconds each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from llguidance import LLExecutor, LLMatcher, LLTokenizer

_END = 256
_MASK_WORDS = _END // 32 + 1

Kind: TypeAlias = tuple[bytes, bytes]
"""Which bytes may come next, one bit each, and those without which nothing may follow."""


@dataclass(frozen=True, slots=True)
class Nesting:
    """Where in a document its bytes end.

    ``open`` holds the brackets of open objects and arrays, ``commas`` is the number of commas in
    each; ``in_key`` is true from an object's bracket or comma to its colon. ``run`` is the length
    of the string, number or word that is being written.
    """

    open: bytes = b""
    commas: tuple[int, ...] = ()
    in_string: bool = False
    in_key: bool = False
    escaped: bool = False
    run: int = 0

    def after(self, byte: int) -> Nesting:
        """The nesting after one more byte."""
        if self.in_string:
            escaped = not self.escaped and byte == ord("\\")
            ends = byte == ord('"') and not self.escaped
            return Nesting(self.open, self.commas, not ends, self.in_key, escaped, self.run + 1)
        if byte == ord('"'):
            return replace(self, in_string=True, run=0)
        if byte in b"[{":
            opened = self.open + bytes([byte])
            return Nesting(open=opened, commas=(*self.commas, 0), in_key=byte == ord("{"))
        if byte in b"]}":
            return Nesting(open=self.open[:-1], commas=self.commas[:-1])
        if byte == ord(",") and self.open:
            commas = (*self.commas[:-1], self.commas[-1] + 1)
            return Nesting(open=self.open, commas=commas, in_key=self.open.endswith(b"{"))
        run = 0 if byte == ord(":") else self.run + 1
        return Nesting(open=self.open, commas=self.commas, run=run)


class ByteDocument:
    """A document begun under a grammar, and where it may go on."""

    def __init__(self, matcher: LLMatcher, nesting: Nesting) -> None:
        self._matcher = matcher
        self.nesting = nesting

    @classmethod
    def begin(cls, grammar: str) -> ByteDocument:
        """An empty document. The grammar must be valid."""
        from llguidance import LLMatcher

        return cls(LLMatcher(bytes_as_tokens(), grammar, log_level=0), Nesting())

    def copy(self) -> ByteDocument:
        """One that goes on by itself."""
        return ByteDocument(self._matcher.deep_copy(), self.nesting)

    @property
    def is_complete(self) -> bool:
        """Whether the document may end here."""
        return bool(self._matcher.is_accepting())

    @property
    def kind(self) -> Kind:
        return self._matcher.compute_bitmask(), self._matcher.compute_ff_bytes()

    def push(self, content: bytes) -> bool:
        """Add bytes; False, and nothing is added, if the grammar does not allow them."""
        count = self._matcher.try_consume_tokens(list(content))
        if count != len(content):
            self._matcher.rollback(count)
            return False
        for byte in content:
            self.nesting = self.nesting.after(byte)
        return True

    def push_repeated(self, unit: bytes, times: int) -> None:
        """Add bytes several times that the grammar allows, and that end where they begin."""
        self._matcher.consume_tokens(list(unit) * times)
        before, after = self.nesting, self.nesting
        for byte in unit:
            after = after.after(byte)
        commas = tuple(
            one + times * (other - one)
            for one, other in zip(before.commas, after.commas, strict=True)
        )
        run = before.run + times * (after.run - before.run)
        self.nesting = replace(after, commas=commas, run=run)

    def pop(self, count: int, nesting: Nesting) -> None:
        """Take back the last ``count`` bytes; ``nesting`` is the one before them."""
        self._matcher.rollback(count)
        self.nesting = nesting

    def ends_with(self, content: bytes) -> bool:
        """Whether the document is complete with these bytes."""
        ending = [*content, _END]
        return bool(self._matcher.validate_tokens(ending) == len(ending))

    def choices(self) -> tuple[int, list[tuple[Kind, int]]]:
        """How many bytes were tried, and one of those that lead to the same choices, for each."""
        kinds: dict[Kind, int] = {}
        bytes_ = self._worth_trying()
        for byte in bytes_:
            if self._matcher.try_consume_tokens([byte]):
                kinds.setdefault(self.kind, byte)
                self._matcher.rollback(1)
        # A minus is the one byte that comes before digits and only makes a number longer.
        return len(bytes_), sorted(kinds.items(), key=lambda each: each[1] == ord("-"))

    def allowed_along(self, content: bytes) -> np.ndarray:
        """Which bytes may come next before, in and after ``content``, ``[len(content) + 1, 9]``.

        Zeros after the first byte that may not.
        """
        found = np.zeros((len(content) + 1, _MASK_WORDS), np.int32)
        _executor().unsafe_compute_mask_ptr_with_draft_token(
            [(self._matcher, 0, list(content))], found.ctypes.data, _MASK_WORDS * 4, len(found)
        )
        return found

    def _worth_trying(self) -> list[int]:
        """The bytes that may come next, without those that only make a value longer."""
        mask = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        bits = np.unpackbits(mask, bitorder="little")
        allowed = [int(byte) for byte in np.flatnonzero(bits[:_END])]
        nesting = self.nesting
        if nesting.in_string:
            if ord('"') in allowed and not nesting.in_key:
                return [ord('"')]
            plain = [byte for byte in allowed if 32 <= byte < 127 and byte != ord("\\")]
            return plain or allowed
        for ends in (b"]}", b","):
            found = [byte for byte in allowed if byte in ends]
            if found:
                return found
        return allowed


def may_begin(byte: int, kind: Kind) -> bool:
    """Whether what follows may begin with ``byte``."""
    return bool(kind[0][byte >> 3] >> (byte & 7) & 1)


@lru_cache(maxsize=1)
def _executor() -> LLExecutor:
    from llguidance import LLExecutor

    return LLExecutor(1)


@lru_cache(maxsize=1)
def bytes_as_tokens() -> LLTokenizer:
    """A vocabulary of bytes, by which a grammar can be tried without a model's."""
    from llguidance import LLTokenizer, TokenizerWrapper

    return LLTokenizer(TokenizerWrapper(_Bytes()), n_vocab=_END + 1, eos_token=_END, slices=[])


class _Bytes:
    """A vocabulary of all bytes and an end, in the form that llguidance takes."""

    eos_token_id = _END
    bos_token_id = None
    special_token_ids = (_END,)
    tokens = (*(bytes([byte]) for byte in range(_END)), b"<end>")

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)
