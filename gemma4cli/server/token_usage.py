"""Token counts of an answer in OpenAI's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..events import Finished, Usage
from ..processing.text_encoder import TextEncoder

_OPEN, _CLOSE = "<|channel>", "<channel|>"


def usage_data(usages: Sequence[Usage], thought_tokens: int = 0) -> dict[str, Any]:
    """The usage of answers to one prompt, which counts once."""
    prompt = usages[0].prompt_tokens
    completion = sum(each.completion_tokens for each in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": usages[0].cached_tokens},
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
