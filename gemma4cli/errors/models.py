"""A model, its adapter or its server cannot be had."""

from __future__ import annotations

from collections.abc import Sequence

from .base import Gemma4Error, too_large


class LoadError(Gemma4Error):
    """A model cannot be loaded."""


class BackendMissingError(LoadError):
    """``import mlx.core`` failed: on Linux, plain ``mlx`` includes no backend."""

    def __init__(self, cause: str) -> None:
        from ..extras import install_command

        self.cause = cause
        super().__init__(
            f"MLX has no backend here ({cause}). Install one: {install_command('cpu')} "
            f"for a CPU, {install_command('cuda')} for an NVIDIA card"
        )


class ModelNotFoundError(LoadError):
    """The name is not a folder, an alias or a repository in the local cache."""

    def __init__(self, name: str, hint: str) -> None:
        self.name = name
        super().__init__(f"model {name!r} not found: {hint}")


class NoModelError(LoadError):
    """Neither the command line nor the settings name a model, and none is cached."""

    def __init__(self, fetch: str) -> None:
        self.fetch = fetch
        super().__init__(
            f"no model given and none in the local cache: download one with: {fetch}, "
            "or try the built-in toy with: -m tiny"
        )


class DownloadError(LoadError):
    """A hub repository cannot be downloaded, or its cached files cannot be removed."""

    def __init__(self, repo: str, problem: str) -> None:
        self.repo = repo
        self.problem = problem
        super().__init__(f"{repo}: {problem}")


class ModelTooLargeError(LoadError):
    """A model's weights and its smallest run need more memory than is free. In bytes."""

    def __init__(self, model: str, needed: int, free: int, hint: str) -> None:
        self.model = model
        self.needed = needed
        self.free = free
        super().__init__(too_large(model, needed, free, hint))


class UnsupportedModelError(LoadError):
    """g4 cannot run this kind of checkpoint."""

    def __init__(self, what: str, hint: str) -> None:
        self.what = what
        super().__init__(f"cannot run {what}: {hint}")


class CheckpointError(LoadError):
    """A file of the checkpoint is missing or broken, or lacks a value that affects results."""

    def __init__(self, file: str, problem: str) -> None:
        self.file = file
        self.problem = problem
        super().__init__(f"{file}: {problem}")


class WeightsMismatchError(LoadError):
    """The tensors of a checkpoint do not match its config."""

    def __init__(
        self, missing: Sequence[str], unexpected: Sequence[str], misshapen: Sequence[str] = ()
    ) -> None:
        self.missing = tuple(missing)
        self.unexpected = tuple(unexpected)
        self.misshapen = tuple(misshapen)
        counts = [
            f"{len(names)} {kind} (first: {', '.join(names[:_NAMED])})"
            for kind, names in (
                ("missing", self.missing),
                ("unexpected", self.unexpected),
                ("of the wrong shape", self.misshapen),
            )
            if names
        ]
        cause = "left them out" if self.missing else "added or changed them"
        super().__init__(
            f"the tensors do not match config.json: {'; '.join(counts)}. If a tool made this "
            f"checkpoint, it {cause}: merge or convert again; else download it again"
        )


_NAMED = 3
"""Tensors to name in an error."""


class AdapterError(LoadError):
    """An adapter is not there, cannot be read, or does not fit the model; ``adapter`` is its name.

    ``tensor`` is the first that does not fit, if that is the cause.
    """

    def __init__(self, adapter: str, problem: str, tensor: str | None = None) -> None:
        self.adapter = adapter
        self.problem = problem
        self.tensor = tensor
        super().__init__(f"adapter {adapter}: {problem}")
