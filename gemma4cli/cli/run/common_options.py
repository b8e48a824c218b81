"""Options that several commands have, but not all."""

from __future__ import annotations

import typer
from typer.models import OptionInfo


def track_option(panel: str | None = None, *, default: str = "the file's") -> OptionInfo:
    """``--track``; ``default`` is the track without it."""
    option: OptionInfo = typer.Option(
        metavar="TRACK",
        help="Audio track of a file with several: its number, or its language, such as de. "
        f"(default: {default})",
        rich_help_panel=panel,
    )
    return option


def allow_urls_option(panel: str | None = None) -> OptionInfo:
    """``--allow-urls``."""
    option: OptionInfo = typer.Option(
        "--allow-urls", help="Download media given as http(s) URLs.", rich_help_panel=panel
    )
    return option


def file_names_option() -> OptionInfo:
    """``--file-names``."""
    option: OptionInfo = typer.Option(
        "--file-names",
        help="In JSON, also file_name: the path below the folder that was named, for datasets.",
    )
    return option


def restart_option(more: str = "") -> OptionInfo:
    """``--restart``; ``more`` is what else it does."""
    option: OptionInfo = typer.Option(
        "--restart", help=f"Start over instead of resuming an interrupted run{more}."
    )
    return option
