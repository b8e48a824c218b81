"""Errors of huggingface_hub and of the network, as errors of g4 that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DownloadError


@contextmanager
def hub_errors(repo: str) -> Iterator[None]:
    """Errors of huggingface_hub and of the network as DownloadError."""
    import socket

    from huggingface_hub.errors import HFValidationError, HTTPError, OfflineModeIsEnabled

    try:
        yield
    except HFValidationError as exc:
        raise DownloadError(repo, "is not a valid repository name") from exc
    except OfflineModeIsEnabled as exc:
        raise DownloadError(
            repo, "cannot download while offline (--offline or HF_HUB_OFFLINE)"
        ) from exc
    except (HTTPError, ConnectionError, TimeoutError, socket.gaierror) as exc:
        raise DownloadError(repo, connection_problem(exc)) from exc
    except OSError as exc:
        raise DownloadError(repo, f"cannot be saved ({exc.strerror or exc})") from exc


def connection_problem(exc: BaseException) -> str:
    """Why the hub could not be asked, as one line."""
    import ssl

    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the hub's certificate is not valid ({cause.verify_message})"
        cause = cause.__cause__ or cause.__context__
    if type(exc).__name__ == "ProxyError":
        return "the proxy (HTTPS_PROXY, HTTP_PROXY) cannot be used: check it, or unset it"
    if type(exc).__name__ in _GARBLED:
        return "what answers as the hub does not send valid HTTP: try again later"
    return "the hub cannot be reached: check the network and HF_ENDPOINT, or try again later"


_GARBLED = ("RemoteProtocolError", "LocalProtocolError", "DecodingError")
"""The names of the HTTP library's errors for answers that it cannot read."""
