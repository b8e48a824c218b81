"""``g4 describe``: questions about images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import MediaError, OptionError
from ...events import Event, Finished
from ...media.kinds import IMAGE_SUFFIXES
from ...messages import Source, content_of
from ...options import MediaOptions
from ...prompts import DESCRIBE_IMAGE, DESCRIBE_IMAGES
from ..output.results import add_budgets
from ..run.budgets import BudgetChoice, budget_option
from ..run.folders import files_in
from ..run.options import RunOptions, runs_a_model
from ..run.runner import run_each, source_of
from .describe_many import DescribeEach

if TYPE_CHECKING:
    from ...engine.model import LoadedModel


@runs_a_model
def describe(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE", help="Image files, or folders of them; - is standard input."
        ),
    ],
    run: RunOptions,
    prompt: Annotated[
        str | None,
        typer.Option("-p", "--prompt", metavar="TEXT", help="What to ask about the image."),
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="One answer about all images.")
    ] = False,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Images to answer about at once, unless --together or --schema is given. "
            "(default: as memory allows)",
        ),
    ] = None,
    budget: Annotated[BudgetChoice | None, budget_option()] = None,
    schema: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A JSON Schema: the answer is a document that fits it.",
        ),
    ] = None,
    allow_urls: Annotated[
        bool, typer.Option("--allow-urls", help="Fetch images that http(s) addresses name.")
    ] = False,
) -> None:
    """Describe images, or answer a question about them.

    One answer per image; with --together, one about all of them.
    """
    if allow_urls and run.offline:
        raise OptionError("--allow-urls and --offline exclude each other")
    media = MediaOptions(budget=budget)
    options = replace(run.generate_options(), schema=None if schema is None else _read(schema))
    names = _images(images)

    def opened(name: str) -> Source:
        return image_source(name, allow_urls=allow_urls)

    if not together and (len(names) > 1 or names != images):
        each = DescribeEach(
            run=run,
            prompt=prompt or DESCRIBE_IMAGE,
            options=options,
            media=media,
            batch=batch,
            opened=opened,
        )
        each.images(names)
        return
    budgets: list[int] = []

    def about_all(model: LoadedModel, given: str) -> Iterator[Event]:
        from ...conversations.chat import Chat

        asked = prompt or (DESCRIBE_IMAGES if len(names) > 1 else DESCRIBE_IMAGE)
        chat = Chat(model, media=media)
        content = content_of(asked, images=[opened(name) for name in names])
        yield from chat.send(content, options)
        budgets.extend(chat.budgets())

    def finish(given: str, finished: Finished, result: dict[str, Any]) -> str:
        add_budgets(result, budgets)
        return finished.text

    run_each(
        run,
        [" ".join(images)],
        about_all,
        finish if run.json else None,
        needed=[source_of(name) for name in names if "://" not in name],
    )


def _images(arguments: Sequence[str]) -> list[str]:
    """The images that the arguments name; a folder stands for those in it. Raises OptionError."""
    names: list[str] = []
    for argument in arguments:
        folder = Path(argument)
        if folder.is_dir():
            names += map(str, files_in(folder, IMAGE_SUFFIXES, "images"))
        else:
            names.append(argument)
    return names


def image_source(name: str, *, allow_urls: bool) -> Source:
    """An image argument; an address is fetched where the user allows it. Raises MediaError."""
    if "://" not in name:
        return source_of(name)
    from ...media.urls import fetch, is_url

    if not is_url(name):
        return source_of(name)
    if not allow_urls:
        raise MediaError(name, "is an address: --allow-urls lets g4 fetch it")
    return fetch(name)


def _read(schema: Path) -> str:
    try:
        return schema.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise OptionError(f"{schema}: cannot be read ({exc})") from exc
