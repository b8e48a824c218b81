"""``g4 trace``: what exactly reaches the model, for bug reports and comparisons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ...errors import OptionError
from ...messages import Source, sources_of
from ..environment import Environment
from ..run.inputs import Input
from ..run.options import RunOptions
from ..run.shared_options import runs_a_model_differently

_GREEDY_TOKENS = 24
_STEP = 512
"""Tokens that are read at once on any device, so that traces can be compared."""
_NO_SAMPLING = "trace decodes greedily"


@runs_a_model_differently(
    refused={
        **dict.fromkeys(("temperature", "top_p", "top_k", "seed"), _NO_SAMPLING),
        "think": "enable_thinking in the conversation's file lets the model think",
        "stop": "trace decodes a given number of tokens",
        "schema": "trace decodes freely",
        "json": "trace writes an .npz file",
        "pictures": "trace shows no pictures",
        "draft": "trace computes token by token",
        "server": "trace shows what happens inside of a model",
    },
    helps={
        "max_tokens": f"Length of the greedy continuation. (default: {_GREEDY_TOKENS})",
        "output": "The .npz file to write.",
    },
)
def trace(
    conversation: Annotated[
        Path, typer.Argument(metavar="CONVERSATION.json", help="Conversation to trace.")
    ],
    run: RunOptions,
    env: Environment,
) -> None:
    """Write what exactly reaches the model, for bug reports and comparisons.

    The .npz file holds the conversation's token ids, logits and soft tokens, and the greedy
    continuation.
    """
    from ...conversations.file import read_conversation
    from ...conversations.trace import trace as run_trace
    from ..output.files import replaced_path
    from ..run.runner import load_local_model
    from ..run.targets import target_of

    target = target_of(run.output, several=False, suffixes=("npz",))
    if target.is_stdout:
        raise OptionError("trace writes a binary file: name it with -o OUT.npz")
    content = read_conversation(conversation, for_trace=True)
    media = [each for message in content.messages for each in sources_of(message.parts)]
    given = Input(given=str(conversation), label=conversation.stem, origin=Source.of(conversation))
    target.check(env, run, [given], [each.path for each in media if each.path is not None])
    (path,) = target.paths(given)
    result = run_trace(
        load_local_model(env, replace(run, draft="none"), media),
        content,
        max_tokens=run.max_tokens or _GREEDY_TOKENS,
        prefill_step_size=run.prefill_step or _STEP,
    )
    with replaced_path(path) as written:
        result.save(written)
    if not run.quiet:
        env.say(
            f"{path}: {len(result.input_ids)} prompt tokens, {len(result.soft_tokens)} soft "
            f"tokens, {len(result.greedy)} greedy tokens"
        )
