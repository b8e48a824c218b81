"""Messages in JSON data in OpenAI's form, whoever sends them. Knows no model, opens no media.

Assistant messages may carry ``reasoning`` and ``tool_calls``, tool messages ``tool_call_id`` and
``name``. Media are part of the data, as base64. Which other parts a message may have, and what an
error is, each reader says.
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from ..checked_json import JsonError, parse
from ..messages import (
    AudioPart,
    ImagePart,
    Message,
    Part,
    Role,
    Source,
    TextPart,
    ToolCall,
    VideoPart,
)

_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


_SCHEME = "data:"


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageReader(ABC):
    """Each method takes a value and its path in the JSON, ``messages[0].content[1]``."""

    @abstractmethod
    def error(self, path: str, problem: str) -> Exception:
        """What is raised for a value."""

    @abstractmethod
    def medium_name(self, path: str) -> str:
        """What errors call a medium in the data."""

    @abstractmethod
    def addressed(self, url: str, path: str) -> Source:
        """A medium by a URL that does not hold it."""

    @abstractmethod
    def other_part(self, kind: str, part: Mapping[str, Any], path: str) -> Part:
        """A part of a type that OpenAI's API does not have, or that is not taken."""

    def messages(self, data: object, path: str) -> tuple[Message, ...]:
        found = self.items(data, path)
        if not found:
            raise self.error(path, "is empty: give at least one message")
        return tuple(self.message(each, f"{path}[{index}]") for index, each in enumerate(found))

    def message(self, data: object, path: str) -> Message:
        message = self.mapping(data, path)
        role = self.text(message, "role", path)
        if role not in _ROLES:
            raise self.error(
                f"{path}.role", f"unknown role {role!r}: use one of {', '.join(_ROLES)}"
            )
        calls = self.optional_items(message, "tool_calls", f"{path}.")
        tool_calls = tuple(
            self.tool_call(call, f"{path}.tool_calls[{index}]") for index, call in enumerate(calls)
        )
        thoughts_key = "reasoning" if message.get("reasoning") else "reasoning_content"
        thoughts = self.optional_text(message, thoughts_key, path)
        if role != "assistant" and (tool_calls or thoughts):
            raise self.error(path, "only an assistant message may hold tool_calls or reasoning")
        return Message(
            role=_ROLES[role],
            content=self.content(message, path, may_lack=bool(tool_calls or thoughts)),
            thoughts=thoughts,
            tool_calls=tool_calls,
            tool_call_id=self.optional_text(message, "tool_call_id", path),
            name=self.optional_text(message, "name", path),
        )

    def content(
        self, message: Mapping[str, Any], path: str, *, may_lack: bool
    ) -> str | tuple[Part, ...]:
        content = message.get("content")
        if content is None and may_lack:
            return ""
        if isinstance(content, str):
            return content
        if not isinstance(content, list):
            raise self.error(f"{path}.content", "must be a string or a list of parts")
        return tuple(
            self.part(part, f"{path}.content[{index}]") for index, part in enumerate(content)
        )

    def part(self, data: object, path: str) -> Part:
        """A part of a message."""
        part = self.mapping(data, path)
        kind = self.text(part, "type", path)
        match kind:
            case "text" | "refusal":
                return TextPart(text=self.text(part, kind, path))
            case "image_url":
                return ImagePart(source=self.linked(part, kind, path))
            case "video_url":
                return VideoPart(source=self.linked(part, kind, path))
            case "audio_url":
                return AudioPart(source=self.linked(part, kind, path))
            case "input_audio":
                return AudioPart(source=self.encoded(part, kind, path))
            case "input_video":
                return VideoPart(source=self.encoded(part, kind, path))
        return self.other_part(kind, part, path)

    def linked(self, part: Mapping[str, Any], kind: str, path: str) -> Source:
        """A medium by a URL, in an object or by itself."""
        place = f"{path}.{kind}"
        given = part.get(kind)
        if isinstance(given, dict):
            place, given = f"{place}.url", given.get("url")
        if not isinstance(given, str):
            raise self.error(place, "must be a URL")
        return self.medium(given, place)

    def encoded(self, part: Mapping[str, Any], kind: str, path: str) -> Source:
        """A medium as base64 in an object."""
        held = self.mapping(part.get(kind), f"{path}.{kind}")
        data, place = self.text(held, "data", f"{path}.{kind}"), f"{path}.{kind}.data"
        if _is_data_url(data):
            return self.medium(data, place)
        return self.held(_from_base64(data), place)

    def medium(self, url: str, path: str) -> Source:
        if not _is_data_url(url):
            return self.addressed(url, path)
        head, comma, content = url[len(_SCHEME) :].partition(",")
        if not comma:
            raise self.error(path, "is not a whole data: URL")
        is_base64 = head.lower().endswith(";base64")
        return self.held(_from_base64(content) if is_base64 else unquote_to_bytes(content), path)

    def held(self, content: bytes | None, path: str) -> Source:
        """A medium whose bytes are in the data; None stands for what is not base64."""
        if content is None:
            raise self.error(path, "is not base64")
        if not content:
            raise self.error(path, "is empty")
        return Source(name=self.medium_name(path), data=content)

    def tools(self, data: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        """The functions that a conversation or a request declares."""
        found = enumerate(self.optional_items(data, "tools", ""))
        return tuple(self.tool(tool, f"tools[{index}]") for index, tool in found)

    def tool_call(self, data: object, path: str) -> ToolCall:
        """A call in OpenAI's form; its arguments are an object, or that object as a JSON string."""
        call = self.mapping(data, path)
        function = self.mapping(call.get("function"), f"{path}.function")
        arguments = function.get("arguments")
        if isinstance(arguments, str) and not arguments.strip():
            arguments = None
        elif isinstance(arguments, str):
            try:
                arguments = parse(arguments)
            except JsonError as exc:
                raise self.error(f"{path}.function.arguments", str(exc)) from exc
        if arguments is None:
            arguments = {}
        return ToolCall(
            name=self.text(function, "name", f"{path}.function"),
            arguments=self.mapping(arguments, f"{path}.function.arguments"),
            id=self.optional_text(call, "id", path),
        )

    def tool(self, data: object, path: str) -> Mapping[str, Any]:
        tool = self.mapping(data, path)
        function = self.mapping(tool.get("function"), f"{path}.function")
        self.text(function, "name", f"{path}.function")
        return tool

    def mapping(self, value: object, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.error(path, "must be an object")
        return value

    def items(self, value: object, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise self.error(path, "must be a list")
        return value

    def optional_items(self, data: Mapping[str, Any], key: str, prefix: str) -> list[Any]:
        return [] if data.get(key) is None else self.items(data[key], f"{prefix}{key}")

    def text(self, data: Mapping[str, Any], key: str, path: str) -> str:
        if key not in data:
            raise self.error(path, f"lacks {key!r}")
        if not isinstance(data[key], str):
            raise self.error(f"{path}.{key}", "must be a string")
        return str(data[key])

    def optional_text(self, data: Mapping[str, Any], key: str, path: str) -> str | None:
        return None if data.get(key) is None else self.text(data, key, path)


def _is_data_url(text: str) -> bool:
    return text[: len(_SCHEME)].lower() == _SCHEME


def _from_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        return None
