"""What a queue has done so far, and what it is doing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelMetrics:
    """What one of several models with the same queue has done; see ``Metrics``."""

    finished: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """Counts of a queue; sums are since its start. Durations are in seconds.

    Attributes:
        slots: The most prompts that are answered at once.
        running: Prompts being answered, those whose prompt is being read included.
        waiting: Prompts whose turn has not come.
        kept_bytes: What is kept of prompts and answers for later prompts.
        accepted: Prompts that were let in.
        refused: Prompts that were not, because the queue was full or closing.
        finished: Whole answers.
        cancelled: Prompts whose answer nobody wanted any more.
        failed: Prompts that ended with an error.
        prompt_tokens: Tokens of prompts that were read, those found in the KV cache included.
        cached_tokens: Those found in the KV cache.
        generated_tokens: Tokens of answers, unfinished ones included.
        steps: Steps of decoding.
        rows: Answers that had a token in a step, summed over the steps.
        encode_seconds: Time in the vision and audio towers.
        prefill_seconds: Time spent reading prompts.
        decode_seconds: Time spent decoding.
        first_tokens: Answers that have begun.
        first_token_seconds: Time from a prompt's arrival to the first token of its answer, summed
            over these answers.
        models: What each model has done of that, in the order of the queue.
    """

    slots: int = 0
    running: int = 0
    waiting: int = 0
    kept_bytes: int = 0
    accepted: int = 0
    refused: int = 0
    finished: int = 0
    cancelled: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    steps: int = 0
    rows: int = 0
    encode_seconds: float = 0.0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    first_tokens: int = 0
    first_token_seconds: float = 0.0
    models: tuple[ModelMetrics, ...] = ()
