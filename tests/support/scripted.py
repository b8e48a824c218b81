"""Models whose answers are given by a test: their tokens are forced, everything else is real."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from gemma4cli.engine import generate
from gemma4cli.engine.constrain import Constraint
from gemma4cli.engine.model import LoadedModel
from gemma4cli.engine.vocabulary import Allowed
from gemma4cli.options import GenerateOptions
from gemma4cli.processing.prompt_tokens import Control, Text, merged
from gemma4cli.processing.tokenizer import Tokenizer
from gemma4cli.processing.tools import call

Said = str | tuple[str, dict[str, Any]]
"""Text, a control token by name, or a call of a function with its arguments."""

_MAKE_CONSTRAINT = generate.make_constraint


def ids_of(tokenizer: Tokenizer, parts: Iterable[Said]) -> list[int]:
    ids: list[int] = []
    for part in parts:
        if isinstance(part, tuple):
            for each in merged(call(*part)):
                match each:
                    case Text(text):
                        ids += tokenizer.encode(text)
                    case Control(name):
                        ids.append(tokenizer.control_id(name))
        elif tokenizer.has_control(part):
            ids.append(tokenizer.control_id(part))
        else:
            ids += tokenizer.encode(part)
    return ids


class Scripted(Constraint):
    """Allows one token at a time, and checks that ``real`` would have allowed it too."""

    def __init__(self, ids: Sequence[int], real: Constraint | None, vocab_size: int) -> None:
        self._ids = list(ids)
        self._real = real
        self._vocab_size = vocab_size

    @property
    def is_complete(self) -> bool:
        return True

    def allowed(self) -> Allowed:
        bits = np.zeros(-(-self._vocab_size // 8) * 8, np.uint8)
        bits[self._ids[:1]] = 1
        return Allowed(np.packbits(bits, bitorder="little"), self._vocab_size)

    def push(self, token: int) -> int:
        assert token == self._ids.pop(0)
        if self._real is not None:
            mask = np.array(self._real.allowed().mask())
            assert mask[token], f"the grammar does not allow token {token} here"
            self._real.push(token)
        return token


def script(patch: pytest.MonkeyPatch, *answers: Sequence[Said]) -> list[str]:
    """Make the next answers of loaded models these; returns their prompts, as they come.

    An answer with calls ends where their results begin, another one with its turn.
    """
    waiting = list(answers)
    prompts: list[str] = []

    def scripted(
        model: LoadedModel, options: GenerateOptions, prompt_ids: Sequence[int] = ()
    ) -> Constraint:
        said = waiting.pop(0)
        calls = any(isinstance(part, tuple) for part in said)
        end = "<|tool_response>" if calls else "<turn|>"
        prompts.append(model.tokenizer.decode(prompt_ids, skip_control=False))
        ids = ids_of(model.tokenizer, [*said, end])
        constraint = _MAKE_CONSTRAINT(model, options, prompt_ids)
        return Scripted(ids, constraint, model.network.config.text.vocab_size)

    for module in ("engine.generate", "engine.running_batch", "serving.queued_model"):
        patch.setattr(f"gemma4cli.{module}.make_constraint", scripted)
    return prompts
