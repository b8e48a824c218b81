"""Constrain an answer to a JSON Schema, so that it ends in a valid document.

At each step only tokens that can still lead to a valid document are allowed; llguidance computes
which. A token after which the document could not be completed within the answer's length is
replaced by the next one of the shortest ending.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING

from ..checked_json import JsonError, parse
from ..errors import AnswerCutError, OptionError
from ..processing.tokenizer import Tokenizer
from .byte_document import ByteDocument, Nesting
from .repetition import is_repeating
from .schema_depth import check_depth
from .schema_size import check_size
from .shortest_ending import shortest_ending
from .vocabulary import Allowed, Vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

    from ..events import FinishReason

_MOST_SCHEMAS = 16
"""Grammars to keep for later answers by them."""
_LONGEST_NUMBER = 40
"""Bytes of a number; a model that writes more digits does not stop by itself."""


@dataclass(frozen=True, slots=True)
class _Ending:
    """Bytes that complete the document. ``ids`` are their tokens, if they were needed before."""

    content: bytes
    ids: tuple[int, ...] | None = None


class Trial:
    """A copy of a grammar's state, to be tried with tokens."""

    def __init__(self, matcher: LLMatcher, vocabulary: Vocabulary) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary

    def allowed(self) -> Allowed | None:
        """Which tokens may come next; None if the grammar's limits do not let that be computed."""
        allowed = self._vocabulary.allowed(self._matcher)
        return None if self._matcher.is_error() else allowed

    def push(self, token: int) -> bool:
        """Advance by a token; False, and nothing changes, if the document cannot go on with it."""
        return bool(self._matcher.try_consume_tokens([token]))


class Constraint(ABC):
    """The state of a grammar within one answer.

    Attributes:
        cut: Why the answer was ended before the model ended it, if it was.
    """

    cut: FinishReason | None = None

    def __init__(self, vocabulary: Vocabulary, grammar: str) -> None:
        """Raises OptionError for a grammar that cannot be used."""
        self._matcher = _matcher(vocabulary.tokens, grammar).deep_copy()
        self._vocabulary = vocabulary
        self._check()

    @property
    @abstractmethod
    def is_complete(self) -> bool:
        """Whether the tokens so far are a valid answer."""

    @abstractmethod
    def push(self, token: int) -> int:
        """Advance by the chosen token, or by one that ends the answer in time; returns it."""

    def allowed(self) -> Allowed:
        """Which tokens may come next."""
        allowed = self._vocabulary.allowed(self._matcher)
        self._check()
        return allowed

    def trial(self) -> Trial:
        """What would be allowed after tokens that may turn out wrong."""
        return Trial(self._matcher.deep_copy(), self._vocabulary)

    def _check(self) -> None:
        if self._matcher.is_error():
            # After its first line, the error is the whole grammar.
            problem = self._matcher.get_error().partition("<state>")[0]
            raise OptionError(f"the schema is not supported: {_line(problem)}")


