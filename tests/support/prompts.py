"""Messages and styles that the tests of prompts share."""

from __future__ import annotations

from gemma4cli.messages import Message, Part, TextPart
from gemma4cli.processing.prompt import PromptStyle

SMALL = PromptStyle(empty_thought=False)
LARGE = PromptStyle(empty_thought=True)


def user(*parts: Part | str) -> Message:
    content = tuple(TextPart(text=part) if isinstance(part, str) else part for part in parts)
    return Message(role="user", content=content)
