"""The soft-token budget of an image, chosen from the prompt and the image's size.

The model card recommends low budgets for captions and classification, high ones for documents and
small text.
"""

from __future__ import annotations

import re

from ..decoded import Decoded, Image
from ..options import SOFT_TOKEN_BUDGETS, Budget

_CAPTION, _QUESTION, _READING = 140, 280, 1120
_PIXELS = 48 * 48
"""Pixels that one soft token covers in an unscaled image."""
_READ = re.compile(
    r"\b(?:read|reads|reading|text|texts|written|writing|wrote|handwriting|handwritten|says|ocr|"
    r"do(?:es)? .{1,60} say|transcribe|transcript|documents?|pages?|letters?|words?|spell|spelled|"
    r"signs?|labels|the (?:label|caption|title|headline)|receipts?|invoices?|bill|forms?|"
    r"(?<!on the )(?<!under the )(?<!at the )tables?|charts?|graphs?|diagrams?|screenshots?|"
    r"slides?|maps?|menu|code|number plate|licen[cs]e plate|serial|total|amounts?|digits?|"
    r"markdown|csv|html|latex|lies|lesen|liest|steht|geschrieben|lire|lis|texte|écrit|leer|"
    r"texto|escrito|leggi|testo|scritto|ler)\b|文字|写着|读|読|書いて|글자|읽|текст|написано|прочита",
    re.IGNORECASE,
)
"""Prompts that ask for text, numbers or charts to be read."""
_DESCRIBE = re.compile(
    r"\W*(?:please )?(?:briefly )?(?:describe|caption|summari[sz]e) "
    r"(?:it|this|these|(?:(?:this|these|the|my|each) )?(?:image|picture|photo|photograph)s?)"
    r"(?: (?:briefly|in (?:a|one) (?:word|line|sentence)|please))*\W*",
    re.IGNORECASE,
)
_SORT = re.compile(
    r"\b(?:captions? (?:for|of)|classify|classification|categor(?:y|ies|i[sz]e)|keywords|tags)\b",
    re.IGNORECASE,
)
"""Prompts for which detail does not matter: a caption, tags or a class."""


def image_budget(item: Decoded, budget: Budget | None, prompt: str) -> int | None:
    """The budget of one item in a message with the text ``prompt``; None means the default."""
    if budget != "auto":
        return budget
    if not isinstance(item, Image):
        return None
    height, width, _ = item.pixels.shape
    return auto_budget(height, width, prompt)


def auto_budget(height: int, width: int, prompt: str) -> int:
    """The budget for an image of ``height`` times ``width`` pixels and a prompt.

    Small images get a small budget: enlarging them adds no detail.
    """
    most = _QUESTION
    if _READ.search(prompt):
        most = _READING
    elif _DESCRIBE.fullmatch(prompt) or _SORT.search(prompt):
        most = _CAPTION
    detail = height * width / _PIXELS
    return next(b for b in SOFT_TOKEN_BUDGETS if b >= min(detail, most))
