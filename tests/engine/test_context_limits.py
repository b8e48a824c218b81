"""What a prompt that is too long says can be made smaller."""

from __future__ import annotations

import pytest

from gemma4cli.engine.context_limits import check_context
from gemma4cli.errors import ContextLengthError
from gemma4cli.messages import MediaKind
from gemma4cli.processing.inputs import ModelInputs
from gemma4cli.processing.prompt import MediaSpan


@pytest.mark.parametrize(
    ("kinds", "cure"),
    [
        ((), "use less text"),
        (("image",), "use less text, fewer images, a smaller --budget"),
        (("video", "audio"), "use less text, shorter recordings, fewer video frames"),
    ],
)
def test_only_media_that_the_prompt_has_are_named(kinds: tuple[MediaKind, ...], cure: str) -> None:
    spans = tuple(MediaSpan(kind=kind, start=i, end=i + 1, item=i) for i, kind in enumerate(kinds))
    inputs = ModelInputs(ids=(1,) * 9, spans=spans, features=(), text="", notices=())
    with pytest.raises(ContextLengthError, match=f"of 8: {cure}"):
        check_context(inputs, 8)
