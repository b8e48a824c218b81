"""Text to token ids and back; control tokens only by name, never from text."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import tokenizers

from ..bounded import read_bounded
from ..checked_json import JsonError
from ..errors import CheckpointError
from .text_encoder import well_formed
from .tokenizer_file import check_tokenizer

_LISTED = 2**16
"""Tokens of a vocabulary that is listed in no time."""


@contextmanager
def _library_errors(source: str) -> Iterator[None]:
    """What the library raises for a vocabulary that it cannot use, as CheckpointError.

    Its panics are no Exceptions, and its other errors have no class of their own.
    """
    try:
        yield
    except BaseException as exc:
        if type(exc) is Exception or type(exc).__name__ == "PanicException":
            problem = f"cannot be used ({exc}): use the tokenizer that belongs to the weights"
            raise CheckpointError(source, " ".join(problem.split())) from exc
        raise


class Tokenizer:
    """One checkpoint's tokenizer. ``source`` is its name in errors, usually the file."""

    def __init__(self, backend: tokenizers.Tokenizer, source: str) -> None:
        # Makes the library read "<turn|>" in a text as seven characters, not as a control token.
        backend.encode_special_tokens = True
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self.source = source
        self._rows: int | None = None
        self._controls = {
            token.content: token_id
            for token_id, token in backend.get_added_tokens_decoder().items()
            if token.special
        }
        self.control_ids = frozenset(self._controls.values())

    @classmethod
    def from_file(cls, path: Path | str) -> Tokenizer:
        """Read a ``tokenizer.json``. Raises CheckpointError if it is missing or invalid."""
        try:
            data = read_bounded(Path(path), regular=True)
        except FileNotFoundError as exc:
            raise CheckpointError(str(path), "no such file") from exc
        except OSError as exc:
            problem = f"cannot be read ({exc.strerror or exc})"
            raise CheckpointError(str(path), problem) from exc
        return cls.from_bytes(data, str(path))

    @classmethod
    def from_bytes(cls, data: bytes, source: str) -> Tokenizer:
        """The tokenizer from the content of a ``tokenizer.json``."""
        try:
            check_tokenizer(data)
            with _library_errors(source):
                backend = tokenizers.Tokenizer.from_buffer(data)
        except (JsonError, ValueError) as exc:
            raise CheckpointError(source, f"is not a valid tokenizer.json ({exc})") from exc
        return cls(backend, source)

    @property
    def vocab_size(self) -> int:
        """Number of ids, control tokens included."""
        return self._backend.get_vocab_size(with_added_tokens=True)

    @property
    def controls(self) -> Mapping[str, int]:
        """The control tokens by name."""
        return self._controls

    @property
    def rows(self) -> int:
        """The ids of texts are below it."""
        return self.vocab_size if self._rows is None else self._rows

    def serialized(self) -> str:
        """The content of a ``tokenizer.json``."""
        return self._backend.to_str()

    def encode(self, text: str) -> list[int]:
        """The ids of plain text, never those of control tokens.

            "Hi<turn|>"  ->  [Hi] [<] [turn] [|>]

        Encode all text between two control tokens at once: "ab" may be one token.
        """
        with _library_errors(self.source):
            ids = self._backend.encode(well_formed(text), add_special_tokens=False).ids
        if self._rows is not None and ids and max(ids) >= self._rows:
            raise self._outside(max(ids), self._rows)
        return ids

    def encode_each(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` for several texts."""
        return [self.encode(text) for text in texts]

    def require_within(self, rows: int) -> None:
        """Raise CheckpointError if a token's id is not below ``rows``, those of the embeddings.

        A large vocabulary is not listed, which takes a third of a second: where its number of
        tokens and its last ids say that it has no gaps, the ids of each text are checked.
        """
        self._rows = rows
        highest = max(self._backend.get_added_tokens_decoder(), default=0)
        count = self.vocab_size
        if highest >= rows:
            raise self._outside(highest, rows)
        has_gaps = self._backend.id_to_token(count - 1) is None
        if count <= _LISTED or count > rows or has_gaps:
            highest = max(self._backend.get_vocab(with_added_tokens=True).values(), default=0)
            if highest >= rows:
                raise self._outside(highest, rows)

    def _outside(self, token_id: int, rows: int) -> CheckpointError:
        return CheckpointError(
            self.source,
            f"has a token of id {token_id}, but the embeddings have {rows} rows: use the tokenizer "
            "that belongs to the weights",
        )

    def has_control(self, name: str) -> bool:
        """Whether the vocabulary has this control token."""
        return name in self._controls

    def control_id(self, name: str) -> int:
        """The id of a control token, "<|turn>" for example."""
        try:
            return self._controls[name]
        except KeyError:
            problem = f"the vocabulary has no control token {name}"
            raise CheckpointError(self.source, problem) from None

    def decode(self, ids: Sequence[int], *, skip_control: bool = True) -> str:
        """The text of ids; control tokens are skipped or written by name."""
        with _library_errors(self.source):
            return self._backend.decode(ids, skip_special_tokens=skip_control)

    def stream_decoder(self) -> StreamDecoder:
        """A new decoder for ids that arrive one by one."""
        return StreamDecoder(self)

    @cached_property
    def byte_values(self) -> dict[int, int]:
        """Token id to byte for "<0x00>" to "<0xFF>", which encode rare characters."""
        values = {}
        for byte in range(256):
            token_id = self._backend.token_to_id(f"<0x{byte:02X}>")
            if token_id is not None:
                values[token_id] = byte
        return values


class StreamDecoder:
    """Decodes ids one at a time and never returns part of a character.

        push([hi])    -> "hi"
        push(<0xF0>)  -> ""      a four-byte character begins
        push(<0x9F>)  -> ""
        push(<0x98>)  -> ""
        push(<0x80>)  -> "😀"
        push(<turn|>) -> ""      control tokens have no text
        flush()       -> ""      or U+FFFD if the last character is incomplete

    The library's DecodeStream raises an error when an invalid byte follows a valid character, and a
    model may generate any bytes. Here an invalid byte becomes U+FFFD.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """The text that this id completes, possibly empty."""
        byte = self._tokenizer.byte_values.get(token_id)
        if byte is not None:
            return self._bytes.decode(bytes([byte]))
        if token_id in self._tokenizer.control_ids:
            return ""
        return self.flush() + self._tokenizer.decode([token_id])

    def flush(self) -> str:
        """U+FFFD for an incomplete character, else ""; resets the decoder."""
        rest = self._bytes.decode(b"", final=True)
        self._bytes.reset()
        return rest
