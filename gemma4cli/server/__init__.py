"""HTTP for a model in a queue: OpenAI's API. Its packages are those of the extra ``serve``."""

from ..errors import PackagesMissingError

try:
    import python_multipart as _multipart  # noqa: F401
    import starlette as _starlette  # noqa: F401
    import uvicorn as _uvicorn  # noqa: F401
except ModuleNotFoundError as exc:
    raise PackagesMissingError("serve", "g4 serve", str(exc.name)) from exc
