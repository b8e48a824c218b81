"""``--shard I/N``: the part of the inputs that is one run's; others have the rest.

The runs do not talk. Which of them a file belongs to depends on nothing but its place, the path
below the folder that was named: not on other files, their order, the machine or where it mounts the
folder.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass

import typer
from typer.models import OptionInfo

from ...errors import OptionError

_SHARD = re.compile(r"(\d{1,9})/(\d{1,9})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Shard ``number``, from 1, of ``count``."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"shard {self.number} of {self.count}"

    def has(self, place: str) -> bool:
        """Whether a file at this place is one of the shard's.

        The number of its shard is that of the first eight bytes of a SHA-256, of the path in UTF-8
        and with composed letters (macOS may store them decomposed), modulo ``count``.
        """
        import hashlib  # not for every start of g4

        if not place.isascii():
            text = os.fsencode(place).decode("utf-8", "surrogateescape")
            place = unicodedata.normalize("NFC", text)
        digest = hashlib.sha256(place.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


def shard_of(text: str | None) -> Shard | None:
    """The shard that "2/8" means, None for None. Raises OptionError."""
    if text is None:
        return None
    found = _SHARD.fullmatch(text.strip())
    if found is None:
        empty = "; is a variable not set?" if text.strip(" 0123456789") == "/" else ""
        raise OptionError(f"--shard takes I/N, such as 2/8, not {text}{empty}")
    number, count = map(int, found.groups())
    if count == 0:
        raise OptionError(f"--shard {text}: there are no shards of 0; is a variable not set?")
    if number == 0:
        raise OptionError(
            f"--shard {text}: shards count from 1: 1/{count} to {count}/{count}; where numbers "
            f"count from 0, add 1: --shard $((NUMBER + 1))/{count}"
        )
    if number > count:
        raise OptionError(f"--shard {text}: there are shards 1/{count} to {count}/{count}")
    return Shard(number=number, count=count)


def shard_option(plural: str) -> OptionInfo:
    """``--shard`` of a command that takes files or folders of what ``plural`` says."""
    option: OptionInfo = typer.Option(
        "--shard",
        metavar="I/N",
        help=f"Take only part I of N, counted from 1, of the {plural}, such as 2/8: by their "
        "paths, so that N runs of the same command share the work.",
    )
    return option
