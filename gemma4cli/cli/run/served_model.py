"""The model of a server, for the commands that ask it."""

from __future__ import annotations

from ...errors import OptionError, ServerError
from ...hub.catalog import entry_of
from ...remote.address import address_of
from ...remote.connection import TOKEN_VARIABLE, Connection
from ...remote.remote_model import RemoteModel
from ..environment import Environment

_LONGEST_TOKEN = 4096


def served_model(env: Environment, server: str, wanted: str | None) -> RemoteModel:
    """The model that a server has. Raises ServerError, also if it is not the one that is wanted."""
    model = RemoteModel(Connection(address_of(server), _token(env)))
    if wanted is not None and not _has_name(model, wanted):
        raise ServerError(
            server, f"has {model.name}, not {wanted}: leave out -m, or start a server for it"
        )
    return model


def _token(env: Environment) -> str | None:
    """What the server wants. It has a variable only: other users see command lines."""
    token = env.variables.get(TOKEN_VARIABLE, "").strip()
    if not token.isascii() or not token.isprintable() or len(token) > _LONGEST_TOKEN:
        raise OptionError(f"{TOKEN_VARIABLE}: must be a token, in one line of ASCII characters")
    return token or None


def _has_name(model: RemoteModel, wanted: str) -> bool:
    return any(_names(each) & _names(wanted) for each in model.facts.names)


def _names(name: str) -> set[str]:
    """A model's name, and that of its repository if it is an alias. Case does not matter."""
    entry = entry_of(name)
    return {name.lower()} | ({entry.repo.lower()} if entry is not None else set())
