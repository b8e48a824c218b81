"""``g4 describe``: questions about images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import api
from ..errors import MediaError, OptionError
from ..events import Event
from ..messages import Source
from ..options import MediaOptions
from ..prompts import DESCRIBE_IMAGE, DESCRIBE_IMAGES
from .run_options import RunOptions, runs_a_model
from .runner import run_each, source_of

if TYPE_CHECKING:
    from ..engine.model import LoadedModel


@runs_a_model
def describe(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE", help="Image files; - is standard input.")
    ],
    run: RunOptions,
    prompt: Annotated[
        str | None,
        typer.Option("-p", "--prompt", metavar="TEXT", help="What to ask about the image."),
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="One answer about all images.")
    ] = False,
    budget: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Soft tokens per image: 70, 140, 280, 560 or 1120; more see finer detail. "
            "(default: the model's, 280)",
        ),
    ] = None,
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

    def opened(name: str) -> Source:
        return image_source(name, allow_urls=allow_urls)

    def about_one(model: LoadedModel, given: str) -> Iterator[Event]:
        asked = prompt or DESCRIBE_IMAGE
        return api.stream_generate(
            model, asked, images=[opened(given)], options=options, media=media
        )

    def about_all(model: LoadedModel, given: str) -> Iterator[Event]:
        asked = prompt or (DESCRIBE_IMAGES if len(images) > 1 else DESCRIBE_IMAGE)
        sources = [opened(image) for image in images]
        return api.stream_generate(model, asked, images=sources, options=options, media=media)

    if together:
        run_each(run, [" ".join(images)], about_all)
    else:
        run_each(run, images, about_one)


def image_source(name: str, *, allow_urls: bool) -> Source:
    """An image argument; an address is fetched where the user allows it. Raises MediaError."""
    if "://" not in name:
        return source_of(name)
    from ..media.urls import fetch, is_url

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
