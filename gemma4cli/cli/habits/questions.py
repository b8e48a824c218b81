"""A question among the files of a command, without -p."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import OptionError
from .files import is_question, looks_like_a_file
from .lines import Known, Word, typed_line, words


def with_question(path: str, line: Sequence[str], known: Known) -> list[str]:
    """The line with -p before the argument that can only be a question, the first or the last.

    Raises OptionError if there is nothing else, or a question without quotes.
    """
    if any(word.name in ("-p", "--prompt") for word in words(line, known)):
        return list(line)
    arguments = [word for word in words(line, known) if not word.is_option]
    if unquoted := _unquoted(arguments):
        rest = [each for i, each in enumerate(line) if i not in {w.index for w in unquoted}]
        new = [*rest, "-p", " ".join(line[word.index] for word in unquoted)]
        raise OptionError(f"a question goes into quotes; type: {typed_line(path, new)}")
    asking = [word for word in arguments if is_question(word.value or "")]
    if len(asking) != 1 or asking[0] not in (arguments[0], arguments[-1]):
        return list(line)
    index = asking[0].index
    new = ["-p", line[index], *line[:index], *line[index + 1 :]]
    if len(arguments) == 1:
        raise OptionError(
            f"{path} needs a file to ask about; type: {typed_line(path, ['FILE', *new])}"
        )
    return new


def _unquoted(arguments: Sequence[Word]) -> list[Word]:
    """The words at the end that are a question, one word per argument."""
    last: list[Word] = []
    for word in reversed(arguments):
        value = word.value or ""
        if " " in value or looks_like_a_file(value) or value == "-":
            break
        last.insert(0, word)
    asks = len(last) >= 3 or (len(last) == 2 and (last[-1].value or "").endswith("?"))
    return last if asks and len(last) < len(arguments) else []
