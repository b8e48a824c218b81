"""``g4 describe``: questions about images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import OptionError
from ..answers.choices import AnswerFormat
from ..environment import Environment
from ..run.addresses import check_allowed, opener
from ..run.budgets import BudgetChoice, budget_option
from ..run.common_options import allow_urls_option, file_names_option, restart_option
from ..run.inputs import Kind, are_several
from ..run.options import RunOptions
from ..run.pages import name_of, pages_of, pages_option, with_pages
from ..run.shards import shard_of, shard_option
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
    extension: Annotated[
        str | None,
        typer.Option(
            "--extension",
            metavar="EXT",
            help="With -f, what the files end in, such as txt or tags. (default: the format)",
        ),
    ] = None,
    shard: Annotated[str | None, shard_option("images")] = None,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Skip images whose answers are already written; always so beside the images.",
        ),
    ] = False,
    restart: Annotated[bool, restart_option(", and replace files beside images")] = False,
    pages: Annotated[str | None, pages_option()] = None,
    file_names: Annotated[bool, file_names_option()] = False,
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
    from ..answers.targets import AnswerRun, answer_target, checked_extension, skipping_written
    from ..run.listing import Listing
    from ..run.shares import begin, share_of
    from .describe_many import ImageQuestion, describe_many

    check_allowed(allow_urls=allow_urls, offline=run.offline)
    media = MediaOptions(budget=budget)
    options = run.generate_options()
    chosen = None if pages is None else pages_of(pages)
    part = shard_of(shard)
    if together and (part is not None or file_names):
        option = "--file-names" if part is None else "--shard"
        raise OptionError(f"{option} is for an answer per image: leave out --together")

    kind = Kind(plural="images", suffixes=IMAGE_SUFFIXES)
    opened = opener(kind, fetches=allow_urls)
    share = share_of(part, Listing(images, kind, env.say))
    found = share.inputs if chosen is None else with_pages(share, chosen, opened)
    several = part is not None or (not together and are_several(found, images))
    ending = checked_extension(extension, IMAGE_SUFFIXES)
    output = answer_target(run, several=several, format=format, extension=ending)
    if file_names and not (output.run.json or format == "json"):
        raise OptionError("--file-names is for JSON: add -o FILE.jsonl, -f json or --json")
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
        format=format,
        file_names=file_names,
        several=several,
        shard="" if part is None else part.name,
        restart=restart,
    )
    output.target.check(env, run, answers.inputs, share.paths())
    if not begin(env, output.run, share, output.target, kind.plural, replaces=not skip_existing):
        return
    # With pages, nobody knows where they are among those of all shards.
    positions = share.positions if chosen is None else None
    del share  # other shards may have many inputs
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
            shard=part,
            positions=positions,
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
