"""Changes one value in the text of a settings file, and leaves all else as it is.

Every change is checked by reading the new text: what cannot be changed line by line is refused.
"""

from __future__ import annotations

import json
import re
import tomllib

_HEADER = re.compile(r"\s*\[")


def literal(value: object) -> str:
    """A value in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    # A string of JSON is one of TOML, but for this character, which TOML wants escaped.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def with_value(text: str, command: str | None, key: str, value: object) -> str | None:
    """The file's text with ``key = value`` at the top level or in a command's table.

    None if that cannot be done line by line.
    """
    lines = text.splitlines()
    start, end = _table(lines, command)
    line = f"{key} = {literal(value)}"
    found = _assignment(lines, start, end, key)
    if found is not None:
        first, last = found
        indent = lines[first][: len(lines[first]) - len(lines[first].lstrip())]
        new = [*lines[:first], f"{indent}{line}{_comment(lines[first:last])}", *lines[last:]]
    elif start is None:
        gap = [""] if lines and lines[-1].strip() else []
        new = [*lines, *gap, f"[{command}]", line]
    else:
        at = _end_of_values(lines, start, end)
        new = [*lines[:at], line, *lines[at:]]
        if command is None and at < len(lines) and _HEADER.match(lines[at]):
            new.insert(at + 1, "")
    expected = tomllib.loads(text)
    table = expected if command is None else expected.setdefault(command, {})
    if not isinstance(table, dict):
        return None
    table[key] = value
    return _if_it_says(expected, new, text)


def without_value(text: str, command: str | None, key: str) -> str | None:
    """The file's text without a key that it has; None if that cannot be done line by line."""
    lines = text.splitlines()
    found = _assignment(lines, *_table(lines, command), key)
    expected = tomllib.loads(text)
    table = expected if command is None else expected[command]
    del table[key]
    if found is None:
        return None
    return _if_it_says(expected, [*lines[: found[0]], *lines[found[1] :]], text)


def _table(lines: list[str], command: str | None) -> tuple[int | None, int]:
    """First line and end of a table; no first line if the file does not have it."""
    # Inside a text of several lines, what comes before is not complete.
    headers = [
        i for i, line in enumerate(lines) if _HEADER.match(line) and _parses("\n".join(lines[:i]))
    ]
    if command is None:
        return 0, headers[0] if headers else len(lines)
    name = re.compile(rf"""\s*\[\s*["']?{re.escape(command)}["']?\s*\]\s*(#.*)?""")
    for number, at in enumerate(headers):
        if name.fullmatch(lines[at]):
            end = headers[number + 1] if number + 1 < len(headers) else len(lines)
            return at + 1, end
    return None, len(lines)


def _assignment(lines: list[str], start: int | None, end: int, key: str) -> tuple[int, int] | None:
    """The lines of an assignment, whose value may take several."""
    if start is None:
        return None
    begins = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*=""")
    for first in range(start, end):
        if begins.match(lines[first]):
            for last in range(first + 1, end + 1):
                if _parses("\n".join(lines[first:last])):
                    return first, last
    return None


def _end_of_values(lines: list[str], start: int, end: int) -> int:
    """After the last value of a table, before comments that belong to what follows."""
    at = end
    while at > start and lines[at - 1].strip()[:1] in ("", "#"):
        at -= 1
    if at == start == 0:
        # A comment at the head of the file stays there.
        while at < end and lines[at].strip().startswith("#"):
            at += 1
    return at


def _comment(assignment: list[str]) -> str:
    """The comment after a value on one line, with the space before it."""
    line = assignment[0]
    for at, character in enumerate(line):
        if character == "#" and len(assignment) == 1 and _parses(line[:at]):
            return line[len(line[:at].rstrip()) :]
    return ""


def _parses(text: str) -> bool:
    try:
        tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return False
    return True


def _if_it_says(expected: dict[str, object], lines: list[str], before: str) -> str | None:
    newline = "\r\n" if "\r\n" in before else "\n"
    text = "".join(f"{line}{newline}" for line in lines)
    try:
        return text if tomllib.loads(text) == expected else None
    except tomllib.TOMLDecodeError:
        return None
