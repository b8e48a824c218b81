"""Every form of output, for shards that share it, are interrupted, and run again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cli_runs import tiny_g4
from PIL import Image as Pillow
from support.samples import sample
from typer.testing import Result

from gemma4cli import api
from gemma4cli.cli.transcribe import run as transcribe_run
from gemma4cli.conversations.image_batches import ImageEvent
from gemma4cli.events import Finished
from gemma4cli.transcript import RecordingFinished

COUNT = 9
OF_OTHERS = "of the results of other shards, which would be replaced"
NEEDS_FILES = "--skip-existing needs a file for each input or JSON lines"


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a command writes, and what becomes of a shard's results in the same place.

    ``shared`` is what a second shard is told, "" if both have their results there. ``skips`` is
    what --skip-existing says for a shard that is done, "" if it has nothing to do.
    """

    command: str
    options: str
    shared: str = ""
    skips: str = ""

    def __str__(self) -> str:
        return f"{self.command} {self.options}".strip()

    @property
    def is_stream(self) -> bool:
        return "-o" not in self.options and "-f" not in self.options


FORMS = [
    Form(command="describe", options="", skips=NEEDS_FILES),
    Form(command="describe", options="--json", skips=NEEDS_FILES),
    Form(command="describe", options="-o all.txt", shared=OF_OTHERS, skips=NEEDS_FILES),
    Form(command="describe", options="-o all.jsonl", shared=OF_OTHERS),
    Form(command="describe", options="-o all.jsonl --file-names", shared=OF_OTHERS),
    Form(command="describe", options="-o out/"),
    Form(command="describe", options="-o out/ --json"),
    Form(command="describe", options="-f txt"),
    Form(command="describe", options="-f caption --extension tags"),
    Form(command="describe", options="-f json"),
    Form(command="describe", options="-f caption -o out"),
    Form(command="transcribe", options="", skips=NEEDS_FILES),
    Form(command="transcribe", options="--json", skips=NEEDS_FILES),
    Form(command="transcribe", options="-o all.jsonl", shared=OF_OTHERS),
    Form(command="transcribe", options="-o out/"),
    Form(command="transcribe", options="-o out/ -f srt"),
    Form(command="transcribe", options="-o out/ -f all"),
    Form(command="transcribe", options="-o out/ --json"),
]
EACH_FORM = pytest.mark.parametrize("form", FORMS, ids=str)


@pytest.fixture(autouse=True)
def _files() -> None:
    for number in range(COUNT):
        folder = Path("in", "ab"[number % 2])
        folder.mkdir(parents=True, exist_ok=True)
        color = ("red", "blue", "green", "yellow")[number % 4]
        Pillow.new("RGB", (48, 48), color).save(folder / f"{number}.png")
        shutil.copy(sample(f"speech{number % 3:02}.wav"), folder / f"{number}.wav")


def run(form: Form, *more: str) -> Result:
    own = ("--max-tokens", "4") if form.command == "describe" else ()
    options = ("--temperature", "0", "--batch", "1", *own, *form.options.split(), *more)
    return tiny_g4(form.command, "in", *options)


def written(stdout: str = "") -> dict[str, str]:
    """The results, without what differs from run to run: order, times."""
    found: dict[str, str] = {}
    for path in [each for each in Path().rglob("*") if each.is_file()]:
        if path.suffix not in (".png", ".wav"):
            found[str(path)] = _plain(path.read_text())
    return found | ({"": _plain(stdout)} if stdout else {})


def _plain(text: str) -> str:
    lines = [_without_times(line) for line in text.splitlines()]
    return "\n".join(sorted(lines))


def _without_times(line: str) -> str:
    if not (line.startswith("{") and line.endswith("}")):
        return line
    record: dict[str, Any] = json.loads(line)
    # A resumed transcript counts the tokens of the run that ended it.
    cost = {"timings", "usage"}
    return json.dumps({key: value for key, value in record.items() if key not in cost})


def clear() -> None:
    """Remove all results and what is kept of unfinished runs."""
    for path in [each for each in Path().rglob("*") if each.is_file()]:
        if path.suffix not in (".png", ".wav"):
            path.unlink()
    shutil.rmtree("out", ignore_errors=True)


