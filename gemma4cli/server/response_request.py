"""A request of /v1/responses: its JSON to messages and options.

Most fields have another name or shape in /v1/chat/completions, whose reader is used; errors name
the fields of this request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..checked_json import shown
from ..messages import ImagePart, Message, Part, TextPart
from ..options import GenerateOptions
from .chat_request import generate_options, with_calls
from .errors import RequestError
from .request_fields import RequestReader
from .served import ServerOptions

_LOGPROBS = "message.output_text.logprobs"

_NAMES = (
    ("max_completion_tokens", "max_output_tokens"),
    ("response_format.json_schema", "text.format"),
    ("response_format", "text.format"),
    ("reasoning_effort", "reasoning.effort"),
    ("tool_choice.allowed_tools", "tool_choice"),
)
"""The beginnings of paths there, and here."""
_FUNCTION = re.compile(r"(?<=\])\.function\b|(?<=^tool_choice)\.function\b")


@dataclass(frozen=True, kw_only=True, slots=True)
class ResponseRequest:
    """What a client asks for.

    Attributes:
        model: The name that it gives the model, if it does.
        messages: The conversation to answer.
        options: How the answer is generated.
        tools: The functions that the prompt declares, as the completions have them.
        stream: Whether the answer is sent as it comes.
        repeated: Fields of the request that the response has too.
    """

    model: str | None
    messages: tuple[Message, ...]
    options: GenerateOptions
    tools: tuple[Mapping[str, Any], ...]
    stream: bool
    repeated: Mapping[str, Any]


def response_request(data: dict[str, Any], server: ServerOptions) -> ResponseRequest:
    """The request in a body's JSON. Raises RequestError and OptionError."""
    reader = ResponseReader(media_urls=server.media_urls)
    _refuse_what_is_not_stored(reader, data)
    there = _as_completion(reader, data)
    options = generate_options(reader, there, server.generate)
    return ResponseRequest(
        model=reader.string(data, "model"),
        messages=reader.conversation(data),
        options=with_calls(reader, there, options),
        tools=reader.tools(there),
        stream=bool(reader.flag(data, "stream")),
        repeated=_repeated(reader, data, options),
    )


def _refuse_what_is_not_stored(reader: RequestReader, data: Mapping[str, Any]) -> None:
    for name in ("previous_response_id", "conversation"):
        if data.get(name) is not None:
            problem = "responses are not stored: send the whole conversation in input"
            raise reader.error(name, problem)
    if reader.flag(data, "store"):
        raise reader.error("store", "must be false: responses are not stored")
    if reader.flag(data, "background"):
        raise reader.error("background", "must be false: responses are not stored")
    if data.get("prompt") is not None:
        raise reader.error("prompt", "is not available: prompts are not stored")


