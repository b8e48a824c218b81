"""Results of several inputs: one that cannot be written under its name does not end the others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from ...errors import OutputError
from ..environment import Environment
from .exit_codes import ExitCode, exit_code_of


class Delivery:
    """Writes results; ``unwritten`` are the exit codes of those whose files cannot be made.

    ``aside`` hides the progress while something else is written to the terminal.
    """

    def __init__(
        self, env: Environment, aside: Callable[[], AbstractContextManager[None]], *, debug: bool
    ) -> None:
        self.unwritten: list[ExitCode] = []
        self._env = env
        self._aside = aside
        self._debug = debug

    def succeeds(self, write: Callable[[], None]) -> bool:
        """Whether ``write`` could write its result; if not, the error is on stderr.

        Raises OutputError if results of other names could not be written either.
        """
        try:
            with self._aside():
                write()
        except OutputError as error:
            if not error.others_may:
                raise
            self.unwritten.append(exit_code_of(error))
            with self._aside():
                self._env.say_error(error, debug=self._debug)
            return False
        return True
