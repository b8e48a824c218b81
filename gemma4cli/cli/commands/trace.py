"""``g4 trace``: what exactly reaches the model, for bug reports and comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...errors import OptionError
from ..environment import Environment
from ..run.options import RunOptions, runs_a_model_differently

_GREEDY_TOKENS = 24
_NO_SAMPLING = "trace decodes greedily"


@runs_a_model_differently(
    refused={
        **dict.fromkeys(("temperature", "top_p", "top_k", "seed"), _NO_SAMPLING),
        "think": "enable_thinking in the conversation's file lets the model think",
        "json": "trace writes an .npz file",
        "pictures": "trace shows no pictures",
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
    from ...conversations.trace import trace as run_trace
    from ..run.runner import load_model

    if run.output is None or str(run.output) == "-":
        raise OptionError("trace writes a binary file: name it with -o OUT.npz")
    if not run.output.parent.is_dir():
        raise OptionError(f"{run.output.parent}: no such folder")
    if run.output.is_dir():
        raise OptionError(f"{run.output}: is a folder; name a file")
    result = run_trace(
        load_model(env, run), conversation, max_tokens=run.max_tokens or _GREEDY_TOKENS
    )
    try:
        result.save(run.output)
    except PermissionError as exc:
        raise OptionError(f"{run.output}: cannot be written ({exc.strerror})") from exc
    if not run.quiet:
        env.say(
            f"{run.output}: {len(result.input_ids)} prompt tokens, {len(result.soft_tokens)} soft "
            f"tokens, {len(result.greedy)} greedy tokens"
        )
