"""``g4 doctor``: what this machine can run, and why it is slow where it is slow."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import Gemma4Error
from ..environment import Environment, environment_of
from ..output.exit_codes import ExitCode
from ..output.help_pages import DEBUG

if TYPE_CHECKING:
    from ...doctor.findings import Finding

_WIDTH = 80
_LABEL = 14
_MARKS = {"ok": " ", "note": "!", "problem": "x"}


def doctor(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check this machine, try the built-in model, and say what to change.

    The exit status is 0 if g4 is usable, 1 if not.
    """
    from ...doctor.facts import facts
    from ...doctor.trial import trial
    from ..output.results import write_json

    env = environment_of(context)
    about_machine = chain(facts(), _adapter(context))
    looked_at = list(_shown(env, "This machine", about_machine, quiet=json))
    tried = list(_shown(env, "The built-in model", trial(), quiet=json))
    asked = list(_server(context, env))
    if asked:
        list(_shown(env, "The server", iter(asked), quiet=json))
    debug = context.meta[DEBUG]
    for finding in (*looked_at, *tried, *asked):
        if debug and finding.fault is not None:
            env.say_error(finding.fault, about=finding.name, debug=True)
    problems = [each for each in (*looked_at, *tried) if each.state == "problem"]
    if json:
        record = {
            "usable": not problems,
            "machine": [_record(each) for each in looked_at],
            "trial": [_record(each) for each in tried],
        }
        if asked:
            record["server"] = [_record(each) for each in asked]
        write_json(env.stdout, record)
    else:
        env.echo(f"\n{_verdict(looked_at + tried + asked)}")
    if problems:
        raise typer.Exit(ExitCode.FAILED)


def _adapter(context: typer.Context) -> Iterator[Finding]:
    """Whether the adapter that is set, if one is, can be read."""
    from ...doctor.findings import Finding
    from ...hub.adapters import find_adapter
    from ..run.options import SHARED
    from ..settings.resolve import Settings

    found = Settings(context, SHARED).find(None, "adapter")
    if found is None or not found.value:
        return
    try:
        adapter = find_adapter(found.value)
    except Gemma4Error as error:
        advice = f"correct adapter in {found.source}"
        yield Finding(name="adapter", value=str(error), state="note", advice=advice)
        return
    yield Finding(name="adapter", value=f"{adapter.name}: {adapter.summary}")


def _server(context: typer.Context, env: Environment) -> Iterator[Finding]:
    """Whether the server that is set, if one is, answers."""
    import time

    from ...doctor.findings import Finding
    from ..run.options import SHARED
    from ..run.served_model import offered, served_model
    from ..run.server_options import NO_SERVER
    from ..settings.resolve import Settings

    advice = "correct the settings: g4 config"
    began = time.perf_counter()
    try:
        found = Settings(context, SHARED).find(None, "server")
        if found is None or found.value in ("", NO_SERVER):
            return
        advice = f"start it with g4 serve there, or remove server from {found.source}"
        model = served_model(env, found.value, None)
    except Gemma4Error as error:
        yield Finding(name="server", value=str(error), state="note", advice=advice)
        return
    yield Finding(
        name="server",
        value=f"{found.value} has {offered(model)}, {model.facts.slots} at once, "
        f"g4 {model.facts.g4}",
        seconds=time.perf_counter() - began,
    )


def _shown(
    env: Environment, title: str, findings: Iterator[Finding], *, quiet: bool
) -> Iterator[Finding]:
    """The findings, each printed as it comes."""
    if not quiet:
        env.echo(title)
    for finding in findings:
        if not quiet:
            env.echo("\n".join(lines_of(finding)))
        yield finding


def lines_of(finding: Finding) -> list[str]:
    """A finding in lines of 80 columns: mark, name, value; below, what to change."""
    import textwrap

    took = "" if finding.seconds is None else f" ({finding.seconds:.2f} s)"
    head = f"{_MARKS[finding.state]} {finding.name:<{_LABEL - 2}}"
    lines = textwrap.wrap(
        " ".join(f"{finding.value}{took}".split()),
        _WIDTH,
        initial_indent=head,
        subsequent_indent=" " * _LABEL,
        break_on_hyphens=False,
    ) or [head]
    if finding.advice:
        indent = " " * _LABEL
        lines += textwrap.wrap(
            f"-> {finding.advice}",
            _WIDTH,
            initial_indent=indent,
            subsequent_indent=indent + "   ",
            break_on_hyphens=False,
        )
    return lines


def _verdict(findings: list[Finding]) -> str:
    if any(each.state == "problem" for each in findings):
        return "g4 is not usable here: see the lines marked x."
    if any(each.state == "note" for each in findings):
        return "g4 works here. Lines marked ! say what is missing or slow."
    return "g4 works here."


def _record(finding: Finding) -> dict[str, object]:
    record: dict[str, object] = {
        "name": finding.name,
        "value": finding.value,
        "state": finding.state,
    }
    if finding.seconds is not None:
        record["seconds"] = round(finding.seconds, 4)
    if finding.advice is not None:
        record["advice"] = finding.advice
    return record
