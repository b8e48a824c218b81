"""``g4 describe``: questions about images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from .. import api
from ..events import Event
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
) -> None:
    """Describe images, or answer a question about them.

    One answer per image; with --together, one about all of them.
    """
    media = MediaOptions(budget=budget)
    options = run.generate_options()

    def about_one(model: LoadedModel, given: str) -> Iterator[Event]:
        asked = prompt or DESCRIBE_IMAGE
        return api.stream_generate(
            model, asked, images=[source_of(given)], options=options, media=media
        )

    def about_all(model: LoadedModel, given: str) -> Iterator[Event]:
        asked = prompt or (DESCRIBE_IMAGES if len(images) > 1 else DESCRIBE_IMAGE)
        sources = [source_of(image) for image in images]
        return api.stream_generate(model, asked, images=sources, options=options, media=media)

    if together:
        run_each(run, [" ".join(images)], about_all)
    else:
        run_each(run, images, about_one)
