"""The model of a server, for the commands that ask it."""

from __future__ import annotations

from collections.abc import Iterable

from ...engine.answering import AnsweringModel
from ...errors import OptionError, ServerError
from ...hub.catalog import entry_of
from ...remote.address import address_of
from ...remote.connection import TOKEN_VARIABLE, Connection
from ...remote.remote_model import RemoteModel
from ..environment import Environment

_LONGEST_TOKEN = 4096


def served_model(env: Environment, server: str, wanted: str | None) -> RemoteModel:
    """The model that a server has, or that of the wanted name. Raises ServerError without one."""
    model = RemoteModel(Connection(address_of(server), _token(env)))
    if wanted is None or _has_name(model.facts.names, wanted):
        return model
    for offer in model.facts.offers:
        if _has_name(offer.names, wanted):
            return model.beside(offer.names[0])
    raise ServerError(
        server, f"has {offered(model)}, not {wanted}: leave out -m, or start a server for it"
    )


def others_beside(model: AnsweringModel) -> list[str]:
    """The names of the other models of a model's server."""
    if not isinstance(model, RemoteModel):
        return []
    return [each.names[0] for each in model.facts.offers if each.names != model.facts.names]


def offered(model: RemoteModel) -> str:
    """The names of all models of its server."""
    return ", ".join(each.names[0] for each in model.facts.offers)


def _token(env: Environment) -> str | None:
    """What the server wants. It has a variable only: other users see command lines."""
    token = env.variables.get(TOKEN_VARIABLE, "").strip()
    if not token.isascii() or not token.isprintable() or len(token) > _LONGEST_TOKEN:
        raise OptionError(f"{TOKEN_VARIABLE}: must be a token, in one line of ASCII characters")
    return token or None


def _has_name(names: Iterable[str], wanted: str) -> bool:
    return any(_names(each) & _names(wanted) for each in names)


def _names(name: str) -> set[str]:
    """A model's name, and that of its repository if it is an alias. Case does not matter."""
    entry = entry_of(name)
    return {name.lower()} | ({entry.repo.lower()} if entry is not None else set())
