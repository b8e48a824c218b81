"""Generate an answer as a stream of events. Closing the stream cancels the run."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from time import perf_counter

import mlx.core as mx

from ..errors import AnswerCutError
from ..events import (
    AnswerDelta,
    Event,
    Finished,
    FinishReason,
    Notice,
    PrefillProgress,
    TextDelta,
    Timings,
    TokenLogprob,
    Usage,
)
from ..machine.backend import on_cpu
from ..models.gemma4 import SoftTokens
from ..models.masks import NO_MASKS
from ..models.mlx_lm_parts import RowCache
from ..options import GenerateOptions
from ..processing.inputs import ModelInputs
from ..processing.tool_calls import CALL_END
from .call_constraint import CallConstraint
from .channels import ChannelSplitter
from .constrain import Constraint, SchemaConstraint
from .context_limits import check_context
from .decode import decode_tokens
from .drafting import Draft, DraftCounts
from .encode import encode_media
from .logprobs import SeenLogits
from .memory_limits import prefill_step, require_memory_for_prompt
from .model import LoadedModel
from .prefill import Prefill
from .repetition import is_repeating
from .sampling import Sampler, make_sampler, suppress
from .stop_texts import StopTexts
from .turn_cache import CachedRun, Content, TurnCache, content_of
from .vocabulary import Vocabulary

_RESULT = "<|tool_response>"
_EMPTY_THOUGHT = 5
"""The most tokens of a thought without text, with its markers."""
_LONGEST_TURN_START = 32
"""The most tokens a prompt may have from the start of the model's turn: markers, empty thought."""


def generate(
    model: LoadedModel,
    inputs: ModelInputs,
    options: GenerateOptions,
    turns: TurnCache | None = None,
) -> Iterator[Event]:
    """Encode media, prefill and decode; the last event is Finished.

    With ``turns``, positions cached by earlier turns are neither encoded nor prefilled again.

    Raises ContextLengthError, PromptTooLargeError, and AnswerCutError for a schema that the answer
    is too short for, before computing anything, and NonFiniteError while computing.
    """
    check_context(inputs, model.context_length)
    kept = None if turns is None else turns.kept
    require_memory_for_prompt(model, inputs, options, kept=kept)
    constraint = make_constraint(model, options, inputs.ids)
    for notice in inputs.notices:
        yield Notice(text=notice)
    run = (TurnCache(limit=0) if turns is None else turns).begin(
        model.network, content_of(inputs), blocks_on_full_layers=model.blocks_on_full_layers
    )
    tail = answer_start(model, inputs.ids)
    step = prefill_step(model, inputs, options, kept)
    try:
        yield from _run(model, inputs, options, constraint, run, tail, step)
    except Exception:
        # The layers may hold different numbers of positions, NaN, or arrays that were not computed.
        run.forget()
        raise
    except GeneratorExit:
        # Events are yielded between steps, when all layers hold the same number of positions.
        _keep_answer(model, run, tail, len(inputs.ids))
        raise


def _run(
    model: LoadedModel,
    inputs: ModelInputs,
    options: GenerateOptions,
    constraint: Constraint | None,
    run: CachedRun,
    tail: int,
    step: int,
) -> Iterator[Event]:
    """``generate`` once the turn cache is set up; the model's turn starts at ``tail``."""
    started = perf_counter()
    soft_tokens: list[SoftTokens] = []
    for each in encode_media(model, uncached_media(inputs, run.start)):
        if isinstance(each, list):
            soft_tokens = each
        else:
            yield each
    encoded = perf_counter()
    hidden = mx.zeros(0)
    stops = run.stops(tail, inputs.spans)
    prefill = make_prefill(model, inputs, soft_tokens, step, start=run.start, tail=tail)
    for progress in replace(prefill, stops=stops).run(run.cache):
        if isinstance(progress, PrefillProgress):
            if run.cached in (*stops, tail):
                run.keep()
            yield progress
        else:
            hidden = progress
    mx.eval(hidden)
    prefilled = perf_counter()
    answer = Answer(model, inputs, options, cached_tokens=run.start)
    counts = DraftCounts()
    seen = SeenLogits.of(options)
    tokens = _tokens(model, run.cache, hidden, options, constraint, answer.most, counts, seen)
    # Closing it rewinds the cache to what was taken from it.
    with closing(tokens):
        for token in tokens:
            run.content.append(token)
            yield from answer.push(token, None if seen is None else seen.take(token))
            if answer.reason is not None:
                break
    answer.conclude(constraint)
    _keep_answer(model, run, tail, len(inputs.ids))
    yield answer.finished(
        Timings(
            encode=encoded - started,
            prefill=prefilled - encoded,
            decode=perf_counter() - prefilled,
        ),
        counts,
    )


