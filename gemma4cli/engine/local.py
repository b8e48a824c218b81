"""A loaded model that answers in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..events import Event
from ..options import GenerateOptions
from ..processing.inputs import ModelInputs
from ..processing.prompt import Prompt as PlannedPrompt
from .answer_rules import make_constraint, require_known_tokens
from .answering import BatchEvent, Prompt, Turns
from .batch import stream_batch
from .batch_size import batch_size
from .context_limits import check_context
from .generate import generate
from .memory_limits import require_memory_for_plan, require_memory_for_prompt
from .model import LoadedModel
from .turn_cache import TurnCache


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LocalModel(LoadedModel):
    """The result of ``api.load``; see ``AnsweringModel`` for what its methods promise."""

    @property
    def keeps_turns(self) -> bool:
        return True

    def new_turns(self) -> TurnCache:
        return TurnCache()

    def generate(
        self, inputs: ModelInputs, options: GenerateOptions, turns: Turns | None = None
    ) -> Iterator[Event]:
        assert turns is None or isinstance(turns, TurnCache), "they come from new_turns"
        return generate(self, inputs, options, turns)

    def stream_batch(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, BatchEvent]]:
        return stream_batch(self, prompts)

    def batch_size(self, positions: int) -> int:
        return batch_size(self, positions)

    def check_prompt(self, inputs: ModelInputs, options: GenerateOptions) -> None:
        check_context(inputs, self.context_length)
        require_known_tokens(self, options)
        require_memory_for_prompt(self, inputs, options)

    def check_plan(self, prompt: PlannedPrompt, options: GenerateOptions) -> None:
        require_memory_for_plan(self, prompt, options)

    def check_schema(self, options: GenerateOptions) -> None:
        make_constraint(self, options)
