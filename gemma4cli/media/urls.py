"""Which names of media are URLs, and how they are shown; ``downloads`` fetches them."""

from __future__ import annotations

import re

_USER = re.compile(r"(?i)([a-z][a-z0-9+.-]{0,20}://)[^/?#\s]*@")
_SECRET = re.compile(
    r"(?i)([?&;#][^=&;#]*(?:token|key|sig|signature|secret|password|passwd|pwd|auth|credential)"
    r"[^=&;#]*=)[^&;#\s]+"
)


def is_url(name: str) -> bool:
    """Whether a media argument is a URL rather than a file."""
    return name.lower().startswith(("http://", "https://"))


def shown_url(url: str) -> str:
    """A URL for messages and files: without user and password, and keys in its query hidden."""
    return _SECRET.sub(r"\1***", _USER.sub(r"\1", url))
