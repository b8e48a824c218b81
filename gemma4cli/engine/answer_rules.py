"""What the options of an answer mean for a model: how its tokens are chosen, and which end it."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

from ..errors import OptionError
from ..options import GenerateOptions
from .call_constraint import CallConstraint
from .constrain import Constraint, SchemaConstraint
from .model import LoadedModel
from .sampling import Sampler, make_sampler
from .vocabulary import Vocabulary

_RESULT = "<|tool_response>"


def stop_ids_of(model: LoadedModel, options: GenerateOptions) -> frozenset[int]:
    """The tokens that end an answer; with tools, the one that begins a result is among them."""
    stop_ids = model.generation.stop_ids
    tokenizer = model.tokenizer
    if options.tools is not None and tokenizer.has_control(_RESULT):
        return stop_ids | {tokenizer.control_id(_RESULT)}
    return stop_ids


def make_answer_sampler(model: LoadedModel, options: GenerateOptions) -> Sampler:
    """A sampler with the options' values, or the checkpoint's for those that are None.

    Raises OptionError as ``require_known_tokens``.
    """
    require_known_tokens(model, options)
    defaults = model.generation
    return make_sampler(
        temperature=temperature_of(model, options),
        top_p=defaults.top_p if options.top_p is None else options.top_p,
        top_k=defaults.top_k if options.top_k is None else options.top_k,
        key=None if options.seed is None else mx.random.key(options.seed),
        bias=options.logit_bias,
    )


def require_known_tokens(model: LoadedModel, options: GenerateOptions) -> None:
    """Raise OptionError if a token with a bias is not in the vocabulary."""
    size = model.network.config.text.vocab_size
    for each in options.logit_bias:
        if each.token >= size:
            raise OptionError(
                f"there is no token {each.token} to give a bias: the vocabulary has {size:,}"
            )


def temperature_of(model: LoadedModel, options: GenerateOptions) -> float:
    """The options' temperature, or the checkpoint's if it is None."""
    temperature = options.temperature
    return model.generation.temperature if temperature is None else temperature


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
