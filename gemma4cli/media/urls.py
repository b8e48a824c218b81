"""Which names of media are URLs; ``downloads`` fetches them."""

from __future__ import annotations


def is_url(name: str) -> bool:
    """Whether a media argument is a URL rather than a file."""
    return name.lower().startswith(("http://", "https://"))
