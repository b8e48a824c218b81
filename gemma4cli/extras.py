"""How to install what g4 runs without: the packages of its extras, where this g4 is."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

PACKAGES: Mapping[str, str] = {
    "cpu": "mlx[cpu]",
    "cuda": "mlx[cuda13]",
    "heif": "pillow-heif",
    "serve": "starlette uvicorn python-multipart",
}
"""The packages that each extra of pyproject.toml adds.

They are named instead of ``gemma4cli[cpu]`` because g4 may be installed from a checkout.
"""


def install_command(extra: str, *, version: str | None = None) -> str:
    """A shell line that installs an extra where this g4 is, in a version that fits or this one."""
    packages = [each + (f"=={version}" if version else "") for each in PACKAGES[extra].split()]
    return f"{_installer()} {shlex.join(packages)}"


def reinstall_command(package: str) -> str:
    """A shell line that installs a package again where this g4 is."""
    return f"{_installer()} --force-reinstall {package}"


def rebuild_command() -> str:
    """A shell line that builds this g4 again, from where it was installed."""
    return f"{_installer()} --force-reinstall --no-deps {_origin()}"


def _origin() -> str:
    """What was installed as g4, as arguments of pip; PEP 610 defines the record."""
    from importlib.metadata import distribution
    from json import loads
    from urllib.parse import unquote, urlsplit

    record = loads(distribution("gemma4cli").read_text("direct_url.json") or "{}")
    url = record.get("url")
    if url is None:
        return "--no-cache-dir gemma4cli"
    if "dir_info" in record:
        editable = "-e " * bool(record["dir_info"].get("editable"))
        return f"{editable}{shlex.quote(unquote(urlsplit(url).path))}"
    if "vcs_info" in record:
        url = f"{record['vcs_info']['vcs']}+{url}"
    return f"--no-cache-dir {shlex.quote(url)}"


def _installer() -> str:
    from importlib.util import find_spec
    from shutil import which

    python, folders = shlex.quote(sys.executable), Path(sys.prefix).parts
    if "pipx" in folders:
        return f"pipx runpip {Path(sys.prefix).name} install"
    if find_spec("pip") is None:
        return f"uv pip install --python {python}"
    on_path = which("pip")
    if on_path is not None and Path(on_path).parent == Path(sys.executable).parent:
        return "pip install"
    return f"{python} -m pip install"
