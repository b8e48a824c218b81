"""The fuzzer and the killer find what they look for: programs with faults are run in g4's place."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fuzzer needs Linux")

if sys.platform == "linux":
    import signal

    from fuzz import places
    from fuzz.kinds import KINDS, make_case
    from fuzz.places import Moment, Place, Undisturbed, moment_in

Outcome = Mapping[str, Any]


@pytest.fixture(scope="module")
def outcomes() -> Mapping[str, Outcome]:
    """What the fuzzer says of each program of ``fuzz.broken``."""
    root = Path(__file__).parents[1]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.broken"], cwd=root, capture_output=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr.decode()
    found: Mapping[str, Outcome] = json.loads(ran.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "fault"),
    [
        ("crash", "crash"),
        ("hang", "hang"),
        ("slow", "hang"),
        ("exception", "exception"),
        ("fenced", "exception"),
        ("memory", "memory"),
        ("status", "status"),
        ("silent", "silent"),
        ("lost", "lost"),
        ("left", "left"),
        ("differs", "differs"),
    ],
)
def test_a_fault_is_found_and_its_input_kept_with_its_command(
    outcomes: Mapping[str, Outcome], program: str, fault: str
) -> None:
    found = outcomes[program]
    assert found["fault"] == fault, found["about"]
    assert found["kept"]["command"] == ["g4", "chat", "--list"]
    assert found["kept"]["fault"] == fault


@pytest.mark.slow
def test_an_error_on_one_line_is_no_fault(outcomes: Mapping[str, Outcome]) -> None:
    assert outcomes["none"]["fault"] == ""
    assert outcomes["none"]["kept"] is None


@pytest.mark.parametrize("kind", ["checkpoints", "conversations", "schemas", "settings", "calls"])
def test_a_seed_and_a_number_make_the_same_input(kind: str, tmp_path: Path) -> None:
    def made(name: str, seed: int) -> tuple[tuple[str, ...], dict[str, bytes]]:
        case = make_case(kind, seed, 3, folder=tmp_path / name, seeds=tmp_path)
        files = (path for path in sorted(case.folder.rglob("*")) if path.is_file())
        return case.args, {str(path.relative_to(case.folder)): path.read_bytes() for path in files}

    assert made("one", 7) == made("two", 7)
    assert made("one", 7) != made("three", 8)


def test_every_kind_of_input_is_damaged() -> None:
    assert {
        *(
            "pictures",
            "sounds",
            "clips",
            "checkpoints",
            "models",
            "drafters",
            "tokenizer",
            "conversations",
        ),
        *("sessions", "journals", "settings", "schemas", "calls", "wire"),
    } <= KINDS.keys()


# Kills


def script(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def test_a_kill_comes_as_a_file_changes(tmp_path: Path) -> None:
    text = "import time; open('one', 'w').write('x'); time.sleep(20); open('two', 'w')"
    place = Place(folder=tmp_path, program=script(text))
    place.killed((), Moment(signal=signal.SIGKILL, after=0, change="result written", number=1))
    assert place.kills == {"result written": 1}
    assert place.faults == []
    assert not (place.work / "two").exists()


def test_a_kill_that_comes_too_late_does_not_count(tmp_path: Path) -> None:
    place = Place(folder=tmp_path, program=script("open('one', 'w')"))
    place.killed((), Moment(signal=signal.SIGKILL, after=0, change="journal written", number=1))
    assert place.kills.total() == 0


def test_all_kinds_of_changes_have_the_same_share(tmp_path: Path) -> None:
    run = Undisturbed(seconds=9, changes={"journal written": 90, "result renamed": 1})
    rng = Random(0)
    moments = [moment_in(run, rng) for _ in range(1000)]
    shares = [sum(each.change == change for each in moments) for change in ("", *run.changes)]
    assert min(shares) > 200


def test_what_a_killed_process_does_wrong_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_ENDS_WITHIN", 0.5)
    began = "import os, signal, sys, tempfile, time\n"
    stays = "signal.signal(signal.SIGTERM, signal.SIG_IGN); open('x', 'w'); time.sleep(20)"
    says = (
        "signal.signal(signal.SIGTERM, lambda *_: 1 / 0)\nopen('gemma4cli.x', 'w')\ntime.sleep(20)"
    )
    leaves = "tempfile.mkdtemp(); open('x', 'w'); time.sleep(20)"
    faults = []
    for number, text in enumerate((stays, says, leaves)):
        place = Place(folder=tmp_path / str(number), program=script(began + text))
        place.killed((), Moment(signal=signal.SIGTERM, after=0, change="result created", number=1))
        place.check_temporary()
        faults += [fault.splitlines()[0] for fault in place.faults]
    assert faults[0] == "does not end within 0 s of SIGTERM"
    assert faults[1].startswith("Traceback")
    assert faults[2].startswith("left in TMPDIR: tmp")
    assert len(faults) == 3


def test_a_result_that_differs_is_a_fault(tmp_path: Path) -> None:
    """Of a program that appends to what it finds, so that a continued run gives more."""
    from fuzz.kills import Expected, resumed

    text = "import time; open('result', 'a').write('x'); time.sleep(0.3)"
    undisturbed = Place(folder=tmp_path / "undisturbed", program=script(text))
    expected = Expected(folder=undisturbed.folder, runs=(undisturbed.whole(()),))
    place = Place(folder=tmp_path / "killed", program=script(text))
    resumed(place, Random(0), expected, ())
    assert place.faults == ["work/result differs from that of an undisturbed run"]