def _as_completion(reader: RequestReader, data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields about the answer as /v1/chat/completions has them."""
    same = ("temperature", "top_p", "top_k", "seed", "parallel_tool_calls", "top_logprobs")
    there = {name: data.get(name) for name in same}
    wants_logprobs = _LOGPROBS in reader.optional_items(data, "include", "")
    text = reader.fields(data, "text")
    wanted = reader.fields(text, "format", "text.")
    if wanted.get("type") == "json_schema":
        wanted = {"type": "json_schema", "json_schema": wanted}
    tools = reader.optional_items(data, "tools", "")
    return there | {
        "max_completion_tokens": data.get("max_output_tokens"),
        "logprobs": wants_logprobs or bool(data.get("top_logprobs")),
        "reasoning_effort": reader.fields(data, "reasoning").get("effort"),
        "response_format": wanted or None,
        "tools": [_tool(reader, each, f"tools[{n}]") for n, each in enumerate(tools)],
        "tool_choice": _choice(reader, data.get("tool_choice")),
    }


def _tool(reader: RequestReader, data: object, path: str) -> dict[str, Any]:
    tool = reader.mapping(data, path)
    kind = reader.text(tool, "type", path)
    if kind != "function":
        raise reader.error(f"{path}.type", f"must be function, not {shown(kind)}")
    return {
        "type": kind,
        "function": {key: value for key, value in tool.items() if key != "type"},
    }


def _choice(reader: RequestReader, choice: object) -> object:
    if not isinstance(choice, dict):
        return choice
    match choice.get("type"):
        case "function":
            return {"type": "function", "function": choice}
        case "allowed_tools":
            named = [
                {"type": "function", "function": each}
                for each in reader.items(choice.get("tools"), "tool_choice.tools")
            ]
            mode = choice.get("mode", "auto")
            return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}
        case other:
            known = "function or allowed_tools"
            raise reader.error("tool_choice.type", f"must be {known}, not {shown(other)}")


def _repeated(
    reader: RequestReader, data: Mapping[str, Any], options: GenerateOptions
) -> dict[str, Any]:
    """Whatever of these a request leaves out has a value in a response too."""
    return {
        "instructions": reader.string(data, "instructions"),
        "max_output_tokens": data.get("max_output_tokens"),
        "metadata": reader.fields(data, "metadata"),
        "parallel_tool_calls": options.parallel_calls,
        "reasoning": {"effort": reader.fields(data, "reasoning").get("effort"), "summary": None},
        "temperature": options.temperature,
        "text": {"format": reader.fields(data, "text").get("format") or {"type": "text"}},
        "tool_choice": data.get("tool_choice") or "auto",
        "tools": data.get("tools") or [],
        "top_logprobs": options.logprobs or 0,
        "top_p": options.top_p,
        "user": reader.string(data, "user"),
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class ResponseReader(RequestReader):
    """Items of an input, and their parts."""

    def error(self, path: str, problem: str) -> RequestError:
        for there, here in _NAMES:
            if path == there or path.startswith(f"{there}."):
                path = here + path[len(there) :]
                break
        return super(ResponseReader, self).error(_FUNCTION.sub("", path), problem)

    def conversation(self, data: Mapping[str, Any]) -> tuple[Message, ...]:
        """The messages in instructions and input."""
        given = data.get("input")
        if isinstance(given, str):
            messages = [Message(role="user", content=given)]
        else:
            messages = self._messages(self.items(given, "input"))
        if not messages:
            raise self.error("input", "is empty: give at least one message")
        instructions = self.string(data, "instructions")
        return tuple(_instructed(instructions, messages) if instructions else messages)

    def _messages(self, items: Sequence[object]) -> list[Message]:
        messages: list[Message] = []
        for number, each in enumerate(items):
            path = f"input[{number}]"
            message = self._item(self.mapping(each, path), path)
            if message is None:
                continue
            last = messages[-1] if messages else None
            if last is not None and _is_one_turn(last, message):
                messages[-1] = replace(
                    last,
                    content=last.content or message.content,
                    thoughts=last.thoughts or message.thoughts,
                    tool_calls=(*last.tool_calls, *message.tool_calls),
                )
            else:
                messages.append(message)
        return messages

    def _item(self, item: Mapping[str, Any], path: str) -> Message | None:
        """An item as a message; None if it says nothing."""
        match item.get("type", "message"):
            case "message":
                return self.message(item, path)
            case "reasoning":
                thoughts = self._thoughts(item, path)
                return (
                    Message(role="assistant", content="", thoughts=thoughts) if thoughts else None
                )
            case "function_call":
                arguments = item.get("arguments")
                function = {"name": item.get("name"), "arguments": arguments}
                call = self.tool_call({"id": item.get("call_id"), "function": function}, path)
                return Message(role="assistant", content="", tool_calls=(call,))
            case "function_call_output":
                return Message(
                    role="tool",
                    content=self.content({"content": item.get("output")}, path, may_lack=False),
                    tool_call_id=self.text(item, "call_id", path),
                )
            case other:
                known = "message, reasoning, function_call or function_call_output"
                raise self.error(f"{path}.type", f"unknown type {shown(other)}: use {known}")

    def _thoughts(self, item: Mapping[str, Any], path: str) -> str:
        found = [
            (self.mapping(each, f"{path}.{key}[{number}]"), f"{path}.{key}[{number}]")
            for key in ("content", "summary")
            for number, each in enumerate(self.optional_items(item, key, f"{path}."))
        ]
        return "\n".join(self.text(each, "text", place) for each, place in found)

    def part(self, data: object, path: str) -> Part:
        part = self.mapping(data, path)
        match part.get("type"):
            case "input_text" | "output_text":
                return TextPart(text=self.text(part, "text", path))
            case "input_image":
                return ImagePart(source=self.linked(part, "image_url", path))
            case "input_file":
                problem = "files are not taken: send input_image or input_audio"
                raise self.error(f"{path}.type", problem)
        return super(ResponseReader, self).part(part, path)


def _is_one_turn(last: Message, message: Message) -> bool:
    """Whether an item of the model belongs to the one before: thoughts, a text, then calls."""
    if last.role != "assistant" or message.role != "assistant":
        return False
    if message.thoughts:
        return not (last.content or last.tool_calls or last.thoughts)
    return not message.content or not (last.content or last.tool_calls)


def _instructed(instructions: str, messages: Sequence[Message]) -> list[Message]:
    """The messages with instructions before them, in one with a system message that begins them."""
    first, *others = messages
    if first.role == "system" and all(isinstance(part, TextPart) for part in first.parts):
        texts = [part.text for part in first.parts if isinstance(part, TextPart)]
        content = "\n\n".join([instructions, "".join(texts)])
        return [Message(role="system", content=content), *others]
    return [Message(role="system", content=instructions), *messages]
