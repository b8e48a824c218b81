"""``g4 completion``: the scripts that let a shell ask g4 how a line may go on.

They speak Typer's protocol for fish, which gives the line itself and gets a word and its meaning
per line. Typer's own scripts leave out ``--model=e``, in bash what follows a colon (``e2b:8``),
and in zsh the first time.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from ..environment import environment_of

Shell = Literal["bash", "zsh", "fish"]

_FILES: dict[Shell, str] = {"bash": "g4.bash", "zsh": "_g4", "fish": "g4.fish"}


def completion(
    context: typer.Context,
    shell: Annotated[
        Shell, typer.Argument(metavar="bash|zsh|fish", help="Shell to print the script for.")
    ],
) -> None:
    """Print a shell's completion script.

    Save it as ~/.local/share/bash-completion/completions/g4 for bash, as _g4 in a folder of $fpath
    for zsh, as ~/.config/fish/completions/g4.fish for fish.
    """
    from importlib.resources import files

    script = files("gemma4cli") / "completions" / _FILES[shell]
    environment_of(context).echo(script.read_text("utf-8").rstrip("\n"))
