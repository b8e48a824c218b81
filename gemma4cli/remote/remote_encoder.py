"""The tokenizer of a served model: the server encodes texts, and each of them once.

Reading a tokenizer of Gemma takes a second, and a request a few milliseconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from ..checked_json import JsonError
from ..errors import CheckpointError
from ..processing.text_encoder import well_formed
from ..wire.requests import MOST_TEXTS, read_ids, texts_body
from .connection import Connection

_PATH = "/g4/v1/tokens"
_KEPT = 8 << 20
"""Characters of the texts whose ids are kept."""


class RemoteEncoder:
    """See ``TextEncoder``."""

    def __init__(self, connection: Connection, source: str, controls: Mapping[str, int]) -> None:
        self._connection = connection
        self._controls = dict(controls)
        self._source = source
        self._known: OrderedDict[str, list[int]] = OrderedDict()
        self._kept = 0

    @property
    def source(self) -> str:
        return self._source

    def encode(self, text: str) -> list[int]:
        (ids,) = self.encode_each([text])
        return ids

    def encode_each(self, texts: Sequence[str]) -> list[list[int]]:
        found = {text: self._known[text] for text in texts if text in self._known}
        unknown = [text for text in dict.fromkeys(texts) if text not in found]
        for at in range(0, len(unknown), MOST_TEXTS):
            asked = unknown[at : at + MOST_TEXTS]
            for text, ids in zip(asked, self._asked(asked), strict=True):
                found[text] = ids
                self._keep(text, ids)
        return [list(found[text]) for text in texts]

    def has_control(self, name: str) -> bool:
        return name in self._controls

    def control_id(self, name: str) -> int:
        try:
            return self._controls[name]
        except KeyError:
            problem = f"the vocabulary has no control token {name}"
            raise CheckpointError(self._source, problem) from None

    def _asked(self, texts: Sequence[str]) -> list[list[int]]:
        body = self._connection.post(_PATH, texts_body(map(well_formed, texts)))
        try:
            return read_ids(body, len(texts))
        except JsonError as exc:
            raise self._connection.error(f"sends what are no token ids ({exc})") from exc

    def _keep(self, text: str, ids: list[int]) -> None:
        self._known[text] = ids
        self._kept += len(text)
        while self._kept > _KEPT:
            oldest, _ = self._known.popitem(last=False)
            self._kept -= len(oldest)
