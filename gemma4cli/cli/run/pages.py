"""``--pages``: which pictures of files that hold several, such as faxes in TIFF."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer
from typer.models import OptionInfo

from ...errors import MediaDecodeError, MediaError, OptionError
from ...messages import Source
from .inputs import Input
from .names import folded

if TYPE_CHECKING:
    from ...records import PageOf
    from .shares import Share

ALL = "all"
_RANGE = re.compile(r"(\d{1,9})(?:(-)(\d{1,9})?)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pages:
    """Ranges of page numbers, from 1; the end None is the last page."""

    ranges: tuple[tuple[int, int | None], ...]

    def of(self, count: int) -> tuple[int, ...]:
        """The pages to show of a file with ``count``, each once, in the order given.

        Numbers above ``count`` are among them if they were given themselves.
        """
        numbers = [
            number
            for first, last in self.ranges
            for number in range(first, (max(first, count) if last is None else last) + 1)
        ]
        return tuple(dict.fromkeys(numbers))


def pages_of(text: str) -> Pages:
    """The pages that "2", "1-3,5", "4-" or "all" mean. Raises OptionError."""
    if text.strip().lower() == ALL:
        return Pages(ranges=((1, None),))
    ranges: list[tuple[int, int | None]] = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            raise OptionError(f"--pages takes 2, 1-3,5, 4- or all, not {text}")
        first, dash, last = found.groups()
        end = None if dash and not last else int(last or first)
        if int(first) < 1 or (end is not None and end < int(first)):
            raise OptionError(f"--pages counts from 1 upward, not {part.strip()}")
        if end is not None and end - int(first) > _MOST:
            raise OptionError(f"--pages {part.strip()} are more than {_MOST} pages")
        ranges.append((int(first), end))
    return Pages(ranges=tuple(ranges))


_MOST = 10_000


def pages_option(panel: str | None = None) -> OptionInfo:
    """``--pages`` of a command that takes images, in the given panel of ``--help``."""
    option: OptionInfo = typer.Option(
        "--pages",
        metavar="PAGES",
        help="Pages of a file with several pictures, such as a fax in TIFF: 2, 1-3,5, 4- or all. "
        "(default: the first)",
        rich_help_panel=panel,
    )
    return option


def with_pages(share: Share, pages: Pages, opened: Callable[[Source], Source]) -> list[Input]:
    """The inputs of a share with one for each chosen page; a file with one page stays as it is.

    ``opened`` fetches what is an address. A file that cannot be read stays as it is, too, and fails
    when its turn comes. Raises MediaDecodeError if the only input lacks a page.
    """
    from .listing import with_checksums

    only = share.count == 1
    found = [page for each in share.inputs for page in _pages_of(each, pages, opened, only)]
    # A file may be called like a page of another, also of another shard.
    labels = {folded(each.label) for each in found}
    others = [each for each in share.others() if folded(each.label) in labels]
    return with_checksums([*found, *others])[: len(found)]


def page_sources(source: Source, pages: Pages) -> list[Source]:
    """The chosen pages of an image file. Raises MediaError if it cannot be read or lacks one."""
    from ...media.pictures.images import missing_page

    count, chosen = _chosen(source, pages)
    for page in chosen:
        if page.page is not None and page.page > count:
            raise MediaDecodeError(source.name, missing_page(count, page.page))
    return chosen


def _chosen(source: Source, pages: Pages) -> tuple[int, list[Source]]:
    """How many pages there are, and the chosen ones; the only page has the file's own name."""
    from ...media.pictures.images import count_pages
    from ...media.sources import settle

    source = settle(source)
    count = count_pages(source)
    return count, [
        source
        if count == number == 1
        else replace(source, name=f"{source.name}, page {number}", page=number)
        for number in pages.of(count)
    ]


def _pages_of(
    each: Input, pages: Pages, opened: Callable[[Source], Source], only: bool
) -> Iterator[Input]:
    try:
        source = opened(each.source)
        chosen = page_sources(source, pages) if only else _chosen(source, pages)[1]
    except MediaError:
        if only:
            raise
        yield each
        return
    for page in chosen:
        if page.page is None:
            yield replace(each, origin=page)
            continue
        yield replace(
            each,
            given=f"{each.given}, page {page.page}",
            label=f"{each.label}-page{page.page}",
            origin=page,
        )


def name_of(each: Input) -> str | PageOf:
    """What labels and records call an input."""
    from ...records import PageOf

    page = each.source.page
    if page is None:
        return each.given
    return PageOf(file=each.given.removesuffix(f", page {page}"), page=page)
