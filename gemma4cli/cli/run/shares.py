"""What one run does of the inputs that all shards have, and what it must leave alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import OptionError
from ..environment import Environment
from .inputs import STDIN, Input, check_named_once
from .options import RunOptions
from .shards import Shard
from .targets import Target
from .written import check_no_others, write_nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """The ``inputs`` of a run, with their positions among ``every`` one.

    Without ``shard``, that is all of them.
    """

    shard: Shard | None
    every: Sequence[Input]
    inputs: Sequence[Input]
    positions: Sequence[int]

    def others(self) -> set[str]:
        """What the inputs of other shards are called."""
        return {each.given for each in self.every} - {each.given for each in self.inputs}

    def paths(self) -> list[Path]:
        """The files of all shards."""
        return [each.path for each in self.every if each.path is not None]


def share_of(shard: Shard | None, every: Sequence[Input]) -> Share:
    """A shard's share of all inputs. Raises OptionError for standard input.

    What was named and is not there is in every share: a machine may lack the whole folder.
    """
    if shard is None:
        return Share(shard=None, every=every, inputs=every, positions=range(len(every)))
    if any(each.given == STDIN for each in every):
        raise OptionError("--shard is for files and folders: standard input has no path to go by")
    positions = [
        number for number, each in enumerate(every) if shard.has(each.place) or _is_missing(each)
    ]
    return Share(
        shard=shard,
        every=every,
        inputs=[every[number] for number in positions],
        positions=positions,
    )


def _is_missing(given: Input) -> bool:
    """Whether an argument is no file, but perhaps a folder without any."""
    if given.folder is not None or given.path is None:
        return False
    return os.path.isdir(given.path) or not os.path.exists(given.path)


def begin(
    env: Environment, run: RunOptions, share: Share, target: Target, plural: str, *, replaces: bool
) -> bool:
    """Say what a shard has to do; False if that is nothing, and its empty file is there.

    ``plural`` is the noun for the inputs. Raises OptionError if a result would take the place of
    another shard's; ``replaces`` says that a file of JSON lines is written anew.
    """
    if share.shard is None:
        return True
    if target.is_separate:
        check_named_once(share.every)
    if replaces:
        check_no_others(target, share.others())
    if not run.quiet:
        count, total = len(share.inputs), len(share.every)
        env.say(f"{share.shard.name}: {count:,} of {total:,} {plural}")
    if not share.inputs:
        write_nothing(target)
    return bool(share.inputs)