@EACH_FORM
def test_shards_in_one_place(form: Form) -> None:
    """What they have written together is what one run writes, and nothing is replaced."""
    done = run(form)
    assert done.exit_code == 0
    whole = written(done.stdout)
    clear()
    streams = []
    for number in (1, 2, 3):
        before = written()
        result = run(form, "--shard", f"{number}/3")
        if form.shared and before:
            assert (result.exit_code, form.shared in result.stderr) == (2, True)
            assert written() == before
            if form.skips:
                return
            result = run(form, "--shard", f"{number}/3", "--skip-existing")
        assert result.exit_code == 0
        streams.append(result.stdout)
    assert written("".join(streams)) == whole


@EACH_FORM
def test_a_shard_that_is_done(form: Form) -> None:
    first = run(form, "--shard", "1/2")
    before = written()
    again = run(form, "--shard", "1/2", "--skip-existing")
    if form.skips:
        assert (again.exit_code, form.skips in again.stderr) == (2, True)
    else:
        assert again.exit_code == 0
        assert "were written before" in again.stderr
    assert written() == before
    # Without the option it is done again, beside the images only with --restart.
    anew = run(form, "--shard", "1/2", "--restart")
    assert (anew.exit_code, written(anew.stdout)) == (0, written(first.stdout))


@EACH_FORM
def test_a_shard_that_is_interrupted(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(form, "--shard", "1/2")
    expected = written(whole.stdout)
    clear()
    with monkeypatch.context() as patch:
        _interrupt(form, patch)
        stopped = run(form, "--shard", "1/2")
    assert stopped.exit_code == 130
    assert "the same command continues" in stopped.stderr
    before = written()
    assert form.is_stream or (before.keys() <= expected.keys() and before)
    resumed = run(form, "--shard", "1/2")
    assert resumed.exit_code == 0
    assert written(resumed.stdout) == expected


@EACH_FORM
def test_another_shard_after_an_interrupted_one(
    form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        _interrupt(form, patch)
        assert run(form, "--shard", "1/2").exit_code == 130
    before = written()
    result = run(form, "--shard", "2/2")
    if form.shared:
        assert (result.exit_code, form.shared in result.stderr) == (2, True)
        assert written() == before
    else:
        assert result.exit_code == 0
        assert before.items() <= written().items()


def _interrupt(form: Form, patch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after the second result."""
    last = Finished if form.command == "describe" else RecordingFinished

    def cut_off(stream: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def events(*arguments: Any, **options: Any) -> Iterator[Any]:
            count = 0
            for event in stream(*arguments, **options):
                yield event
                inner = event.event if isinstance(event, ImageEvent) else event
                count += isinstance(inner, last)
                if count == 2:
                    raise KeyboardInterrupt

        return events

    if form.command == "describe":
        patch.setattr(api, "stream_each", cut_off(api.stream_each))
    else:
        patch.setattr(transcribe_run, "stream_transcribe", cut_off(api.stream_transcribe))


def test_text_in_one_file_is_that_of_one_run(subtests: pytest.Subtests) -> None:
    """Transcripts of several recordings have no common file of text."""
    for options in ("-o all.txt", "-o all.srt", "-f srt"):
        with subtests.test(options=options):
            form = Form(command="transcribe", options=options)
            result = run(form, "--shard", "1/2")
            assert (result.exit_code, "folder" in result.stderr) == (2, True)
            assert written() == {}


def test_a_shard_replaces_its_own_text() -> None:
    form = Form(command="describe", options="-o 1.txt")
    assert run(form, "--shard", "1/2").exit_code == 0
    Path("1.txt").write_text(Path("1.txt").read_text() + "a note: in/c/none.png was here\n")
    assert run(form, "--shard", "1/2").exit_code == 0
    assert "note" not in Path("1.txt").read_text()


def test_answers_of_several_lines_are_of_other_shards_too() -> None:
    Path("all.txt").write_text("in/a/0.png:\nOne.\n\nTwo.\n\nin/b/1.png: Three.\n")
    form = Form(command="describe", options="-o all.txt")
    results = [run(form, "--shard", f"{number}/97") for number in (1, 2)]
    refused = [each for each in results if each.exit_code == 2]
    assert refused and all("2 of the results of other shards" in each.stderr for each in refused)
