"""Constrain an answer's calls of functions to the functions' parameters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..errors import OptionError
from ..options import GenerateOptions
from ..processing.tokenizer import Tokenizer
from .call_grammar import call_grammar
from .constrain import Constraint
from .vocabulary import Vocabulary


class CallConstraint(Constraint):
    """The state of the grammar of ``options.tools`` within one answer.

    An answer that is cut off is not completed: a call with made-up arguments would be worse.
    """

    def __init__(
        self,
        options: GenerateOptions,
        tokenizer: Tokenizer,
        *,
        vocab_size: int,
        stop_ids: frozenset[int],
        prompt_ids: Sequence[int] = (),
    ) -> None:
        """``vocab_size`` is that of the logits; ``prompt_ids`` show if a thought has begun.

        Raises OptionError for tools that are not valid or cannot be enforced.
        """
        assert options.tools is not None, "the options have tools"
        grammar = partial(
            call_grammar,
            options.tools,
            tokenizer,
            choice=options.tool_choice,
            parallel=options.parallel_calls,
            in_thought=_ends_in_thought(tokenizer, prompt_ids),
            think=options.think,
            schema=options.schema,
        )
        vocabulary = Vocabulary.of(tokenizer, vocab_size, stop_ids)
        exact = grammar(loose=False)
        try:
            super().__init__(vocabulary, exact)
        except OptionError:
            # The grammar is beyond the library's limits: calls have at least their form.
            super().__init__(vocabulary, grammar(loose=True))
        self._stop_ids = stop_ids

    @property
    def is_complete(self) -> bool:
        return bool(self._matcher.is_accepting())

    def push(self, token: int) -> int:
        if token not in self._stop_ids:
            self._matcher.consume_token(token)
            self._check()
        return token


def _ends_in_thought(tokenizer: Tokenizer, prompt_ids: Sequence[int]) -> bool:
    if not tokenizer.has_control("<|channel>"):
        return False
    begins, ends = tokenizer.control_id("<|channel>"), tokenizer.control_id("<channel|>")
    markers = (token for token in reversed(prompt_ids) if token in (begins, ends))
    return next(markers, ends) == begins
