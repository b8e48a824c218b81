"""How many soft tokens an image is worth, by what is asked about it and by its size.

The model card: low budgets for captions and classification, high ones for documents and small text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..options import SOFT_TOKEN_BUDGETS

_CAPTION, _QUESTION, _READING = 140, 280, 1120
_PIXELS = 48 * 48
"""Of an image in its own size that one soft token takes in."""
_READ = re.compile(
    r"\b(?:read|reads|reading|text|texts|write|writes|writing|written|wrote|handwriting|says|ocr|"
    r"transcribe|transcript|document|documents|page|pages|letter|letters|word|words|spell|spelled|"
    r"sign|label|labels|caption|title|headline|receipt|invoice|bill|form|table|tables|chart|graph|"
    r"diagram|screenshot|slide|map|menu|code|number plate|licen[cs]e plate|serial|total|amount|"
    r"digits?|markdown|csv|html|latex|lies|lesen|liest|steht|geschrieben|lire|texte|écrit|leer|"
    r"texto|escrito|leggi|testo|scritto|ler)\b",
    re.IGNORECASE,
)
"""What somebody asks who wants something read."""


def auto_budget(sizes: Sequence[tuple[int, int]], prompt: str, *, own_words: bool) -> int:
    """The budget for images of (height, width) pixels.

    ``own_words`` says that the prompt is the user's, and not the tool's request for a caption. An
    image gets no more than it has detail for: enlarging shows nothing new.
    """
    most = _CAPTION
    if own_words:
        most = _READING if _READ.search(prompt) else _QUESTION
    detail = max((height * width for height, width in sizes), default=0) / _PIXELS
    return next((b for b in SOFT_TOKEN_BUDGETS if b >= min(detail, most)), most)
