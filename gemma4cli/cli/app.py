"""The program ``g4``: its commands, and the only code that turns errors into exit codes."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import typer
from typer.completion import get_completion_inspect_parameters

from .. import interrupts
from .._version import __version__
from ..distributed.current import leader
from ..distributed.launch import launched
from ..errors import Gemma4Error, unexpected
from ..machine.address_space import fit_into_address_space
from .chat.command import ChatCommand, chat
from .commands import models
from .commands.completion import completion
from .commands.config import config
from .commands.describe import describe
from .commands.doctor import doctor
from .commands.serve import serve
from .commands.trace import trace
from .commands.tune import tune
from .commands.video import video
from .environment import Environment, environment_of
from .escapes import Escaping
from .output.exit_codes import ExitCode, exit_code_of
from .output.help_pages import DEBUG, Command, Group, path_of
from .output.usage_errors import usage_line
from .run.addresses import removing_downloads
from .run.model_command import AskingCommand, ModelCommand
from .transcribe.command import transcribe


class Commands(Group):
    """Reports every Gemma4Error as one line on stderr and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[DEBUG] = "--debug" in args
        with _reported(ctx):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] == "version":
            _show_version(True)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _reported(ctx), interrupts.raised(), removing_downloads():
            fit_into_address_space()
            result = super().invoke(ctx)
            environment_of(ctx).stdout.flush()
            return result


@contextmanager
def _reported(ctx: Any) -> Iterator[None]:
    """Within this, an error becomes a line on stderr and an exit code."""
    env = environment_of(ctx)
    try:
        yield
    except Gemma4Error as error:
        known = unexpected(_cause(error))
        env.say_error(known, debug=ctx.meta[DEBUG])
        raise typer.Exit(exit_code_of(known)) from None
    except KeyboardInterrupt as stop:
        raise typer.Exit(interrupts.status_of(stop)) from None
    except BrokenPipeError:
        # The reader of stdout is gone, such as head.
        _drop_output(env)
        raise typer.Exit(ExitCode.DONE) from None
    except _USAGE_ERROR as error:
        if type(error).__name__ == _SHOWS_HELP:
            raise
        path = path_of(context) if (context := getattr(error, "ctx", None)) is not None else ""
        env.say_error(usage_line(error, path))
        raise typer.Exit(ExitCode.USAGE) from None
    except (typer.Exit, typer.Abort):
        raise
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise _unexpected(env, error, debug=ctx.meta[DEBUG]) from None
        _drop_output(env)
        env.say_error(f"the answer cannot be written: {error.strerror}")
        raise typer.Exit(ExitCode.FAILED) from None
    except Exception as error:  # noqa: BLE001 - the user gets a line, with --debug a traceback
        raise _unexpected(env, error, debug=ctx.meta[DEBUG]) from None


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What a full or broken disk says when standard output is a file."""

_USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0].__bases__[0]
"""The base of all complaints about a command line, which has no public name."""

_SHOWS_HELP = "NoArgsIsHelpError"
"""The usage error that is the help of a group without a command; it has no public name either."""


def _unexpected(env: Environment, error: Exception, *, debug: bool) -> typer.Exit:
    env.say_error(unexpected(_cause(error)), debug=debug)
    return typer.Exit(ExitCode.FAILED)


def _cause(error: Exception) -> Exception:
    """What is behind an error, if several processes compute and another one has ended."""
    team = leader()
    return error if team is None else team.cause(error)


def _drop_output(env: Environment) -> None:
    """Redirect stdout to /dev/null, so that Python's flush at exit does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), env.stdout.fileno())


app = typer.Typer(
    name="g4",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: name.replace("_", "-"),
    },
)
# Registers the classes that answer the scripts of ``g4 completion``; by itself, Typer does so only
# together with its own --install-completion, which g4 does not have.
get_completion_inspect_parameters()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"g4 {__version__}")
        raise typer.Exit


@app.callback()
def g4(
    version: Annotated[
        bool,
        typer.Option(
            "-V", "--version", callback=_show_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Gemma 4 on your own machine: images, speech, video and chat."""


app.command(cls=AskingCommand)(describe)
app.command(cls=ModelCommand)(transcribe)
app.command(cls=AskingCommand)(video)
app.command(cls=ChatCommand)(chat)
app.command(cls=ModelCommand)(serve)
app.command(cls=ModelCommand)(tune)
app.add_typer(models.app, name="models")
app.command(cls=Command)(doctor)
app.command(cls=Command)(config)
app.command(cls=Command)(completion)
app.command(cls=ModelCommand, rich_help_panel="For developers")(trace)


def main() -> None:
    """Run the program."""
    _normalize_streams()
    _let_idle_threads_sleep()
    env = Environment.of_process()
    # For all that does not go through the environment: tracebacks of threads, libraries' messages.
    sys.stderr = Escaping(env.stderr)
    launch = launched(os.environ)
    if launch is None:
        app(obj=env)
    else:
        from .together import run_together

        run_together(env, launch, partial(app, obj=env))


def _let_idle_threads_sleep() -> None:
    """Make the threads of OpenBLAS sleep after 2**20 cycles without work, not after 2**26.

    NumPy starts them when it is imported, and until they sleep each takes a core. OpenBLAS reads
    the variable when it is loaded.
    """
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")


def _normalize_streams() -> None:
    """Put the three streams into the state that the program relies on, however it was started.

    A closed stream is opened on /dev/null: otherwise the next opened file would get its number,
    and MLX treats descriptor 0 as a failure. Characters that the output's encoding lacks are
    escaped. Messages that cannot be written, to a closed terminal or a full disk, are dropped.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="strict")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(_Unfailing(sys.stderr.fileno(), "w", closefd=False)),
            encoding=sys.stderr.encoding,
            errors="backslashreplace",
            line_buffering=True,
        )


class _Unfailing(io.FileIO):
    """Bytes of messages: those that cannot be written must not end the work."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)
