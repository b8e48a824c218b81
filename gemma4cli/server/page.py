"""The page at /: one file, which loads nothing else."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from .served import Served


@cache
def _page() -> tuple[bytes, str]:
    """The page, and what a browser may do on it: run this script, and ask this server."""
    content = (Path(__file__).parent / "page.html").read_bytes()

    def hashes(tag: bytes) -> str:
        inner = re.findall(rb"<%b>(.*?)</%b>" % (tag, tag), content, re.DOTALL)
        return " ".join(f"'sha256-{b64encode(sha256(each).digest()).decode()}'" for each in inner)

    policy = (
        "default-src 'none'; "
        f"script-src {hashes(b'script')}; style-src {hashes(b'style')}; "
        "img-src data: blob:; media-src blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return content, policy


async def page(served: Served, request: Request) -> Response:
    """The page, with headers that keep it to itself."""
    content, policy = _page()
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return Response(content, media_type="text/html", headers=headers)
