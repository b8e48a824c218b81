"""A command that several processes compute: the first runs it, the others follow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from .. import interrupts
from ..distributed.current import set_leader
from ..distributed.launch import Launch
from ..errors import Gemma4Error, unexpected
from ..machine.backend import require_backend
from .environment import Environment
from .output.exit_codes import ExitCode, exit_code_of


def run_together(env: Environment, launch: Launch, command: Callable[[], object]) -> NoReturn:
    """Run ``command``, which exits, in the first process; in the others, what it tells them."""
    if launch.rank:
        _follow(env, launch)
    try:
        require_backend()  # before others import MLX, which then has the slow BLAS
        from ..distributed.team import Leader

        team = Leader(launch)
        from ..machine.cores import share_cores

        share_cores(team.settle())
    except Gemma4Error as error:
        env.say_error(error)
        sys.exit(exit_code_of(error))
    set_leader(team)
    status = int(ExitCode.FAILED)
    try:
        command()
        status = ExitCode.DONE
    except SystemExit as done:
        status = done.code if isinstance(done.code, int) else int(ExitCode.FAILED)
        if team.failure is not None:
            status = team.failure.status
    finally:
        team.end(status)
    sys.exit(status)


def _follow(env: Environment, launch: Launch) -> NoReturn:
    """Do what the first process tells. Signals are for that one: Ctrl-C may end an answer only."""
    try:
        require_backend()
        from ..distributed.team import Follower

        follower = Follower(launch)
        from ..machine.cores import share_cores

        share_cores(follower.settle())
    except Gemma4Error as error:
        env.say_error(error)
        sys.exit(exit_code_of(error))
    interrupts.ignore()
    try:
        from ..engine.following import follow

        follow(follower)
    except Exception as error:  # noqa: BLE001 - the first process reports it
        known = unexpected(error)
        follower.fail(str(known), exit_code_of(known))
