"""Reading the JSON of a request: fields with their types, messages, and media inside them.

Errors name the field. Media come as bytes, or as addresses where the server fetches them; never as
paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..checked_json import JsonError, number, parse, shown, whole
from ..conversations.message_data import MessageReader
from ..media.urls import is_url, shown_url
from ..messages import Message, Part, Source, sources_of
from .errors import RequestError

_KNOWN = "text, image_url, input_audio or video_url"
_MOST_VALUES = 1_000_000
"""Of a document, counted by its commas and brackets; a million take about 200 MB of memory."""
_MOST_MEDIA = 256


def parsed(body: bytes) -> dict[str, Any]:
    """The object in a request's body. Raises RequestError."""
    if sum(map(body.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise RequestError("the body has too many values", status=413, code="body_too_large")
    try:
        data = parse(body)
    except JsonError as exc:
        raise RequestError(f"the body {exc}") from exc
    if not isinstance(data, dict):
        raise RequestError("the body must be a JSON object")
    return data


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestReader(MessageReader):
    """Fields of a request, by name; ``media_urls`` says whether addresses of media are taken."""

    media_urls: bool

    def error(self, path: str, problem: str) -> RequestError:
        return RequestError(problem, param=path)

    # Fields; null is as if it were left out

    def flag(self, data: Mapping[str, Any], key: str, path: str = "") -> bool | None:
        value = data.get(key)
        if not isinstance(value, bool | None):
            raise self.error(f"{path}{key}", f"must be true or false, not {shown(value)}")
        return value

    def string(self, data: Mapping[str, Any], key: str, path: str = "") -> str | None:
        value = data.get(key)
        if not isinstance(value, str | None):
            raise self.error(f"{path}{key}", f"must be a string, not {shown(value)}")
        return value

    def choice(self, data: Mapping[str, Any], key: str, *known: str) -> str | None:
        value = self.string(data, key)
        if value is not None and value not in known:
            raise self.error(key, f"must be one of {', '.join(known)}, not {shown(value)}")
        return value

    def count(
        self, data: Mapping[str, Any], key: str, *, least: int = 1, most: int = 2**31 - 1
    ) -> int | None:
        if data.get(key) is None:
            return None
        try:
            return whole(data[key], key, least=least, most=most)
        except JsonError as exc:
            raise self.error(key, exc.problem) from exc

    def number(
        self, data: Mapping[str, Any], key: str, path: str = "", *, least: float, most: float
    ) -> float | None:
        if data.get(key) is None:
            return None
        try:
            return number(data[key], key, least=least, most=most)
        except JsonError as exc:
            raise self.error(f"{path}{key}", exc.problem) from exc

    def fields(self, data: Mapping[str, Any], key: str, path: str = "") -> dict[str, Any]:
        return {} if data.get(key) is None else self.mapping(data[key], f"{path}{key}")

    # Messages and their parts

    def messages(self, data: object, path: str) -> tuple[Message, ...]:
        found = MessageReader.messages(self, data, path)
        count = sum(len(sources_of(each.parts)) for each in found)
        if count > _MOST_MEDIA:
            raise self.error(path, f"hold {count} media; the most are {_MOST_MEDIA}")
        return found

    def medium_name(self, path: str) -> str:
        return path

    def addressed(self, url: str, path: str) -> Source:
        if not is_url(url):
            raise self.error(path, "must be a data: URL; the server opens no files")
        if not self.media_urls:
            problem = "is an address: send a data: URL, or start g4 serve with --allow-media-urls"
            raise self.error(path, problem)
        return Source(name=shown_url(url), address=url)

    def other_part(self, kind: str, part: Mapping[str, Any], path: str) -> Part:
        if kind == "file":
            problem = "files are not taken: send pictures as image_url, sound as input_audio"
            raise self.error(f"{path}.type", problem)
        raise self.error(f"{path}.type", f"unknown type {shown(kind)}: use {_KNOWN}")
