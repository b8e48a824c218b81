"""How likely the tokens of an answer were, as OpenAI's API sends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..events import TokenLogprob
from ..processing.tokenizer import Tokenizer


def logprobs_data(tokenizer: Tokenizer, found: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    """Tokens in order, each with the likeliest ones at its place."""
    return [
        {
            **_token_data(tokenizer, each),
            "top_logprobs": [_token_data(tokenizer, other) for other in each.likeliest],
        }
        for each in found
    ]


def _token_data(tokenizer: Tokenizer, found: TokenLogprob) -> dict[str, Any]:
    """A token by its text and bytes; one that is a part of a character has a name for it."""
    byte = tokenizer.byte_values.get(found.token)
    if byte is not None:
        return {"token": f"\\x{byte:02x}", "logprob": found.logprob, "bytes": [byte]}
    text = tokenizer.decode([found.token], skip_control=False)
    return {"token": text, "logprob": found.logprob, "bytes": list(text.encode())}
