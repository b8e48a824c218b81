"""Token counts of an answer in OpenAI's form."""

from __future__ import annotations

from typing import Any

from ..events import Finished, Usage
from ..processing.text_encoder import TextEncoder

_OPEN, _CLOSE = "<|channel>", "<channel|>"


def usage_data(usage: Usage, thought_tokens: int = 0) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": thought_tokens},
    }


def thought_tokens(tokenizer: TextEncoder, answer: Finished) -> int:
    """How many tokens of an answer are thoughts, their markers included."""
    if not answer.thoughts or not tokenizer.has_control(_OPEN):
        return 0
    begin, end = tokenizer.control_id(_OPEN), tokenizer.control_id(_CLOSE)
    is_thought = begin not in answer.token_ids  # then the prompt began it
    count = 0
    for token in answer.token_ids:
        is_thought = is_thought or token == begin
        count += is_thought
        is_thought = is_thought and token != end
    return count
