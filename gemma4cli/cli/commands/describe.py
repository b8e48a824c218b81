"""``g4 describe``: questions about images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import MediaError, OptionError
from ..environment import Environment
from ..run.budgets import BudgetChoice, budget_option
from ..run.options import RunOptions, runs_a_model

if TYPE_CHECKING:
    from ...engine.model import LoadedModel
    from ...events import Event
    from ...messages import Source


@runs_a_model
def describe(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE", help="Image files or folders of them; - is standard input."
        ),
    ],
    run: RunOptions,
    env: Environment,
    prompt: Annotated[
        str | None,
        typer.Option("-p", "--prompt", metavar="TEXT", help="What to ask about the image."),
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="Ask about all images at once, for one answer.")
    ] = False,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Images to process at once; ignored with --together or --schema. "
            "(default: as memory allows)",
        ),
    ] = None,
    budget: Annotated[BudgetChoice | None, budget_option()] = None,
    schema: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON Schema that the answer must match.",
        ),
    ] = None,
    allow_urls: Annotated[
        bool, typer.Option("--allow-urls", help="Fetch images given as http(s) URLs.")
    ] = False,
) -> None:
    """Describe images, or answer a question about them.

    There is one answer per image, or with --together one about all of them.
    """
    from ... import api
    from ...options import MediaOptions
    from ...prompts import DESCRIBE_IMAGE, DESCRIBE_IMAGES
    from ..run.runner import run_each, source_of
    from .describe_many import ImageQuestion, describe_many

    if allow_urls and run.offline:
        raise OptionError("--allow-urls and --offline exclude each other")
    media = MediaOptions(budget=budget)
    options = replace(run.generate_options(), schema=None if schema is None else _read(schema))
    names = _images(images)

    def opened(name: str) -> Source:
        return image_source(name, allow_urls=allow_urls)

    if not together and (len(names) > 1 or names != images):
        describe_many(
            env,
            run,
            names,
            ImageQuestion(
                prompt=prompt or DESCRIBE_IMAGE,
                options=options,
                media=media,
                batch=batch,
                opened=opened,
            ),
        )
        return

    def about_all(model: LoadedModel, number: int) -> Iterator[Event]:
        return api.stream_generate(
            model,
            prompt or (DESCRIBE_IMAGES if len(names) > 1 else DESCRIBE_IMAGE),
            images=[opened(name) for name in names],
            options=options,
            media=media,
        )

    needed = [source_of(name) for name in names if "://" not in name]
    run_each(env, run, [" ".join(images)], about_all, needed=needed)


def _images(arguments: Sequence[str]) -> list[str]:
    """The images that the arguments name; a folder stands for those in it. Raises OptionError."""
    from ...media.kinds import IMAGE_SUFFIXES
    from ..run.folders import files_in

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
    from ..run.runner import source_of

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
