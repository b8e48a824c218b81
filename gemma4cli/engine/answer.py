"""An answer as it is generated: from tokens to deltas, and why it ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..errors import AnswerCutError
from ..events import (
    AnswerDelta,
    Finished,
    FinishReason,
    TextDelta,
    Timings,
    TokenLogprob,
    Usage,
)
from ..options import GenerateOptions
from ..processing.inputs import ModelInputs
from .answer_rules import stop_ids_of
from .channels import ChannelSplitter
from .constrain import Constraint, SchemaConstraint
from .drafting import DraftCounts
from .model import LoadedModel
from .repetition import is_repeating
from .stop_texts import StopTexts


class Answer:
    """An answer being generated; ``reason`` is None until it ends."""

    def __init__(
        self,
        model: LoadedModel,
        inputs: ModelInputs,
        options: GenerateOptions,
        *,
        cached_tokens: int = 0,
    ) -> None:
        self.reason: FinishReason | None = None
        self._inputs = inputs
        self.cached_tokens = cached_tokens
        self._options = options
        self._ids: list[int] = []
        self._stop_ids = stop_ids_of(model, options)
        self._splitter = ChannelSplitter(
            model.tokenizer, inputs.ids, reads_calls=options.tools is not None
        )
        self._stops = StopTexts(options.stop)
        self._texts: list[str] = []
        self._held: list[TokenLogprob] = []
        self._logprobs: list[TokenLogprob] = []
        self._tokens_left = model.context_length - len(inputs.ids)

    @property
    def length(self) -> int:
        """Tokens so far."""
        return len(self._ids)

    def push(self, token: int, logprob: TokenLogprob | None = None) -> list[AnswerDelta]:
        """Add the next token, and how likely it was; returns the deltas that it completes."""
        deltas: list[AnswerDelta] = []
        if token in self._stop_ids:
            self.reason = "stop"
        else:
            self._ids.append(token)
            if logprob is not None and self._splitter.is_text(token):
                self._held.append(logprob)
            deltas += self._before_stop(self._splitter.push(token))
            self.reason = "stop" if self._stops.found else self._ending()
        if self.reason is not None:
            deltas += self._before_stop(self._splitter.finish())
            if self._stops.found:
                self.reason = "stop"
            deltas += self._shown(self._stops.finish())
        return deltas

    def conclude(self, constraint: Constraint | None) -> None:
        """Settle why an answer ended that was constrained. Raises AnswerCutError."""
        if self._stops.found or not isinstance(constraint, SchemaConstraint):
            return
        if not constraint.is_complete:
            raise AnswerCutError(self.length)
        self.reason = constraint.cut or "stop"

    def _before_stop(self, deltas: Iterable[AnswerDelta]) -> Iterator[AnswerDelta]:
        """The deltas without a stop text and what follows it; what may be one is held back."""
        for delta in deltas:
            if isinstance(delta, TextDelta):
                yield from self._shown(self._stops.push(delta.text))
            else:
                yield from self._shown(self._stops.finish())
                yield delta

    def _shown(self, text: str) -> Iterator[TextDelta]:
        if text:
            self._texts.append(text)
            logprobs = self._logprobs_of(text) if self._held else ()
            yield TextDelta(text=text, logprobs=logprobs)

    def _logprobs_of(self, text: str) -> tuple[TokenLogprob, ...]:
        """Those of the tokens since the last delta; not of a stop text that follows ``text``."""
        count = len(self._held)
        if self._stops.found:
            decoder, length, count = self._splitter.new_decoder(), 0, 0
            while length < len(text) and count < len(self._held):
                length += len(decoder.push(self._held[count].token))
                count += 1
        found = tuple(self._held[:count])
        self._held.clear()
        self._logprobs += found
        return found

    @property
    def most(self) -> int:
        """The most tokens that it may have."""
        return min(self._tokens_left, self._options.max_tokens)

    def finished(self, timings: Timings, drafts: DraftCounts | None = None) -> Finished:
        """The final event of an answer that has ended."""
        assert self.reason is not None
        waits = self.reason == "stop" and self._splitter.calls
        return Finished(
            reason="tool_calls" if waits else self.reason,
            text="".join(self._texts),
            thoughts=self._splitter.thoughts,
            token_ids=tuple(self._ids),
            usage=Usage(
                prompt_tokens=len(self._inputs.ids),
                soft_tokens=self._inputs.num_soft_tokens,
                completion_tokens=len(self._ids),
                cached_tokens=self.cached_tokens,
                guessed_tokens=0 if drafts is None else drafts.guessed,
                accepted_tokens=0 if drafts is None else drafts.accepted,
            ),
            timings=timings,
            budgets=self._inputs.budgets,
            tool_calls=tuple(self._splitter.calls),
            logprobs=tuple(self._logprobs),
        )

    def _ending(self) -> FinishReason | None:
        """The reason to end the answer here although the model did not stop, if any."""
        by_schema = self._options.schema is not None and self._options.tools is None
        guarded = self._options.repetition_guard and not by_schema
        if guarded and is_repeating(self._ids):
            return "repetition"
        if len(self._ids) == self._tokens_left:
            return "context"
        return "length" if len(self._ids) == self._options.max_tokens else None
