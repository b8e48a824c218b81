"""A model in front of another one, whose facts and checks are those of the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from ..engine.answering import AnsweringModel, NoTurns, Turns
from ..options import GenerateOptions
from ..processing.inputs import ModelInputs
from ..processing.processor import Processor
from ..processing.prompt import Prompt as PlannedPrompt


class Forwarding(ABC):
    """All of ``AnsweringModel`` but the answers.

    What prompts compute is found by content, so nothing is kept for a conversation.
    """

    @property
    @abstractmethod
    def behind(self) -> AnsweringModel:
        """The other model."""

    @property
    def name(self) -> str:
        return self.behind.name

    @property
    def processor(self) -> Processor:
        return self.behind.processor

    @property
    def context_length(self) -> int:
        return self.behind.context_length

    @property
    def identity(self) -> Mapping[str, object]:
        return self.behind.identity

    @property
    def keeps_turns(self) -> bool:
        return False

    def new_turns(self) -> Turns:
        return NoTurns()

    def batch_size(self, positions: int) -> int:
        return self.behind.batch_size(positions)

    def check_prompt(self, inputs: ModelInputs, options: GenerateOptions) -> None:
        self.behind.check_prompt(inputs, options)

    def check_plan(self, prompt: PlannedPrompt, options: GenerateOptions) -> None:
        self.behind.check_plan(prompt, options)

    def check_schema(self, options: GenerateOptions) -> None:
        self.behind.check_schema(options)
