"""``g4 describe``: questions about images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ..answers.choices import AnswerFormat
from ..environment import Environment
from ..run.addresses import check_allowed, opener
from ..run.budgets import BudgetChoice, budget_option
from ..run.common_options import allow_urls_option, restart_option
from ..run.inputs import Kind, are_several, inputs
from ..run.options import RunOptions
from ..run.pages import name_of, pages_of, pages_option, with_pages
from ..run.shared_options import runs_a_model

if TYPE_CHECKING:
    from ...engine.answering import AnsweringModel
    from ...events import Event


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
    format: Annotated[
        AnswerFormat | None,
        typer.Option(
            "-f",
            "--format",
            metavar="FORMAT",
            help="Write a file for each image, beside it or in the folder given with -o: txt, "
            "caption (the answer on one line) or json.",
        ),
    ] = None,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Skip images whose answers are already written; always so beside the images.",
        ),
    ] = False,
    restart: Annotated[bool, restart_option(", and replace files beside images")] = False,
    pages: Annotated[str | None, pages_option()] = None,
    allow_urls: Annotated[bool, allow_urls_option()] = False,
) -> None:
    """Describe images, or answer a question about them.

    A question may follow the images, without -p. There is one answer per image, or with --together
    one about all of them. An interrupted run resumes where it stopped.
    """
    from ... import api
    from ...media.kinds import IMAGE_SUFFIXES
    from ...options import MediaOptions
    from ...prompts import DESCRIBE_IMAGE, DESCRIBE_IMAGES
    from ..answers.run import run_each
    from ..answers.targets import AnswerRun, answer_target, skipping_written
    from .describe_many import ImageQuestion, describe_many

    check_allowed(allow_urls=allow_urls, offline=run.offline)
    media = MediaOptions(budget=budget)
    options = run.generate_options()
    chosen = None if pages is None else pages_of(pages)

    kind = Kind(plural="images", suffixes=IMAGE_SUFFIXES)
    opened = opener(kind, fetches=allow_urls)
    found = inputs(images, kind, env.say)
    if chosen is not None:
        found = with_pages(found, chosen, opened)
    several = not together and are_several(found, images)
    output = answer_target(run, several=several, format=format)
    # One answer about all is named after all, and its file after the first.
    is_about_all = together and len(found) > 1
    answers = AnswerRun(
        env=env,
        run=output.run,
        names=[tuple(each.given for each in found)]
        if is_about_all
        else [name_of(each) for each in found],
        target=output.target,
        inputs=found[:1] if is_about_all else found,
        needed=() if several else [each.source for each in found if each.path is not None],
        several=several,
        restart=restart,
    )
    output.target.check(env, run, answers.inputs, [each.path for each in found if each.path])
    # Beside images there may be files that a person wrote.
    if skip_existing or (output.target.beside and not restart):
        answers = skipping_written(answers, quiet=run.quiet)
        if len(answers.written.numbers) == len(answers.names):
            return

    if several:
        question = ImageQuestion(
            prompt=prompt or DESCRIBE_IMAGE,
            options=options,
            media=media,
            batch=batch,
            opened=opened,
        )
        describe_many(answers, question, images)
        return

    def about_all(model: AnsweringModel, number: int) -> Iterator[Event]:
        return api.stream_generate(
            model,
            prompt or (DESCRIBE_IMAGES if len(found) > 1 else DESCRIBE_IMAGE),
            images=[opened(each.source) for each in found],
            options=options,
            media=media,
        )

    run_each(answers, about_all)
