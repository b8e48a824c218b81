"""The rates of device_rates.py as a Markdown table, and as one line of JSON; run by gpu.sh.

    python device_table.py FOLDER

FOLDER has one JSON file for each checkpoint and engine, CHECKPOINT.ENGINE.json, empty where the
measurement failed, and ``parity.txt`` with the end of the tests.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from table import markdown, three_digits

ENGINES = ("g4", "mlx-lm", "mlx-vlm")


def read(folder: Path) -> list[dict[str, Any]]:
    """What was measured, with the name of the checkpoint and the engine."""
    found = []
    for path in sorted(folder.glob("*.*.json")):
        checkpoint, engine = path.stem.rsplit(".", 1)
        lines = path.read_text().splitlines()
        measured: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        found.append(measured | {"checkpoint": checkpoint, "engine": engine})
    return found


def rows(found: list[dict[str, Any]]) -> list[list[str]]:
    """A line per checkpoint and figure: each engine's, and g4's as a multiple of the others'."""
    lines = []
    for checkpoint in dict.fromkeys(each["checkpoint"] for each in found):
        by_engine = {e["engine"]: e for e in found if e["checkpoint"] == checkpoint}
        labels = dict.fromkeys(label for e in by_engine.values() for label in e.get("rates", {}))
        for label in labels:
            own = by_engine.get("g4", {}).get("rates", {}).get(label)
            line = [checkpoint, label, "s" if label == "load" else "tokens/s"]
            for engine in ENGINES:
                value = by_engine.get(engine, {}).get("rates", {}).get(label)
                line.append("-" if value is None else three_digits(value))
                if engine != "g4":
                    line.append(ratio(own, value, more=label != "load"))
            lines.append(line)
        peaks = [by_engine.get(engine, {}).get("peak") for engine in ENGINES]
        cells = ["-" if peak is None else three_digits(peak / 1e9) for peak in peaks]
        less = [ratio(peaks[0], peak, more=False) for peak in peaks[1:]]
        head = [checkpoint, "device memory at most", "GB"]
        lines.append([*head, cells[0], cells[1], less[0], cells[2], less[1]])
    return lines


def ratio(own: float | None, other: float | None, *, more: bool) -> str:
    """How many times as good g4 is."""
    if not own or not other:
        return ""
    return three_digits(own / other if more else other / own)


def main() -> None:
    folder = Path(sys.argv[1])
    found = read(folder)
    device = next((f"{e['name']}, MLX {e['mlx']}" for e in found if "name" in e), "no device")
    parity = folder / "parity.txt"
    tests = parity.read_text().strip().splitlines()[-1:] if parity.exists() else []
    print(f"{device}. Tests: {' '.join(tests) or 'not run'}\n")
    head = ["", "", "", "g4", "mlx-lm", "ratio", "mlx-vlm", "ratio"]
    print(markdown(head, rows(found)))
    print(json.dumps({"device": device, "tests": " ".join(tests), "measured": found}))


if __name__ == "__main__":
    main()