class SchemaConstraint(Constraint):
    """A schema's grammar, within an answer that ends in a whole document."""

    def __init__(
        self,
        schema: str,
        tokenizer: Tokenizer,
        *,
        vocab_size: int,
        stop_ids: frozenset[int],
        max_tokens: int | None = None,
        repetition_guard: bool = True,
    ) -> None:
        """``vocab_size`` is that of the logits; ``max_tokens`` limits the answer, without stop.

        With ``repetition_guard`` a value that repeats itself is ended. Raises OptionError for an
        invalid schema, and AnswerCutError if its shortest document is longer than ``max_tokens``.
        """
        grammar = _grammar(schema)
        vocabulary = Vocabulary.of(tokenizer, vocab_size, stop_ids)
        super().__init__(vocabulary, grammar)
        self._tokens = vocabulary.tokens
        self._stop_ids = stop_ids
        self._left = max_tokens
        self._guard = repetition_guard
        self._free_ids: list[int] = []
        self._forced, self._ran_away = 0, False
        begun, ending = _begun(grammar)
        self._document = begun.copy()
        self._ending = _found(ending)
        if self._ending is None:
            raise OptionError(
                "the schema is not supported: even its shortest documents are endless"
            )
        if self._ending is not None and not self._fits(self._ending, max_tokens):
            raise AnswerCutError(max_tokens or 0, shortest=len(self._ids_of(self._ending)))

    @property
    def is_complete(self) -> bool:
        """Whether the tokens so far are a valid document."""
        return bool(self._matcher.is_accepting())

    def push(self, token: int) -> int:
        """Advance by the chosen token, or by one that ends the document in time; returns it."""
        if self._forced:
            self._forced -= 1
            return self._follow_ending()
        if token in self._stop_ids:
            return token
        content = bytes(self._tokens.decode_bytes([token]))
        before = self._document.nesting
        if self._ending is not None and self._document.push(content):
            left = None if self._left is None else self._left - 1
            ending = self._ending_after(content, token, left)
            if ending is None or not self._fits(ending, left):
                self._document.pop(len(content), before)
                self.cut = "length"
                return self._follow_ending()
            self._ending = ending
        self._advance(token)
        self._free_ids.append(token)
        if self._runs_away():
            self.cut = self.cut or "repetition"
            self._free_ids.clear()
            self._forced = self._tokens_to_end_value()
            self._ran_away = True
        return token

    def _runs_away(self) -> bool:
        if self._ending is None:
            return False
        nesting = self._document.nesting
        if nesting.run > _LONGEST_NUMBER and not nesting.in_string:
            return True
        return self._guard and is_repeating(self._free_ids)

    def _tokens_to_end_value(self) -> int:
        """How many tokens of the ending to follow so that a value that repeats itself ends.

        The document ends too if nothing is missing in it, or if this is the second such value.
        """
        assert self._ending is not None
        ids, content = self._ids_of(self._ending), self._ending.content
        value = _end_of_string(content) if self._document.nesting.in_string else 0
        if self._ran_away or not content[value:].strip(b"]}"):
            return len(ids) + 1
        ends = accumulate(len(self._tokens.decode_bytes([each])) for each in ids)
        return 1 + next((i for i, end in enumerate(ends) if end >= value), 0)

    def _follow_ending(self) -> int:
        """Advance by the next token of the shortest ending; a stop token at its end."""
        assert self._ending is not None
        ids = self._ids_of(self._ending)
        if not ids:
            return min(self._stop_ids)
        first, *rest = ids
        content = bytes(self._tokens.decode_bytes([first]))
        self._document.push(content)
        self._ending = _Ending(self._ending.content[len(content) :], tuple(rest))
        self._advance(first)
        return first

    def _advance(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._check()
        if self._left is not None:
            self._left -= 1

    def _ending_after(self, content: bytes, token: int, left: int | None) -> _Ending | None:
        """How the document can end after ``content``, which was just added; None if unknown."""
        known = self._ending
        assert known is not None
        if known.ids is not None and known.ids[:1] == (token,):
            return _Ending(known.content[len(content) :], known.ids[1:])
        joined = shortest_ending(self._document, known.content)
        if joined is not None and self._fits(_Ending(joined), left):
            return _Ending(joined)
        return _found(shortest_ending(self._document))

    def _fits(self, ending: _Ending, left: int | None) -> bool:
        if left is None or len(ending.content) <= left:
            return True
        return len(self._ids_of(ending)) <= left

    def _ids_of(self, ending: _Ending) -> tuple[int, ...]:
        if ending.ids is not None:
            return ending.ids
        content, vocabulary = ending.content, self._tokens
        ids = vocabulary.tokenize_bytes(content)
        if vocabulary.decode_bytes(ids) != content:  # a tokenizer that changes text, byte by byte
            ids = [each for at in content for each in vocabulary.tokenize_bytes(bytes([at]))]
        return tuple(ids)


@lru_cache(maxsize=_MOST_SCHEMAS)
def _matcher(vocabulary: LLTokenizer, grammar: str) -> LLMatcher:
    """A grammar before its first token; cached, as that of many functions takes a second."""
    from llguidance import LLMatcher

    return LLMatcher(vocabulary, grammar, log_level=0)


@lru_cache(maxsize=_MOST_SCHEMAS)
def _begun(grammar: str) -> tuple[ByteDocument, bytes | None]:
    """An empty document, to be copied, and its shortest ending, which may take a second to find."""
    document = ByteDocument.begin(grammar)
    return document, shortest_ending(document.copy())


def _found(content: bytes | None) -> _Ending | None:
    return None if content is None else _Ending(content)


def _end_of_string(content: bytes) -> int:
    """The length of the part of ``content`` that ends a string."""
    nesting = Nesting(in_string=True)
    for length, byte in enumerate(content, start=1):
        nesting = nesting.after(byte)
        if not nesting.in_string:
            return length
    return len(content)


@lru_cache(maxsize=_MOST_SCHEMAS)
def _grammar(schema: str) -> str:
    from llguidance import LLMatcher

    schema = checked_schema(schema)
    # Whitespace carries no meaning, and a model that is allowed any may write it forever.
    try:
        return LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_flexible": False})
    except ValueError as exc:
        raise OptionError(f"the schema is not a JSON object: {_line(exc)}") from exc


def checked_schema(schema: str) -> str:
    """A schema's text that a grammar can be made of. Raises OptionError."""
    if schema.strip() == "true":  # as a schema the same as {}
        schema = "{}"
    parsed = _parsed(schema)
    check_depth(parsed)
    check_size(parsed)
    if _counts_unnamed_keys(parsed):
        raise OptionError(
            "the schema is not supported: minProperties counts keys that it does not name, and "
            "decoding cannot keep these apart"
        )
    return schema


def _parsed(schema: str) -> object:
    """The schema's value. Raises OptionError for what is not JSON."""
    try:
        return parse(schema)
    except JsonError as exc:
        raise OptionError(f"the schema is not a JSON object: {exc}") from exc


def _counts_unnamed_keys(schema: object) -> bool:
    """Whether more than one key is needed that the schema does not name: they could be the same."""
    if isinstance(schema, list):
        return any(map(_counts_unnamed_keys, schema))
    if not isinstance(schema, dict):
        return False
    least, required = schema.get("minProperties"), schema.get("required")
    if isinstance(least, int) and schema.get("additionalProperties") is not False:
        named = len(set(map(str, required))) if isinstance(required, list) else 0
        if least - named > 1:
            return True
    return any(map(_counts_unnamed_keys, schema.values()))


def _line(problem: object) -> str:
    return " ".join(str(problem).split())
