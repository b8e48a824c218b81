"""What one run does of the inputs that all shards have, and what it must leave alone."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import MediaError, OptionError
from ..environment import Environment
from .inputs import STDIN, Input, Kind, check_named_once
from .listing import Listing, distinct
from .names import Hashes, folded
from .options import RunOptions
from .shards import Shard
from .targets import Target
from .written import check_no_others, write_nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """The ``inputs`` of a run, with their positions among all ``count`` of the listing.

    Without ``shard``, that is all of them.
    """

    shard: Shard | None
    listing: Listing
    count: int
    inputs: Sequence[Input]
    positions: Sequence[int]

    def others(self) -> Iterator[Input]:
        """The inputs of other shards, listed again; they may have one label."""
        if self.shard is not None:
            yield from (each for each in self.listing if not _is_in(self.shard, each))

    def paths(self) -> Iterator[Path]:
        """The files of other shards, listed again."""
        return (each.path for each in self.others() if each.path is not None)

    def count_others(self, given: Iterable[str]) -> int:
        """How many of these are what inputs of other shards are, or were, called."""
        if self.shard is None:
            return 0
        return sum(not self.shard.has(place) for place in self.listing.places(given))

    def check_named_once(self) -> None:
        """Raise OptionError for a file of any shard that is named twice."""
        check_named_once(self.listing if len(self.listing.arguments) > 1 else ())


def inputs(arguments: Sequence[str], kind: Kind, say: Callable[[str], None]) -> Sequence[Input]:
    """The inputs that the arguments name; see ``share_of``."""
    return share_of(None, Listing(arguments, kind, say)).inputs


def share_of(shard: Shard | None, listing: Listing) -> Share:
    """A shard's share of all inputs, of which others are not kept in memory.

    What was named and is not there is in every share: a machine may lack the whole folder. Raises
    OptionError for standard input, and MediaError for a folder without files of the kind if there
    is no other input.
    """
    if shard is not None and STDIN in listing.arguments:
        raise OptionError("--shard is for files and folders: standard input has no path to go by")
    chosen = _Chosen(shard, listing)
    if chosen.has_twins:  # only then is all of it in memory, so that each gets a label of its own
        chosen = _Chosen(shard, distinct(list(listing)))
    if chosen.is_empty and chosen.inputs:
        # With other inputs, the folder fails when its turn comes, and they do not.
        folder = chosen.inputs[0].given
        raise MediaError(folder, listing.kind.missing_in(folder))
    return Share(
        shard=shard,
        listing=listing,
        count=chosen.count,
        inputs=chosen.inputs,
        positions=chosen.positions,
    )


class _Chosen:
    """The inputs of a shard among every one; ``is_empty`` if these are folders without any."""

    def __init__(self, shard: Shard | None, every: Iterable[Input]) -> None:
        self.inputs: list[Input] = []
        self.positions = array("q")
        self.count = 0
        self.is_empty = True
        labels = Hashes()
        for each in every:
            labels.add(folded(each.label))
            if shard is None or _is_in(shard, each):
                self.inputs.append(each)
                self.positions.append(self.count)
            if each.below is not None or each.path is None or not os.path.isdir(each.path):
                self.is_empty = False
            self.count += 1
        self.has_twins = bool(labels.repeated())


def _is_in(shard: Shard, given: Input) -> bool:
    return shard.has(given.place) or _is_missing(given)


def _is_missing(given: Input) -> bool:
    """Whether an argument is no file, but perhaps a folder without any."""
    if given.below is not None or given.path is None:
        return False
    return os.path.isdir(given.path) or not os.path.exists(given.path)


def begin(
    env: Environment, run: RunOptions, share: Share, target: Target, plural: str, *, replaces: bool
) -> bool:
    """Say what a shard has to do; False if that is nothing, and its empty file is there.

    ``plural`` is the noun for the inputs. Raises OptionError if a result would take the place of
    another shard's; ``replaces`` says that a file is written anew.
    """
    if share.shard is None:
        return True
    if target.is_separate:
        share.check_named_once()
    if replaces:
        check_no_others(target, share.count_others, lines=run.json)
    if not run.quiet:
        count, total = len(share.inputs), share.count
        env.say(f"{share.shard.name}: {count:,} of {total:,} {plural}")
    if not share.inputs:
        write_nothing(target)
    return bool(share.inputs)
