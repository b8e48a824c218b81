"""The completion scripts in completions/ are those that the program prints."""

from __future__ import annotations

import pytest
from cli_runs import ROOT, run_g4


@pytest.mark.parametrize(
    ("shell", "name"), [("bash", "g4.bash"), ("zsh", "_g4"), ("fish", "g4.fish")]
)
def test_completion_is_fresh(shell: str, name: str) -> None:
    printed = run_g4(env={"_G4_COMPLETE": f"source_{shell}"}).stdout
    assert b"_G4_COMPLETE" in printed
    assert (ROOT / "completions" / name).read_bytes() == printed, (
        f"update it: _G4_COMPLETE=source_{shell} g4 > completions/{name}"
    )


def test_completion_knows_the_commands() -> None:
    variables = {"_G4_COMPLETE": "complete_bash", "COMP_WORDS": "g4 ", "COMP_CWORD": "1"}
    commands = run_g4(env=variables).stdout.decode().split()
    assert {"describe", "transcribe", "video", "chat", "models", "trace"} <= set(commands)
