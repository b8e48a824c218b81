"""What conversations and transcription ask of a model, wherever it runs.

``LocalModel`` runs in this process. A server's queue and a client of another g4 answer the same
calls. mlx is not imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ..events import AnswerDelta, Event, Finished
from ..options import GenerateOptions
from ..processing.inputs import ModelInputs
from ..processing.processor import Processor
from ..processing.prompt import Prompt as PlannedPrompt

BatchEvent = AnswerDelta | Finished


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prompt:
    """The inputs and options of one row of a batch."""

    inputs: ModelInputs
    options: GenerateOptions


class Turns(Protocol):
    """What a model keeps of a conversation between its turns.

    Attributes:
        shared: Whether other conversations begin alike.
    """

    shared: bool

    def clear(self) -> None:
        """Forget everything."""


class NoTurns:
    """For a model that finds by content what earlier prompts computed."""

    shared = True

    def clear(self) -> None:
        pass


class AnsweringModel(Protocol):
    """A model that answers prompts."""

    @property
    def name(self) -> str:
        """The name that the user gave."""

    @property
    def processor(self) -> Processor:
        """Makes inputs of messages and media."""

    @property
    def context_length(self) -> int:
        """The most tokens that prompt and answer can have together."""

    @property
    def identity(self) -> Mapping[str, object]:
        """What tells it from another model, and from itself with other weights."""

    @property
    def keeps_turns(self) -> bool:
        """Whether what it computes of a conversation is kept in its ``new_turns``."""

    def new_turns(self) -> Turns:
        """For a new conversation."""

    def generate(
        self, inputs: ModelInputs, options: GenerateOptions, turns: Turns | None = None
    ) -> Iterator[Event]:
        """Encode media, prefill and decode; the last event is Finished.

        ``turns`` come from ``new_turns``; without them nothing is kept. Closing the stream cancels.
        Raises as ``check_prompt`` and ``check_schema`` before computing anything, and
        NonFiniteError.
        """

    def stream_batch(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, BatchEvent]]:
        """The answers to several prompts at once: events with the prompt's number, interleaved.

        Raises as ``generate``.
        """

    def batch_size(self, positions: int) -> int:
        """Prompts to answer at once if each takes ``positions`` positions with its answer."""

    def check_prompt(self, inputs: ModelInputs, options: GenerateOptions) -> None:
        """Raise ContextLengthError, PromptTooLargeError, or OptionError for a token with a bias."""

    def check_plan(self, prompt: PlannedPrompt, options: GenerateOptions) -> None:
        """Raise these errors for clips before they are decoded; ``prompt`` has placeholders."""

    def check_schema(self, options: GenerateOptions) -> None:
        """Raise OptionError or AnswerCutError if the options' schema cannot be enforced."""


def generate_batch(
    model: AnsweringModel,
    inputs: Sequence[ModelInputs],
    options: GenerateOptions,
    *,
    max_tokens: Sequence[int] | None = None,
) -> list[Finished]:
    """The final events of ``stream_batch``, in the order of the prompts.

    ``max_tokens`` holds a limit for each prompt, which overrides the one in ``options``.
    """
    limits = [options.max_tokens] * len(inputs) if max_tokens is None else max_tokens
    prompts = [
        Prompt(inputs=each, options=replace(options, max_tokens=limit))
        for each, limit in zip(inputs, limits, strict=True)
    ]
    finished = {
        number: event
        for number, event in model.stream_batch(prompts)
        if isinstance(event, Finished)
    }
    return [finished[number] for number in range(len(inputs))]
