"""Options that take a time: seconds, or as a player shows it."""

from __future__ import annotations

import typer
from typer.models import OptionInfo


def time_of(text: str | float) -> float:
    """Seconds from the command line or a settings file. Raises BadParameter."""
    from ...times import seconds_of

    try:
        return seconds_of(str(text))
    except ValueError as exc:
        raise typer.BadParameter(f"{exc}.") from exc


def time_option(flag: str, help: str) -> OptionInfo:
    """An option for seconds that also takes 1:30 or 1m30s."""
    option: OptionInfo = typer.Option(flag, metavar="TIME", parser=time_of, help=help)
    return option
