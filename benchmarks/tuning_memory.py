"""What a tuning foresees that its process will need of memory, beside what it has needed.

    python benchmarks/tuning_memory.py                              # the built-in model
    python benchmarks/tuning_memory.py -m e2b-ten -m e2b-folder     # other folders, too

Each case is a tuning of two steps in a process of its own: ``gemma4cli.stream_tune`` with text or
pictures, short or long examples, and layers that compute their values again. Measured is the most
that was in memory of the process at once (VmHWM), pages of mapped files included; on Linux.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

CASES = (
    {"batch": 1, "length": 64},
    {"batch": 4, "length": 64},
    {"batch": 1, "length": 512},
    {"batch": 4, "length": 512},
    {"batch": 1, "length": 64, "recompute": True},
    {"batch": 4, "length": 64, "recompute": True},
    {"batch": 1, "length": 512, "recompute": True},
    {"batch": 4, "length": 512, "recompute": True},
    {"batch": 2, "length": 64, "picture": True},
    {"batch": 2, "length": 64, "picture": True, "targets": ["attention", "vision"]},
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", action="append", help="folders, or tiny")
    parser.add_argument("--case", type=int, action="append", help="only that one, from 0")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(**json.loads(given.one))))
        return
    found = []
    print("| model | batch | tokens | | foreseen, GB | measured, GB | ratio |\n|-|-|-|-|-|-|-|")
    for model in given.model or ["tiny"]:
        for number in given.case or range(len(CASES)):
            case = CASES[number]
            command = [sys.executable, __file__, "--one", json.dumps(case | {"model": model})]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            if done.returncode:
                print(f"| {model} | {case} failed |", flush=True)
                continue
            row = case | {"model": Path(model).name} | json.loads(done.stdout.splitlines()[-1])
            found.append(row)
            print(line_of(row), flush=True)
    print(json.dumps(found))


def line_of(row: dict[str, object]) -> str:
    kind = ["values again"] * row.get("recompute", False) + ["picture"] * row.get("picture", False)
    kind += ["tuned tower"] * ("targets" in row)
    numbers = f"{row['foreseen'] / 1e9:.2f} | {row['measured'] / 1e9:.2f} | {row['ratio']:.2f}"
    start = f"| {row['model']} | {row['batch']} | {row['tokens']} | {', '.join(kind)}"
    return f"{start} | {numbers} |"


def measured(
    model: str,
    batch: int,
    length: int,
    recompute: bool = False,
    picture: bool = False,
    targets: list[str] | None = None,
) -> dict[str, object]:
    """A tuning of two steps with ``batch`` examples of about ``length`` tokens of text."""
    import mlx.core as mx

    from gemma4cli import TuningOptions, load, stream_tune
    from gemma4cli.tuning.events import TuningPlanned

    loaded = load(model)
    words = " ".join(["red", "blue", "one", "two"] * length).split()[: length - 12]
    content: list[dict[str, str]] = [{"type": "text", "text": " ".join(words[: length // 2])}]
    if picture:
        content.insert(0, {"type": "image", "path": str(ROOT / "fixtures/samples/image00.png")})
    answer = {"role": "assistant", "content": " ".join(words[length // 2 :])}
    example = {"messages": [{"role": "user", "content": content}, answer]}
    options = TuningOptions(
        steps=2,
        batch=batch,
        validation=0,
        recompute=recompute,
        targets=tuple(targets or ("attention", "mlp")),
    )
    with tempfile.TemporaryDirectory() as folder:
        for event in stream_tune(loaded, [example] * batch, folder, options=options):
            if isinstance(event, TuningPlanned):
                plan = event
    status = Path("/proc/self/status").read_text()
    most = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024
    return {
        "tokens": plan.tokens // batch,
        "foreseen": plan.memory,
        "measured": most,
        "ratio": round(plan.memory / most, 2),
        "mlx": mx.get_peak_memory(),
    }


if __name__ == "__main__":
    main()
