"""The options shared by all commands that run a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import typer

from ...errors import OptionError
from ...options import DType, GenerateOptions, LoadOptions
from ..output.pictures import PictureMode

_MODEL = "Model"
_SAMPLING = "Sampling"
_OUTPUT = "Output"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """The model, how it generates, and where the answer goes."""

    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="NAME",
            help="Alias (tiny, e2b, e4b, 12b, 26b, 31b, e2b:8bit …), folder or hub id.",
            rich_help_panel=_MODEL,
        ),
    ] = None
    adapter: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Adapter (LoRA or DoRA) for the model: folder or hub id, in the layout of PEFT, "
            "mlx-lm or mlx-vlm.",
            rich_help_panel=_MODEL,
        ),
    ] = None
    dtype: Annotated[
        DType,
        typer.Option(
            metavar="TYPE",
            help="Type to compute in: auto, float32, bfloat16 or float16; auto is float32 on a "
            "CPU, otherwise the checkpoint's type.",
            rich_help_panel=_MODEL,
        ),
    ] = "auto"
    draft: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Drafter, which guesses tokens ahead: folder, hub id, none, or auto, the one of "
            "the model if it is in the cache. Answers stay the same.",
            rich_help_panel=_MODEL,
        ),
    ] = LoadOptions().draft
    kv_bits: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="8 stores the KV cache of full-attention layers in 8 bits per number, which saves "
            "memory with long contexts. (default: as computed)",
            rich_help_panel=_MODEL,
        ),
    ] = None
    prefill_step: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Prompt tokens to compute at once. Fewer take less memory. (default: 512 on a "
            "CPU, up to 2048 on a GPU as memory allows)",
            rich_help_panel=_MODEL,
        ),
    ] = None
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Ask the model of a running g4 serve at this address, or unix:/PATH, instead of "
            "loading one; none loads one. A token is given in G4_SERVER_TOKEN.",
            rich_help_panel=_MODEL,
        ),
    ] = None
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Never use the network.", rich_help_panel=_MODEL),
    ] = False
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Maximum length of the answer, thoughts included. (default: 2048)",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    temperature: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="T",
            help="Sampling temperature; 0 is greedy. (default: the model's)",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    top_p: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help="Nucleus sampling; above 0, at most 1. (default: the model's)",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    top_k: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="K",
            help="Sample from the K likeliest tokens; 0 means all. (default: the model's)",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2**64 - 1,
            metavar="N",
            help="Seed for sampling.",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    think: Annotated[
        bool,
        typer.Option(
            "--think/--no-think",
            help="Let the model think before it answers; thoughts go to stderr.",
            rich_help_panel=_SAMPLING,
        ),
    ] = False
    stop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="End the answer before this text; repeatable.",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    schema: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON Schema that the answer must match.",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write to a file, or to a folder if it is one or ends in a slash; - is standard "
            "output.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None
    json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object per input.", rich_help_panel=_OUTPUT),
    ] = False
    quiet: Annotated[
        bool,
        typer.Option(
            "-q", "--quiet", help="Nothing on stderr but errors.", rich_help_panel=_OUTPUT
        ),
    ] = False
    pictures: Annotated[
        PictureMode,
        typer.Option(
            metavar="MODE",
            help="Thumbnails in the terminal: auto, never, kitty or iterm; auto shows them if the "
            "terminal can.",
            rich_help_panel=_OUTPUT,
        ),
    ] = "auto"
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show tracebacks and log messages.", rich_help_panel=_OUTPUT),
    ] = False

    @property
    def files(self) -> Sequence[Path]:
        """The files that these options name, to be read."""
        return () if self.schema is None else (self.schema,)

    @property
    def thumbnails(self) -> PictureMode:
        """``pictures``, but "never" with --quiet, --json or an output file."""
        hidden = self.quiet or self.json or self.output not in (None, "-")
        return "never" if hidden else self.pictures

    @property
    def load_options(self) -> LoadOptions:
        return LoadOptions(dtype=self.dtype, draft=self.draft, kv_bits=self.kv_bits)

    def generate_options(self, *, default_temperature: float | None = None) -> GenerateOptions:
        """``default_temperature`` applies if the user sets no temperature.

        Raises OptionError if the schema cannot be read.
        """
        temperature = default_temperature if self.temperature is None else self.temperature
        defaults = GenerateOptions()
        return GenerateOptions(
            max_tokens=self.max_tokens or defaults.max_tokens,
            temperature=temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            seed=self.seed,
            think=self.think,
            prefill_step_size=self.prefill_step,
            schema=None if self.schema is None else _read(self.schema),
            stop=tuple(dict.fromkeys(self.stop or ())),
        )


_LARGEST_SCHEMA = 4 * 1024**2


def _read(schema: Path) -> str:
    from ...bounded import read_bounded
    from ...checked_json import JsonError, parse
    from ...plain_text import decode_text

    try:
        found = decode_text(read_bounded(schema, _LARGEST_SCHEMA))
    except OSError as exc:
        raise OptionError(f"{schema}: cannot be read ({exc.strerror or exc})") from exc
    if found is None or found.notice is not None:
        raise OptionError(f"{schema}: is not UTF-8 text")
    try:
        parse(found.text)
    except JsonError as exc:
        raise OptionError(f"{schema}: {exc}") from exc
    return found.text


SHARED = frozenset(field.name for field in fields(RunOptions))
"""The parameters of every command that runs a model."""
