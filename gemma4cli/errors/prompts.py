"""A model cannot answer, or not as it was asked."""

from __future__ import annotations

from .base import Gemma4Error, too_large


class PromptError(Gemma4Error):
    """The model cannot answer this conversation."""


class UnsupportedModalityError(PromptError):
    """The checkpoint does not support part of the input; nothing is dropped silently."""

    def __init__(self, modality: str, model: str, lack: str) -> None:
        self.modality = modality
        self.model = model
        super().__init__(
            f"{model} does not support {modality}: {lack}. Choose another model with -m"
        )


class PlaceholderMismatchError(PromptError):
    """The numbers of placeholders in the prompt and of computed soft tokens differ."""

    def __init__(self, kind: str, placeholders: int, soft_tokens: int) -> None:
        self.kind = kind
        self.placeholders = placeholders
        self.soft_tokens = soft_tokens
        super().__init__(
            f"the prompt has {placeholders} {kind} placeholders but {soft_tokens} {kind} "
            "soft tokens were computed"
        )


class ConversationError(PromptError):
    """The messages, or the file that holds them, do not form a conversation."""


class ContextLengthError(PromptError):
    """The prompt is longer than the model's context; by about how much, if it is ``estimated``."""

    def __init__(
        self, tokens: int, limit: int, hint: str = "use less text", *, estimated: bool = False
    ) -> None:
        self.tokens = tokens
        self.limit = limit
        count = f"about {tokens:,}" if estimated else f"{tokens:,}"
        super().__init__(
            f"the prompt has {count} tokens, more than the model's context of {limit:,}: {hint}"
        )


class PromptTooLargeError(PromptError):
    """The model fits in memory, but prompt, media and answer do not. In bytes."""

    def __init__(self, needed: int, free: int, hint: str) -> None:
        self.needed = needed
        self.free = free
        super().__init__(too_large("this request", needed, free, hint))


class AnswerCutError(Gemma4Error):
    """An answer cannot match its schema within its length; ``shortest`` document in tokens."""

    def __init__(self, tokens: int, shortest: int | None = None) -> None:
        self.tokens = tokens
        self.shortest = shortest
        if shortest is None:
            problem = f"the answer was cut off after {tokens} tokens, before it matched the schema"
        else:
            problem = (
                f"the shortest document that matches the schema takes {shortest} tokens, but the "
                f"answer may have {tokens}"
            )
        super().__init__(f"{problem}: raise --max-tokens, or ask for less in the schema")


class NonFiniteError(Gemma4Error):
    """A forward pass produced NaN or infinity; its text would be noise."""

    def __init__(self, where: str) -> None:
        self.where = where
        super().__init__(
            f"the model produced NaN or infinity ({where}): "
            "try --dtype float32, or download the checkpoint again"
        )
