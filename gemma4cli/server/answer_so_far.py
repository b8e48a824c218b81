"""What has come of an answer, and how it ended, as OpenAI's API names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import AnswerCutError
from ..events import (
    Finished,
    FinishReason,
    TextDelta,
    ThoughtDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallFinished,
    Usage,
)
from ..processing.text_encoder import TextEncoder
from .answer_run import Accepted
from .token_usage import thought_tokens

_REASONS: Mapping[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "context": "length",
    "repetition": "stop",
    "tool_calls": "tool_calls",
}
"""OpenAI's names. It has none for an answer that repeats itself endlessly, which more tokens would
not help; a document by a schema is closed then."""


@dataclass(slots=True)
class Call:
    """A call of a function; its arguments are JSON, or the beginning of it if it was cut off."""

    id: str
    name: str
    arguments: str = ""
    is_open: bool = True


@dataclass(slots=True)
class Answer:
    """An answer so far."""

    tokenizer: TextEncoder
    text: str = ""
    thoughts: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    prompt_tokens: int = 0
    usage: Usage = field(default_factory=Usage)
    thought_tokens: int = 0
    reason: str | None = None

    def take(self, event: object) -> bool:
        """Add what happened; returns whether it is news.

        A call that is cut off comes once more as text, which is not: clients have its beginning.
        """
        match event:
            case Accepted(prompt_tokens=tokens):
                self.prompt_tokens = tokens
            case TextDelta() if self.calls and self.calls[-1].is_open:
                self.calls[-1].is_open = False
                return False
            case TextDelta(text=text, logprobs=logprobs):
                self.text += text
                self.logprobs += logprobs
            case ThoughtDelta(text=text):
                self.thoughts += text
            case ToolCallDelta(arguments=""):
                self.calls.append(Call(id=event.id, name=event.name))
            case ToolCallDelta():
                self.calls[-1].arguments += event.arguments
            case ToolCallFinished():
                self.calls[-1].is_open = False
            case Finished():
                self.usage = event.usage
                self.thought_tokens = thought_tokens(self.tokenizer, event)
                self.reason = _REASONS[event.reason]
        return True

    def cut(self, error: AnswerCutError) -> None:
        """The answer was to match a schema, and is too long. Raises the error if nothing came."""
        if error.shortest is not None:
            raise error
        self.usage = Usage(prompt_tokens=self.prompt_tokens, completion_tokens=error.tokens)
        self.reason = "length"