def _tokens(
    model: LoadedModel,
    cache: Sequence[RowCache],
    hidden: mx.array,
    options: GenerateOptions,
    constraint: Constraint | None,
    most: int,
    counts: DraftCounts,
    seen: SeenLogits | None,
) -> Generator[int]:
    """The tokens of an answer, at most ``most`` of them with the model's drafter.

    Without a drafter if the logits are to be ``seen``.
    """
    network, drafter = model.network, model.drafter
    text = network.language_model
    sampler = make_answer_sampler(model, options)
    bias = suppress(network.config.text.vocab_size, model.generation.suppressed_ids)
    if drafter is not None and seen is None and drafter.pace.begin():
        last = yield from Draft(
            network=network,
            drafter=drafter.network,
            cache=cache,
            sampler=sampler,
            bias=bias,
            constraint=constraint,
            stop_ids=stop_ids_of(model, options),
            most=most,
            pace=drafter.pace,
            counts=counts,
        ).tokens(hidden)
        hidden = text.model(*network.embed([last]), cache, NO_MASKS)
    logits = text.logits(hidden)[0, -1]
    yield from decode_tokens(
        network,
        cache,
        logits,
        sampler,
        bias=bias,
        constraint=constraint,
        lookahead=not on_cpu(),
        seen=seen,
    )


def make_constraint(
    model: LoadedModel, options: GenerateOptions, prompt_ids: Sequence[int] = ()
) -> Constraint | None:
    """The constraint for the options' schema or tools, if there is one, after a prompt.

    Raises OptionError, and AnswerCutError if the answer is too short for the schema.
    """
    if options.tools is not None:
        return CallConstraint(
            options,
            model.tokenizer,
            vocab_size=model.network.config.text.vocab_size,
            stop_ids=stop_ids_of(model, options),
            prompt_ids=prompt_ids,
        )
    if options.schema is None:
        return None
    return SchemaConstraint(
        options.schema,
        model.tokenizer,
        vocab_size=model.network.config.text.vocab_size,
        stop_ids=model.generation.stop_ids,
        max_tokens=min(options.max_tokens, model.context_length - len(prompt_ids)),
        repetition_guard=options.repetition_guard,
    )


def prepare_constraints(model: LoadedModel) -> None:
    """Do now what would hold up the first answer by a schema or with tools, and all others.

    Raises CheckpointError for a vocabulary that grammars cannot use.
    """
    vocab_size = model.network.config.text.vocab_size
    Vocabulary.of(model.tokenizer, vocab_size, model.generation.stop_ids)


def stop_ids_of(model: LoadedModel, options: GenerateOptions) -> frozenset[int]:
    """The tokens that end an answer; with tools, the one that begins a result is among them."""
    stop_ids = model.generation.stop_ids
    tokenizer = model.tokenizer
    if options.tools is not None and tokenizer.has_control(_RESULT):
        return stop_ids | {tokenizer.control_id(_RESULT)}
    return stop_ids


def uncached_media(inputs: ModelInputs, start: int) -> ModelInputs:
    """Inputs without the media that end before position ``start``."""
    pairs = zip(inputs.spans, inputs.features, strict=True)
    kept = [(span, feature) for span, feature in pairs if span.end > start]
    return replace(
        inputs,
        spans=tuple(span for span, _ in kept),
        features=tuple(feature for _, feature in kept),
    )


def answer_start(model: LoadedModel, ids: Sequence[int]) -> int:
    """The position at which the model's turn starts, near the end of the prompt.

    A later prompt repeats everything before it, even if it starts that turn differently (12B and
    up) or omits a thought. If the prompt starts no model turn, this is its last position.
    """
    turn_id = model.tokenizer.control_id("<|turn>")
    last = len(ids) - 1
    nearest = range(last, max(last - _LONGEST_TURN_START, 0), -1)
    return next((position for position in nearest if ids[position] == turn_id), last)


def _keep_answer(model: LoadedModel, run: CachedRun, tail: int, prompt_length: int) -> None:
    """Keep a checkpoint after the answer, if later prompts repeat it."""
    if run.cached == prompt_length == len(run.content):
        return
    if is_repeated(model, run.content[tail : run.cached]):
        run.keep()


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


def make_prefill(
    model: LoadedModel,
    inputs: ModelInputs,
    soft_tokens: list[SoftTokens],
    step: int,
    *,
    start: int = 0,
    tail: int | None = None,
) -> Prefill:
    """The prefill of one prompt with the model's masks; ``start``, ``tail``: see Prefill."""
    return Prefill(
        network=model.network,
        ids=inputs.ids,
        spans=inputs.spans,
        soft_tokens=soft_tokens,
        step=step,
        blocks_on_full_layers=model.blocks_on_full_layers,
        start=start,
        tail=tail,
    )


def make_answer_sampler(model: LoadedModel, options: GenerateOptions) -> Sampler:
    """A sampler with the options' values, or the checkpoint's for those that are None."""
    defaults = model.generation
    return make_sampler(
        temperature=temperature_of(model, options),
        top_p=defaults.top_p if options.top_p is None else options.top_p,
        top_k=defaults.top_k if options.top_k is None else options.top_k,
        key=None if options.seed is None else mx.random.key(options.seed),
    )


def temperature_of(model: LoadedModel, options: GenerateOptions) -> float:
    """The options' temperature, or the checkpoint's if it is None."""
    temperature = options.temperature
    return model.generation.temperature if temperature is None else temperature
