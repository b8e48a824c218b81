# The project's commands. `make check` is the one to run before a commit; BIN names the environment.
BIN ?= .venv/bin

.PHONY: check lint format test slow toy plain damage load metal docs lock native

check: lint test slow toy

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test:
	$(BIN)/python -m pytest -q -n auto

# Tests that take seconds.
slow:
	$(BIN)/python -m pytest -q -n auto -m slow

# How good the built-in models are.
toy:
	$(BIN)/python -m pytest -q -n auto -m toy

# What computes with a network, without the native part: as on a machine without a compiler. The
# tests of tests/models never use it; those of grammars and of an answer's text run no network.
plain:
	G4_NO_NATIVE=1 $(BIN)/python -m pytest -q -n auto tests/engine tests/machine tests/test_parity.py \
	  $(addprefix --ignore tests/engine/test_,call_constraint.py channels.py constrain.py \
	  repetition.py schema_endings.py stop_texts.py)

# Damaged inputs, and killed runs. Linux only.
DAMAGED ?= 2000
KILLED ?= 60
damage:
	$(BIN)/python -m tests.fuzz --count $(DAMAGED)
	$(BIN)/python -m tests.fuzz.kills --count $(KILLED)

# 64 clients of a server for five minutes. Linux only.
load:
	$(BIN)/python -m tests.load

metal:
	$(BIN)/python -m pytest -q -m metal

# The man page and the reference of the command line, from the program itself.
docs:
	$(BIN)/python docs/generate.py

# After a change of dependencies in pyproject.toml; needs uv.
lock:
	uv lock

# The native part for Linux CPUs, into the package itself; needs cmake, ninja, nanobind and a compiler.
native:
	cmake -G Ninja -S gemma4cli/native -B build/native -DPython_EXECUTABLE=$(abspath $(BIN))/python
	ninja -C build/native -j 2
	cmake --install build/native --prefix gemma4cli/native
