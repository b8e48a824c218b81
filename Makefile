# The project's commands. `make check` is the one to run before a commit; BIN names the environment.
BIN ?= .venv/bin

.PHONY: check lint format test fast slow metal lock

check: lint test

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test:
	$(BIN)/python -m pytest -q -n auto

fast:
	$(BIN)/python -m pytest -q -n auto -m "not slow and not toy"

slow:
	$(BIN)/python -m pytest -q -n auto -m "slow or toy"

metal:
	$(BIN)/python -m pytest -q -m metal

# After a change of dependencies in pyproject.toml; needs uv.
lock:
	uv lock
