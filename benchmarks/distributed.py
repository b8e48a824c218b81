"""Where several machines pay: the time per token, from measured times of messages.

    mlx.launch --hostfile hosts.json -- PYTHON benchmarks/distributed.py --read 400
    mlx.launch -n 2 -- PYTHON benchmarks/distributed.py --read 20

measures sums of hidden states between the processes: what they add to products between them, so
that waiting for the slowest process counts, as it does in a token. A token reads every weight that
a process holds once, at ``--read`` GB/s (of experts, those that are chosen), and waits for two sums
a layer and three more. ``--sums 150`` takes that many microseconds instead of measuring, in one
process. Computing is not counted: on a GPU it is less than reading.

``-m FOLDER --alone 120`` is about a checkpoint here instead, of which one process takes that many
milliseconds for a token: ``python benchmarks/divided.py`` measures that, and what several take.
Processes that share the cores of one machine read no faster together than one does.
``--fixed 0.1`` are milliseconds of a layer that no division makes less: what a layer of a tiny
model takes.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import statistics
import time
from dataclasses import dataclass
from math import prod
from pathlib import Path

import mlx.core as mx

from gemma4cli.distributed.group import Group
from gemma4cli.distributed.launch import launched
from gemma4cli.hub.resolved import ResolvedModel
from gemma4cli.machine.backend import on_cpu, require_backend
from gemma4cli.machine.cores import share_cores
from gemma4cli.models.config import Gemma4Config
from gemma4cli.models.names import canonical_names
from gemma4cli.models.shares import Share, bytes_by_name, shares_of
from gemma4cli.models.text_config import TextConfig

FIXTURES = Path(__file__).parents[1] / "fixtures" / "gemma4"
MODELS = {
    "12B.mlx-community-4bit": "mlx-community__gemma-4-12B-it-4bit",
    "26B-A4B.mlx-community-4bit": "mlx-community__gemma-4-26b-a4b-it-4bit",
    "31B.mlx-community-4bit": "mlx-community__gemma-4-31b-it-4bit",
    "26B-A4B.mlx-bf16": "google__gemma-4-26B-A4B-it",
    "31B.mlx-bf16": "google__gemma-4-31B-it",
}
_BYTES = {"BF16": 2, "U32": 4}
_TIMES, _SUMS = 20, 16
_BETWEEN = 1 << 20
"""Numbers of a matrix between two sums."""

Sizes = dict[str, tuple[tuple[int, ...], int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    name: str
    text: TextConfig
    sizes: Sizes

    @property
    def sums(self) -> int:
        """Messages that a token waits for, one after the other."""
        return 2 * self.text.num_layers + 3

    def read_bytes(self, share: Share) -> int:
        """Bytes of weights that a token reads in one process."""
        total = 0
        for name, size in bytes_by_name(share, self.sizes).items():
            if not name.startswith("language_model.") or "embed_tokens_per_layer" in name:
                continue
            moe = self.text.moe
            chosen = moe is not None and ".experts." in name
            total += size * moe.top_k // moe.num_experts if chosen and moe else size
        return total


def models() -> list[Model]:
    lists = json.loads(lzma.decompress((FIXTURES / "tensors.json.xz").read_bytes()))
    found = []
    for name, config in MODELS.items():
        raw = json.loads((FIXTURES / "configs" / config / "config.json").read_bytes())
        names = canonical_names(lists[name])
        sizes = {}
        for given, canonical in names.items():
            dtype, shape = lists[name][given]
            sizes[canonical] = tuple(shape), prod(shape) * _BYTES[dtype]
        text = Gemma4Config.from_dict(raw).text
        found.append(Model(name=name, text=text, sizes=sizes))
    return found


def model_in(folder: Path) -> Model:
    found = ResolvedModel.of(folder.name, folder)
    names = canonical_names(found.headers)
    sizes = {names[name]: (each.shape, each.size()) for name, each in found.headers.items()}
    return Model(name=folder.name, text=Gemma4Config.from_dict(found.config).text, sizes=sizes)


def seconds_of_sum(group: Group, width: int) -> float:
    """The median time that a sum of one token's hidden state adds to a graph with products."""
    dtype = mx.float32 if on_cpu() else mx.bfloat16
    inner = max(1, _BETWEEN // width)
    there, back = mx.ones((width, inner), dtype), mx.ones((inner, width), dtype)
    start = mx.zeros((1, 1, width), dtype)

    def seconds(*, summed: bool) -> float:
        started = time.perf_counter()
        hidden = start
        for _ in range(_SUMS):
            hidden = hidden @ there @ back
            hidden = group.sum(hidden) if summed else hidden
        mx.eval(hidden)
        return time.perf_counter() - started

    mx.eval(there, back, start)
    added = []
    for _ in range(_TIMES):
        mx.eval(group.sum(start))  # all begin at the same time
        alone = seconds(summed=False)
        added.append((seconds(summed=True) - alone) / _SUMS)
    return max(0.0, statistics.median(added[_TIMES // 10 :]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--read", type=float, default=100, help="GB/s at which weights are read")
    parser.add_argument("--sums", type=float, help="microseconds of a sum, instead of measuring")
    parser.add_argument("--count", type=int, default=2, help="processes, if nothing is measured")
    parser.add_argument("-m", "--model", type=Path, help="a checkpoint instead of published ones")
    parser.add_argument("--fixed", type=float, default=0.0, help="milliseconds a layer, undivided")
    parser.add_argument("--alone", type=float, help="milliseconds of a token in one process")
    options = parser.parse_args()
    launch = launched(os.environ)
    require_backend()
    group = None if launch is None or options.sums is not None else Group(launch)
    sharing = 1 if group is None else group.settle()
    share_cores(sharing)
    count = options.count if group is None else group.size
    if group is None and options.sums is None:
        parser.error("start it with mlx.launch, or pass --sums")
    rows = []
    for model in models() if options.model is None else [model_in(options.model)]:
        one = shares_of(model.text, model.sizes, 1)[0]
        parts = shares_of(model.text, model.sizes, count)
        width = model.text.hidden_size
        summed = options.sums / 1e6 if group is None else seconds_of_sum(group, width)
        alone = model.read_bytes(one) / options.read / 1e9
        if options.alone is not None:
            alone = options.alone / 1e3
        fixed = min(alone, options.fixed / 1e3 * model.text.num_layers)
        share = max(model.read_bytes(each) for each in parts) / model.read_bytes(one)
        # Processes that divide the cores of a machine also divide what it reads in a second.
        reading = fixed + (alone - fixed) * share * sharing
        together = reading + model.sums * summed
        held = [sum(bytes_by_name(each, model.sizes).values()) for each in (one, *parts)]
        rows.append(
            {
                "model": model.name,
                "processes": count,
                "gb": held[0] / 1e9,
                "gb_per_process": max(held[1:]) / 1e9,
                "sum_us": summed * 1e6,
                "sums": model.sums,
                "ms_alone": alone * 1e3,
                "ms_together": together * 1e3,
                "pays_below_us": (alone - reading) / model.sums * 1e6,
            }
        )
    if group is not None and group.rank:
        return
    print("model                          GB  each  sum us     alone  together  pays below")
    for row in rows:
        print(
            f"{row['model']:<28} {row['gb']:5.1f} {row['gb_per_process']:5.1f} "
            f"{row['sum_us']:7.0f} {row['ms_alone']:5.1f} ms {row['ms_together']:5.1f} ms "
            f"{row['pays_below_us']:6.0f} us"
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
