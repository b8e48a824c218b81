"""What several adapters at once cost ``g4 serve``: tokens per second, and memory.

    python benchmarks/serving_adapters.py                          # a small model: a minute
    python benchmarks/serving_adapters.py --model E2B --tokens 16 --repeat 3

Each adapter is a LoRA of random numbers for all matrices of the layers. The same clients ask the
model without any, one adapter, and several, in turn; every client of several asks another one.
A table, and as the last line one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

import mlx.core as mx
from endless import copy_without_end
from serving import TINY, prompt
from serving_client import ask
from serving_process import Command, Paths, Server, g4, serving

from gemma4cli.api import load
from gemma4cli.models.adapters import plain_shape

NO_ADAPTER = "model"
"""What the folder of the model is called, and so the model itself."""


def write_adapters(model: Path, folder: Path, count: int, rank: int) -> list[Path]:
    """Adapters in the layout of PEFT, in bfloat16."""
    network = load(str(model)).network
    shapes = {
        path: plain_shape(module)
        for path, module in network.named_modules()
        if path.startswith("language_model.model.layers.")
        and "weight" in module
        and module["weight"].ndim == 2
    }
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank}
    made = []
    for number in range(count):
        tensors = {}
        for path, (outputs, inputs) in shapes.items():
            name = path.removeprefix("language_model.model.")
            name = f"base_model.model.model.language_model.{name}"
            for part, shape in (("A", (rank, inputs)), ("B", (outputs, rank))):
                values = mx.random.normal(shape) * (inputs**-0.5 if part == "A" else 0.01)
                tensors[f"{name}.lora_{part}.weight"] = values.astype(mx.bfloat16)
        made.append(folder / f"adapter{number}")
        made[-1].mkdir()
        mx.save_safetensors(str(made[-1] / "adapter_model.safetensors"), tensors)
        (made[-1] / "adapter_config.json").write_text(json.dumps(config))
    return made


async def rates(
    server: Server, names: list[str], clients: int, tokens: int, number: int
) -> tuple[float, float]:
    """Tokens per second, and per second of the server's processors.

    They are of clients that ask at once, of which each asks the next of the models.
    """
    before = processor(server)
    asked = [
        ask(
            replace(server, fields={"model": names[i % len(names)]}),
            prompt(number + i, 24),
            tokens,
        )
        for i in range(clients)
    ]
    answers = await asyncio.gather(*asked)
    wall = max(each.end for each in answers) - min(each.begin for each in answers)
    return clients * tokens / wall, clients * tokens / (processor(server) - before)


def processor(server: Server) -> float:
    """Seconds that the process has used of processors, which other work changes least."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(server: Server) -> float:
    """Megabytes of the process in memory."""
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("needs Linux")


def served(command: Command, paths: Paths, names: list[str]) -> float:
    """The memory of a server after each of its models has answered."""
    with serving("g4 serve", command, paths) as server:
        for number, name in enumerate(names):
            asyncio.run(rates(server, [name], 1, 4, number))
        return memory(server)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="folder; default: g4's own, made endless")
    parser.add_argument("--adapters", type=int, default=2)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=100, help="of each answer")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        model = Path(made) / NO_ADAPTER
        if arguments.model is None:
            copy_without_end(TINY, model)
        else:
            model.symlink_to(arguments.model.resolve())
        folders = write_adapters(model, Path(made), arguments.adapters, arguments.rank)
        compare(arguments, model, folders)


def compare(arguments: argparse.Namespace, model: Path, folders: list[Path]) -> None:
    paths = Paths(model=model, mlx=None, llama=None, gguf=None)
    plain = g4(paths)
    assert plain is not None
    command = [*plain, *(f"--adapter={each}" for each in folders)]
    names = [each.name for each in folders]
    base = model.resolve().name
    cases = {"the model": [base], "one adapter": names[:1], f"{len(names)} adapters": names}
    found: dict[str, list[tuple[float, float]]] = {case: [] for case in cases}
    with serving("g4 serve", command, paths) as server:
        for name in (*names, base):
            asyncio.run(rates(server, [name], 1, 4, 0))
        number = 1
        for _ in range(arguments.repeat):
            for case, asked in cases.items():
                run = rates(server, asked, arguments.clients, arguments.tokens, number)
                found[case].append(asyncio.run(run))
                number += arguments.clients
                print(f"{case}: {found[case][-1][0]:.1f} tokens/s", file=sys.stderr)
    alone, beside = served(plain, paths, [base]), served(command, paths, [*names, base])
    size = sum((each / "adapter_model.safetensors").stat().st_size for each in folders) / 2**20
    medians = {
        case: [median(each) for each in zip(*runs, strict=True)] for case, runs in found.items()
    }
    one, one_busy = medians["one adapter"]
    print(f"| {arguments.clients} clients | tokens/s of all | of one adapter | by processor time |")
    print("|-|-|-|-|")
    for case, (clock, busy) in medians.items():
        print(f"| {case} | {clock:,.3g} | {clock / one:.2f} | {busy / one_busy:.2f} |")
    print(
        f"\nmemory: {alone:,.0f} MB without adapters, {beside:,.0f} MB with {len(folders)}, whose "
        f"files have {size:,.0f} MB"
    )
    print(json.dumps({"rates": found, "alone_mb": alone, "beside_mb": beside, "files_mb": size}))


if __name__ == "__main__":
    main()
