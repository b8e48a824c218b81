"""What was asked for cannot be had here."""

from __future__ import annotations

from .base import Gemma4Error


class FunctionsError(Gemma4Error):
    """A file of Python functions, or one of them, cannot be offered to the model."""


class OptionError(Gemma4Error):
    """An option has a value outside its range."""


class PackagesMissingError(Gemma4Error):
    """Packages of an extra are not installed; ``user`` is what needs them."""

    def __init__(self, extra: str, user: str, package: str) -> None:
        from ..extras import install_command

        self.extra = extra
        self.package = package
        super().__init__(
            f"{user} needs {package}, which is not installed: {install_command(extra)}"
        )
