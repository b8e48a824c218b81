"""Three adapters of the built-in model, of different kinds, each of which answers differently."""

from __future__ import annotations

from pathlib import Path

from gemma4cli.engine.model import LoadedModel

from .adapters import matrices, write_mlx_lm, write_peft

NAMES = ("brief", "loud", "dora")


def write_three(folder: Path, tiny: LoadedModel) -> dict[str, Path]:
    """A LoRA of PEFT, one of mlx-lm, and a DoRA, by their names."""
    network = tiny.network
    return {
        "brief": write_peft(folder / "brief", matrices(network, "q_proj", "down_proj", size=1.0)),
        "loud": write_mlx_lm(folder / "loud", matrices(network, "v_proj", "up_proj", size=1.0)),
        "dora": write_peft(
            folder / "dora",
            matrices(network, "o_proj", "gate_proj", size=0.5),
            magnitude=1.0,
            use_dora=True,
        ),
    }
