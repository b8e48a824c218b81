"""What of a prompt and its answer the next prompt of a conversation repeats."""

from __future__ import annotations

from collections.abc import Sequence

from ..processing.tool_calls import CALL_END
from .model import LoadedModel
from .turn_cache import Content

_EMPTY_THOUGHT = 5
"""The most tokens of a thought without text, with its markers."""
_LONGEST_TURN_START = 32
"""The most tokens a prompt may have from the start of the model's turn: markers, empty thought."""


def answer_start(model: LoadedModel, ids: Sequence[int]) -> int:
    """The position at which the model's turn starts, near the end of the prompt.

    A later prompt repeats everything before it, even if it starts that turn differently (12B and
    up) or omits a thought. If the prompt starts no model turn, this is its last position.
    """
    turn_id = model.tokenizer.control_id("<|turn>")
    last = len(ids) - 1
    nearest = range(last, max(last - _LONGEST_TURN_START, 0), -1)
    return next((position for position in nearest if ids[position] == turn_id), last)


def is_repeated(model: LoadedModel, answer: Content) -> bool:
    """Whether later prompts repeat an answer: they omit thoughts, but for those before calls.

    The prompt's empty thought, at the start of the answer, is never repeated.
    """
    tokenizer = model.tokenizer
    if not tokenizer.has_control("<|channel>") or tokenizer.control_id("<|channel>") not in answer:
        return True
    if not tokenizer.has_control(CALL_END) or tokenizer.control_id(CALL_END) not in answer[-2:]:
        return False
    begin = answer.index(tokenizer.control_id("<|channel>"))
    return tokenizer.control_id("<channel|>") not in answer[begin : begin + _EMPTY_THOUGHT]
