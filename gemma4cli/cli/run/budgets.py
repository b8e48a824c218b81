"""The option ``--budget`` of the commands that take single images."""

from __future__ import annotations

from typing import Literal

import typer
from typer.models import OptionInfo

from ...options import SOFT_TOKEN_BUDGETS, Budget
from .completers import image_budgets

ALLOWED = f"{', '.join(map(str, SOFT_TOKEN_BUDGETS))} or auto"


BudgetChoice = Literal[70, 140, 280, 560, 1120, "auto"]
"""The type of the parameter, which also defines the values in a settings file."""


def budget_of(text: str | int) -> Budget:
    """A budget from the command line or a settings file; MediaOptions checks the number.

    Raises BadParameter for anything but a number or "auto".
    """
    if str(text).lower() == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError as exc:
        raise typer.BadParameter(f"{text!r} is not one of {ALLOWED}.") from exc


def budget_option(panel: str | None = None) -> OptionInfo:
    """``--budget``, in the given panel of ``--help``."""
    option: OptionInfo = typer.Option(
        "--budget",
        metavar="N|auto",
        parser=budget_of,
        autocompletion=image_budgets,
        help="Soft tokens per image: 70, 140, 280, 560 or 1120; more show finer detail. auto "
        "chooses by the question and the image's size. (default: the model's, 280)",
        rich_help_panel=panel,
    )
    return option
