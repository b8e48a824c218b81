"""The models on this machine for the program llm: ``llm -m g4/e2b "..." -a photo.png``.

llm finds this module by an entry point; nothing else imports it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llm
from llm.parts import AttachmentPart, ReasoningPart, StreamEvent, ToolCallPart, ToolResultPart
from llm.parts import Message as LlmMessage
from llm.parts import TextPart as LlmTextPart
from pydantic import Field

from . import api
from .conversations.chat import Chat
from .errors import ConversationError
from .events import Finished, TextDelta, ThoughtDelta
from .media.recognition import kind_of
from .messages import (
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
from .options import GenerateOptions, MediaOptions

if TYPE_CHECKING:
    from .engine.local import LocalModel

_IMAGES = ("png", "jpeg", "gif", "webp", "bmp", "tiff", "avif", "heic", "heif", "jp2", "svg+xml")
_SOUNDS = (
    "wav", "wave", "x-wav", "vnd.wave", "mpeg", "mp3", "mp4", "x-m4a", "aac", "ogg", "opus",
    "flac", "x-flac", "webm", "aiff", "x-aiff", "amr", "3gpp",
)  # fmt: skip
_CLIPS = (
    "mp4", "webm", "quicktime", "x-matroska", "mpeg", "ogg", "x-msvideo", "3gpp", "x-m4v", "mp2t",
    "x-flv", "x-ms-wmv",
)  # fmt: skip


def _types() -> set[str]:
    """The types of attachments that llm passes on; the file decides what it is."""
    kinds = {"image": _IMAGES, "audio": _SOUNDS, "video": _CLIPS}
    return {f"{kind}/{each}" for kind, names in kinds.items() for each in names}


_DEFAULTS = GenerateOptions()


class AnswerOptions(llm.Options):
    """As the options of the command line with these names."""

    max_tokens: int | None = Field(default=None, description="Most tokens of an answer", ge=1)
    temperature: float | None = Field(default=None, description="0 is greedy", ge=0)
    top_p: float | None = Field(default=None, description="Nucleus sampling", gt=0, le=1)
    top_k: int | None = Field(default=None, description="Likeliest tokens, 0 for all", ge=0)
    seed: int | None = Field(default=None, description="Makes sampling repeatable")
    think: bool = Field(default=False, description="Let the model think first")
    budget: int | None = Field(
        default=None, description="Soft tokens per image: 70, 140, 280, 560 or 1120"
    )


class Gemma4(llm.Model):
    """One model of this machine, loaded at the first prompt and kept."""

    can_stream = True
    supports_schema = True
    supports_tools = True
    needs_key = None

    Options = AnswerOptions  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        self.model_id = f"g4/{name}"
        self.attachment_types = _types()
        self._name = name
        self._loaded: LocalModel | None = None

    def execute(
        self,
        prompt: llm.Prompt,
        stream: bool,
        response: llm.Response,
        conversation: llm.Conversation | None,
    ) -> Iterator[str | StreamEvent]:
        """Answer; with ``stream`` false the whole text comes at once.

        The messages of the prompt are the whole conversation. Raises Gemma4Error.
        """
        if self._loaded is None:
            self._loaded = api.load(self._name)
        options = prompt.options
        assert isinstance(options, AnswerOptions), "llm makes them of the model's class"
        chat = Chat(
            self._loaded,
            media=MediaOptions(budget=options.budget),
            tools=[_declared(tool) for tool in prompt.tools],
        )
        messages = [each for given in prompt.messages for each in _messages(given)]
        for _ in chat.load(messages):
            pass
        generate = GenerateOptions(
            max_tokens=options.max_tokens or _DEFAULTS.max_tokens,
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=options.top_k,
            seed=options.seed,
            think=options.think,
            schema=json.dumps(prompt.schema) if prompt.schema else None,
        )
        for event in chat.reply(generate):
            match event:
                case ThoughtDelta(text=text) if stream:
                    yield StreamEvent(type="reasoning", chunk=text)
                case TextDelta(text=text) if stream:
                    yield StreamEvent(type="text", chunk=text)
                case Finished():
                    if not stream:
                        yield event.text
                    yield from _called(event, response)
                    response.set_usage(
                        input=event.usage.prompt_tokens,
                        output=event.usage.completion_tokens,
                        details={"cached_tokens": event.usage.cached_tokens},
                    )


@llm.hookimpl
def register_models(register: Callable[..., None]) -> None:
    """Add each model that runs without a download; their names are those of ``g4 models list``."""
    for entry in api.list_models():
        register(Gemma4(entry.name))


def _called(event: Finished, response: llm.Response) -> Iterator[StreamEvent]:
    for call in event.tool_calls:
        arguments = dict(call.arguments)
        yield StreamEvent(type="tool_call_name", chunk=call.name, tool_call_id=call.id)
        yield StreamEvent(type="tool_call_args", chunk=json.dumps(arguments), tool_call_id=call.id)
        response.add_tool_call(
            llm.ToolCall(name=call.name, arguments=arguments, tool_call_id=call.id)
        )


def _declared(tool: Any) -> dict[str, object]:
    """A tool of llm in OpenAI's form."""
    if not isinstance(tool, llm.Tool):
        raise ConversationError(f"{type(tool).__name__} is a tool of another model's server")
    function = {
        "name": tool.name,
        "description": tool.description or "",
        "parameters": tool.input_schema,
    }
    return {"type": "function", "function": function}


def _messages(given: LlmMessage) -> Iterator[Message]:
    """A message of llm as those of a conversation; each result of a tool is its own."""
    results = [part for part in given.parts if isinstance(part, ToolResultPart)]
    for result in results:
        yield Message(
            role="tool",
            content=result.output if result.exception is None else f"Error: {result.exception}",
            tool_call_id=result.tool_call_id,
            name=result.name,
        )
    rest = [part for part in given.parts if not isinstance(part, ToolResultPart)]
    if not rest:
        return
    if given.role == "assistant":
        thoughts = "".join(part.text for part in rest if isinstance(part, ReasoningPart))
        yield Message(
            role="assistant",
            content="".join(part.text for part in rest if isinstance(part, LlmTextPart)),
            thoughts=thoughts or None,
            tool_calls=tuple(
                ToolCall(name=part.name, arguments=part.arguments, id=part.tool_call_id)
                for part in rest
                if isinstance(part, ToolCallPart)
            ),
        )
        return
    role: Role = "system" if given.role == "system" else "user"
    yield Message(role=role, content=_parts(rest))


def _parts(given: Sequence[object]) -> tuple[Part, ...]:
    """Text and attachments in the model card's order: pictures, clips, text, sound."""
    media = [
        _medium(part.attachment)
        for part in given
        if isinstance(part, AttachmentPart) and part.attachment is not None
    ]
    text = [TextPart(text=part.text) for part in given if isinstance(part, LlmTextPart)]
    sounds = [part for part in media if isinstance(part, AudioPart)]
    return (*(part for part in media if not isinstance(part, AudioPart)), *text, *sounds)


def _medium(attachment: llm.Attachment) -> Part:
    if attachment.path:
        source = Source(name=attachment.path, path=Path(attachment.path))
    elif attachment.url:
        content: bytes = attachment.content_bytes()  # type: ignore[no-untyped-call]
        source = Source(name=attachment.url, data=content)
    else:
        source = Source(name="attachment", data=attachment.content)
    kind = kind_of(source)
    if kind == "video":
        return VideoPart(source=source)
    return AudioPart(source=source) if kind == "audio" else ImagePart(source=source)
