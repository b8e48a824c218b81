"""Options about media that several commands have."""

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
