"""Errors of huggingface_hub and of the network, as errors of g4 that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DownloadError
from .transfer import UNREACHABLE


@contextmanager
def hub_errors(repo: str) -> Iterator[None]:
    """Errors of huggingface_hub and of the network as DownloadError."""
    from huggingface_hub.errors import HFValidationError, HTTPError, OfflineModeIsEnabled

    try:
        yield
    except HFValidationError as exc:
        raise DownloadError(repo, "is not a valid repository name") from exc
    except OfflineModeIsEnabled as exc:
        raise DownloadError(
            repo, "cannot download while offline (--offline or HF_HUB_OFFLINE)"
        ) from exc
    except (HTTPError, ConnectionError, TimeoutError) as exc:
        raise DownloadError(repo, UNREACHABLE) from exc
    except OSError as exc:
        raise DownloadError(repo, f"cannot be saved ({exc.strerror or exc})") from exc
