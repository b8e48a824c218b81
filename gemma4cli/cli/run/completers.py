"""Shell completion of option values, by the option's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ...options import SOFT_TOKEN_BUDGETS
from ..escapes import one_line

Words = Iterator[tuple[str, str]]
"""Matching words, each with a description that may be empty."""


def model_names(incomplete: str) -> Words:
    """Aliases of published models, then repositories in the cache without an alias."""
    from ...hub.catalog import BUILTIN, published_models
    from ...hub.inventory import cached_repos

    cached = set(cached_repos())
    published = published_models()
    names = dict.fromkeys(BUILTIN, "built in") | {
        name: entry.repo if entry.repo in cached else f"{entry.repo}, {entry.gigabytes:.1f} GB"
        for name, entry in published.items()
    }
    names |= dict.fromkeys(sorted(cached - {entry.repo for entry in published.values()}), "")
    return _starting(_without_quantizations(names, incomplete), incomplete)


def drafters(incomplete: str) -> Words:
    """What chooses one, then the drafters in the cache."""
    from ...hub.drafters import drafter_names

    names = {"auto": "the model's, if it is in the cache", "none": "no drafter"}
    return _starting(names | dict.fromkeys(drafter_names(), ""), incomplete)


def adapters(incomplete: str) -> Words:
    """The adapters in the cache."""
    from ...hub.adapters import adapter_names

    return _starting(dict.fromkeys(adapter_names(), ""), incomplete)


def published_names(incomplete: str) -> Words:
    """Aliases of published models that are not in the cache."""
    from ...hub.catalog import published_models
    from ...hub.inventory import cached_repos

    cached = set(cached_repos())
    entries = {n: entry for n, entry in published_models().items() if entry.repo not in cached}
    names = {name: f"{entry.repo}, {entry.gigabytes:.1f} GB" for name, entry in entries.items()}
    return _starting(_without_quantizations(names, incomplete), incomplete)


def cached_names(incomplete: str) -> Words:
    """Models in the cache, by their alias where they have one."""
    from ...hub.catalog import alias_of
    from ...hub.inventory import cached_repos

    return _starting({alias_of(repo) or repo: repo for repo in cached_repos()}, incomplete)


def _without_quantizations(names: Mapping[str, str], incomplete: str) -> Mapping[str, str]:
    """The names; those of a model's many quantizations only once its name is typed."""
    model = incomplete.partition(":")[0]
    return {n: what for n, what in names.items() if ":" not in n or n.startswith(f"{model}:")}


def languages(incomplete: str) -> Words:
    """Codes; after a capital letter, names of one word."""
    from ...languages import NAME_OF

    if incomplete[:1].isupper():
        return _starting({name: code for code, name in NAME_OF.items()}, incomplete)
    return _starting(NAME_OF, incomplete)


def conversations(incomplete: str) -> Words:
    """Saved conversations, the latest first."""
    from ...conversations.saved_list import list_saved
    from ..environment import Environment
    from ..output.numbers import turns_text

    saved = list_saved(Environment.of_process().sessions_folder)
    return _starting({each.name: turns_text(each.turns) for each in saved}, incomplete)


def image_budgets(incomplete: str) -> Words:
    words = {"auto": "by question and size"} | {str(n): "soft tokens" for n in SOFT_TOKEN_BUDGETS}
    return _starting(words, incomplete)


def budgets(incomplete: str) -> Words:
    return _starting({str(n): "soft tokens" for n in SOFT_TOKEN_BUDGETS}, incomplete)


def _starting(words: Mapping[str, str], incomplete: str) -> Words:
    # The shells' scripts split words at spaces, and show words to a terminal as they are.
    return (
        (word, one_line(what))
        for word, what in words.items()
        if word.startswith(incomplete) and " " not in word and word == one_line(word)
    )


COMPLETERS: Mapping[str, Callable[[str], Words]] = {
    "model": model_names,
    "adapter": adapters,
    "draft": drafters,
    "language": languages,
    "translate_to": languages,
    "budget": budgets,
    "session": conversations,
    "delete": conversations,
}
