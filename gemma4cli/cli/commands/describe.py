"""``g4 describe``: questions about images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import OptionError
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
    from ..run.addresses import media_source
    from ..run.runner import run_each, source_of
    from .describe_many import ImageQuestion, describe_many

    if allow_urls and run.offline:
        raise OptionError("--allow-urls and --offline exclude each other")
    media = MediaOptions(budget=budget)
    options = replace(run.generate_options(), schema=None if schema is None else _read(schema))
    names = _images(images)

    def opened(name: str) -> Source:
        return media_source(name, fetches=allow_urls)

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


def _read(schema: Path) -> str:
    from ...plain_text import decode_text

    try:
        found = decode_text(schema.read_bytes())
    except OSError as exc:
        raise OptionError(f"{schema}: cannot be read ({exc.strerror or exc})") from exc
    if found is None or found.notice is not None:
        raise OptionError(f"{schema}: is not UTF-8 text")
    return found.text
