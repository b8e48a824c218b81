"""``g4 completion``: the scripts that let a shell ask g4 how a line may go on.

They speak Typer's protocol for fish, which gives the line itself and gets a word and its meaning
per line. Typer's own scripts leave out ``--model=e``, in bash what follows a colon (``e2b:8``),
and in zsh the first time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from ...errors import OptionError
from ..environment import environment_of

Shell = Literal["bash", "zsh", "fish"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Script:
    """A shell's script in the package, and where the shell finds one of its user's.

    ``place`` is a path in the XDG folder that ``variable`` names, by default ``folder`` in the home
    folder; ``more`` is what else the user has to do once.
    """

    file: str
    variable: str
    folder: str
    place: str
    more: str = "new shells have it"


_SCRIPTS: dict[Shell, _Script] = {
    "bash": _Script(
        file="g4.bash",
        variable="XDG_DATA_HOME",
        folder=".local/share",
        place="bash-completion/completions/g4",
        more="new shells have it if the package bash-completion is installed",
    ),
    "zsh": _Script(
        file="_g4",
        variable="XDG_DATA_HOME",
        folder=".local/share",
        place="zsh/site-functions/_g4",
        more="put fpath=({folder} $fpath) into ~/.zshrc, before the line with compinit",
    ),
    "fish": _Script(
        file="g4.fish",
        variable="XDG_CONFIG_HOME",
        folder=".config",
        place="fish/completions/g4.fish",
    ),
}


def completion(
    context: typer.Context,
    shell: Annotated[
        Shell,
        typer.Argument(
            metavar="bash|zsh|fish", help="Shell to print the script for.", case_sensitive=False
        ),
    ],
    install: Annotated[
        bool,
        typer.Option("--install", help="Save the script where the shell looks for it."),
    ] = False,
) -> None:
    """Print a shell's completion script, or install it."""
    from importlib.resources import files

    from ...own_files import shared_mode, whole_file

    env = environment_of(context)
    script = _SCRIPTS[shell]
    text = (files("gemma4cli") / "completions" / script.file).read_text("utf-8").rstrip("\n")
    if not install:
        env.echo(text)
        return
    base = env.variables.get(script.variable)
    path = (Path(base) if base else Path.home() / script.folder) / script.place
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, mode=shared_mode()) as file:
            file.write(f"{text}\n".encode())
    except OSError as exc:
        raise OptionError(f"{path}: cannot be written ({exc.strerror})") from exc
    env.say(f"{path} was written; {script.more.format(folder=path.parent)}")
