"""``g4 tune``: an adapter from examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...errors import OptionError
from ..environment import Environment
from ..run.common_options import restart_option
from ..run.options import RunOptions
from ..run.shared_options import runs_a_model_differently

_LAYERS = "The adapter"
_STEPS = "Steps"
_ANSWERS = "tune answers nothing"


@runs_a_model_differently(
    refused={
        **dict.fromkeys(
            ("max_tokens", "temperature", "top_p", "top_k", "stop", "schema"), _ANSWERS
        ),
        "adapter": "tune begins with the model as it is",
        "think": "enable_thinking in a conversation says that its thoughts are learned",
        "draft": "tune guesses no tokens",
        "kv_bits": "tune needs no KV cache",
        "prefill_step": "tune computes whole examples; --longest leaves out long ones",
        "server": "a served model cannot be tuned",
        "pictures": "tune shows no pictures",
    },
    helps={
        "seed": "Seed of the adapter, of the order and of what is held out. (default: 0)",
        "output": "Folder for the adapter; an unfinished tuning in it goes on.",
        "json": "Print one JSON object: the result.",
    },
)
def tune(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="JSON Lines of conversations, or a folder of pictures with captions or of "
            "recordings with transcripts.",
        ),
    ],
    run: RunOptions,
    env: Environment,
    prompt: Annotated[
        str | None,
        typer.Option(
            "-p",
            "--prompt",
            metavar="TEXT",
            help="What is asked about the media of a folder. (default: as describe and transcribe "
            "ask)",
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            metavar="LANG",
            help="Language of the recordings of a folder, as transcribe takes it.",
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA",
            help="Prompts that are to be answered afterwards as before: JSON Lines of "
            "conversations, whose answers may be missing, or a folder of pictures and recordings.",
        ),
    ] = None,
    rank: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Rank of the adapter.", rich_help_panel=_LAYERS),
    ] = 16,
    alpha: Annotated[
        float | None,
        typer.Option(
            metavar="A",
            help="The adapter counts A / rank times. (default: twice the rank)",
            rich_help_panel=_LAYERS,
        ),
    ] = None,
    targets: Annotated[
        str,
        typer.Option(
            metavar="LAYERS",
            help="Layers that get an addition, with commas between: attention, mlp, per-layer, "
            "experts, projections, vision, audio, or names such as q_proj.",
            rich_help_panel=_LAYERS,
        ),
    ] = "attention,mlp",
    layout: Annotated[
        str,
        typer.Option(
            metavar="LAYOUT",
            help="Layout of the adapter's files: peft or mlx-lm. An adapter that is tuned already "
            "is written again.",
            rich_help_panel=_LAYERS,
        ),
    ] = "peft",
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="R",
            help="Highest learning rate. (default: 2e-4 for E2B, less for wider models)",
            rich_help_panel=_STEPS,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Steps in all. (default: three rounds, or more with few examples)",
            rich_help_panel=_STEPS,
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="How often each example is seen, instead of --steps.",
            rich_help_panel=_STEPS,
        ),
    ] = None,
    batch: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Examples in a step.", rich_help_panel=_STEPS),
    ] = 4,
    validation: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Share of the examples that is held out, to measure by; 0 holds out none.",
            rich_help_panel=_STEPS,
        ),
    ] = 0.1,
    patience: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Stop after so many measures without a better one; 0 never stops.",
            rich_help_panel=_STEPS,
        ),
    ] = 4,
    longest: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Leave out examples of more tokens. (default: the model's context)",
            rich_help_panel=_STEPS,
        ),
    ] = None,
    decay: Annotated[
        float,
        typer.Option(min=0, metavar="D", help="Weight decay.", rich_help_panel=_STEPS),
    ] = 0.01,
    keep_share: Annotated[
        float,
        typer.Option(
            metavar="N",
            help="Kept prompts in a step for each example.",
            rich_help_panel=_STEPS,
        ),
    ] = 0.5,
    keep_weight: Annotated[
        float,
        typer.Option(
            metavar="W",
            help="What it counts that kept prompts are answered as before.",
            rich_help_panel=_STEPS,
        ),
    ] = 1.0,
    recompute: Annotated[
        bool | None,
        typer.Option(
            "--recompute/--no-recompute",
            help="Compute layers' inner values again for gradients: less memory, a third slower. "
            "(default: where memory needs it)",
            rich_help_panel=_STEPS,
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Learn nothing: check the data, count tokens, measure a step, foresee memory and "
            "time. The same command without it goes on from there.",
        ),
    ] = False,
    restart: Annotated[bool, restart_option(", and replace the folder's adapter")] = False,
) -> None:
    """Tune an adapter (LoRA) that makes a model answer as in examples.

    Only answers are learned. The folder gets the adapter, for --adapter and for PEFT, and the curve
    of its losses. An interrupted run resumes where it stopped.
    """
    from ...tuning.settings import TuningOptions
    from .tune_run import TuningRun, run_tuning

    if run.output is None or run.output == "-":
        raise OptionError("name the adapter's folder with -o DIR")
    options = TuningOptions(
        rank=rank,
        alpha=alpha,
        targets=tuple(each.strip() for each in targets.split(",") if each.strip()),
        rate=rate,
        steps=steps,
        rounds=rounds,
        batch=batch,
        validation=validation,
        patience=patience,
        longest=longest,
        recompute=recompute,
        decay=decay,
        keep_share=keep_share,
        keep_weight=keep_weight,
        seed=run.seed or 0,
    )
    run_tuning(
        env,
        run,
        TuningRun(
            data=data,
            folder=Path(run.output),
            options=options,
            prompt=prompt,
            language=language,
            restart=restart,
            keep=keep,
            check=check,
            layout=layout,
        ),
    )
