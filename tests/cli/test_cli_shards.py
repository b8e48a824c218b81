"""``--shard I/N``: several runs share the files of a folder, without talking to each other."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_runs import Exchange, assert_fails, g4, g4_with, records, tiny_g4
from PIL import Image as Pillow
from support.live_server import serving
from support.samples import sample

from gemma4cli import api
from gemma4cli.cli.output.claims import Seen
from gemma4cli.cli.output.files import growing_file
from gemma4cli.cli.run.inputs import Kind
from gemma4cli.cli.run.listing import Listing
from gemma4cli.cli.run.shards import Shard, shard_of
from gemma4cli.cli.run.shares import share_of
from gemma4cli.errors import OptionError, OutputError
from gemma4cli.serving.queued_model import QueuedModel

PATIENCE = 90.0
IMAGES = Kind(plural="images", suffixes={".png"})


def picture(path: str | Path, color: str = "red") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Pillow.new("RGB", (48, 48), color).save(path)


@pytest.fixture
def photos() -> list[str]:
    """What the answers about twelve pictures in folders are about."""
    names = [f"photos/{folder}/{number}.png" for folder in "abc" for number in range(4)]
    for number, name in enumerate(names):
        picture(name, ("red", "blue", "green", "yellow")[number % 4])
    return names


def number_of(place: str, count: int) -> int:
    """The one shard that a file at this place belongs to."""
    (found,) = [n for n in range(1, count + 1) if Shard(number=n, count=count).has(place)]
    return found


def places(arguments: Sequence[str], shard: str) -> list[str]:
    found = Listing(arguments, IMAGES, lambda line: None)
    return [each.place for each in share_of(shard_of(shard), found).inputs]


def lines_of(path: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_the_shard_of_a_path_is_the_same_on_every_machine_and_in_every_version() -> None:
    """Two machines may have different versions: these numbers never change."""
    known = {"a.png": 1, "b/c.png": 8, "photo 1.jpg": 3, "bücher/é.png": 2}
    assert {place: number_of(place, 8) for place in known} == known


def test_a_name_is_in_one_shard_however_it_is_composed() -> None:
    for name in ("bücher/é.png", "が.png"):
        spelled = {unicodedata.normalize(form, name) for form in ("NFC", "NFD")}
        assert len(spelled) == 2
        assert len({number_of(each, 1000) for each in spelled}) == 1


def test_names_that_are_not_utf_8_have_a_shard() -> None:
    assert number_of(os.fsdecode(b"caf\xe9.png"), 4) in range(1, 5)


@pytest.mark.parametrize("pattern", ["{:05}.png", "{:x}/frame.jpg", "scene {}/IMG_0001.jpeg"])
def test_twenty_thousand_files_are_spread_evenly(pattern: str) -> None:
    shards = [Shard(number=number, count=8) for number in range(1, 9)]
    counts = Counter(
        next(each.number for each in shards if each.has(pattern.format(number)))
        for number in range(20_000)
    )
    assert all(2350 <= counts[each.number] <= 2650 for each in shards)


def test_every_file_is_in_one_shard(photos: list[str]) -> None:
    for count in (1, 2, 5, 40):
        shards = [places(["photos"], f"{n}/{count}") for n in range(1, count + 1)]
        found = sorted(place for shard in shards for place in shard)
        assert found == sorted(name.removeprefix("photos/") for name in photos)


def test_a_shard_depends_on_the_path_below_the_folder_alone(
    photos: list[str], tmp_path: Path
) -> None:
    mine = places(["photos"], "2/3")
    assert 0 < len(mine) < 12
    for folder in ("photos/", "./photos", str(tmp_path / "photos")):
        assert places([folder], "2/3") == mine
    os.rename("photos", "mounted-elsewhere")
    assert places(["mounted-elsewhere"], "2/3") == mine
    os.unlink(f"mounted-elsewhere/{mine[0]}")
    assert places(["mounted-elsewhere"], "2/3") == mine[1:]


def test_a_file_that_is_named_itself_goes_by_its_name_as_typed(photos: list[str]) -> None:
    shards = [places(photos, f"{n}/3") for n in (1, 2, 3)]
    assert sorted(each for shard in shards for each in shard) == photos
    assert [places(["./" + each for each in photos], f"{n}/3") for n in (1, 2, 3)] == shards
    assert [places(photos[::-1], f"{n}/3")[::-1] for n in (1, 2, 3)] == shards


WRONG = {
    "0/8": "shards count from 1: 1/8 to 8/8; where numbers count from 0, add 1",
    "9/8": "there are shards 1/8 to 8/8",
    "0/0": "there are no shards of 0; is a variable not set?",
    "/8": "takes I/N, such as 2/8, not /8; is a variable not set?",
    "2/": "is a variable not set?",
    "2": "takes I/N, such as 2/8, not 2",
    "2/8/1": "takes I/N",
    "-1/8": "takes I/N",
    "two/8": "takes I/N",
}


@pytest.mark.parametrize(("text", "said"), WRONG.items())
def test_what_is_no_shard(text: str, said: str) -> None:
    with pytest.raises(OptionError, match="--shard") as raised:
        shard_of(text)
    assert said in str(raised.value)


def test_what_has_no_shards() -> None:
    picture("a.png")
    assert_fails(tiny_g4("describe", "-", "--shard", "1/2"), 2, "standard input has no path")
    assert_fails(tiny_g4("describe", "a.png", "--together", "--shard", "1/2"), 2, "--together")
    assert_fails(tiny_g4("transcribe", "--mic", "--shard", "1/2"), 2, "--shard and --mic")


def test_shards_are_not_set_for_all_calls(photos: list[str]) -> None:
    result = g4_with({"G4_SHARD": "1/8"}, "describe", "-m", "tiny", photos[0])
    assert "G4_SHARD has no effect: --shard is for the command line" in result.stderr
    assert_fails(g4("config", "set", "describe.shard", "1/8"), 2, "cannot be set")


def test_the_answers_of_all_shards_are_those_of_one_run(photos: list[str]) -> None:
    command = ("describe", "photos", "--temperature", "0")
    whole = {each["input"]: each["text"] for each in records(tiny_g4(*command, "--json"))}
    parts = []
    for number in (1, 2, 3):
        result = tiny_g4(*command, "--shard", f"{number}/3", "-o", f"{number}.jsonl")
        mine = len(lines_of(f"{number}.jsonl"))
        assert result.exit_code == 0
        assert f"shard {number} of 3: {mine} of 12 images\n" in result.stderr
        assert result.stderr.endswith(f"shard {number} of 3: {mine} of {mine} answered\n")
        parts += lines_of(f"{number}.jsonl")
    assert len(parts) == 12
    assert {each["input"]: each["text"] for each in parts} == whole


def test_an_answer_has_the_seed_that_it_has_without_shards(
    photos: list[str], sent: Exchange
) -> None:
    def seeds(*shard: str) -> dict[str, int | None]:
        sent.parts.clear()
        sent.options.clear()
        tiny_g4("describe", "photos", "--batch", "1", "--seed", "5", *shard)
        asked = [parts[0].source.name for parts in sent.parts]  # type: ignore[union-attr]
        return dict(zip(asked, [each.seed for each in sent.options], strict=True))

    whole = seeds()
    assert len(set(whole.values())) == 12
    assert seeds("--shard", "1/2") | seeds("--shard", "2/2") == whole


def test_names_of_results_do_not_depend_on_the_shard() -> None:
    """Each of them might have the short name in its own shard, and replace the other's result."""
    names = [f"{folder}/x.png" for folder in "abcdef"]
    for name in names:
        picture(name)
    for number in (1, 2, 3):
        tiny_g4("describe", *names, "--shard", f"{number}/3", "-o", "out/")
    assert sorted(str(each) for each in Path("out").rglob("*.txt")) == [
        f"out/{folder}/x.txt" for folder in "abcdef"
    ]


def test_a_page_does_not_get_the_name_of_a_file_in_another_shard() -> None:
    frames = [Pillow.new("RGB", (48, 48), color) for color in ("red", "blue")]
    Path("in").mkdir()
    frames[0].save("in/fax.tiff", save_all=True, append_images=frames[1:])
    picture("in/fax-page2.png")
    for number in range(1, 9):
        command = ("describe", "in", "--pages", "all", "--shard", f"{number}/8", "-o", "out/")
        assert tiny_g4(*command).exit_code == 0
    assert len(os.listdir("out")) == 3


def test_a_shard_without_files_is_done_at_once(photos: list[str]) -> None:
    empty = next(n for n in range(1, 101) if not places(["photos"], f"{n}/100"))
    command = ("describe", "photos", "-m", "no/model", "--shard", f"{empty}/100")
    result = g4(*command, "-o", "none.jsonl")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"shard {empty} of 100: 0 of 12 images\n"
    assert Path("none.jsonl").read_text() == ""
    assert g4(*command, "-f", "txt", "-q").stderr == ""


def test_a_folder_without_files_is_an_error_of_every_shard() -> None:
    Path("empty").mkdir()
    for shard in ("1/2", "2/2"):
        result = tiny_g4("describe", "empty", "--shard", shard)
        assert_fails(result, 3, "empty: contains no images")


def test_what_is_not_there_is_an_error_of_every_shard(photos: list[str]) -> None:
    """A machine where the folder is not mounted must not say that its shard is done."""
    Path("empty").mkdir()
    for shard in ("1/3", "2/3", "3/3"):
        for missing in ("elsewhere", "elsewhere/*.png"):
            result = tiny_g4("describe", missing, "--shard", shard)
            assert (result.exit_code, f"{missing}: no such file" in result.stderr) == (3, True)
        result = tiny_g4("describe", "photos", "empty", "--shard", shard, "--max-tokens", "1")
        assert (result.exit_code, "empty: contains no images" in result.stderr) == (5, True)


def test_a_file_that_cannot_be_read_is_an_error_of_its_shard(photos: list[str]) -> None:
    Path("photos/a/0.png").write_bytes(b"no picture")
    codes = {}
    for number in (1, 2, 3):
        result = tiny_g4("describe", "photos", "--shard", f"{number}/3")
        codes[number] = result.exit_code
        assert ("photos/a/0.png" in result.stderr) == (result.exit_code == 5)
    bad = number_of("a/0.png", 3)
    assert codes == {number: 5 if number == bad else 0 for number in (1, 2, 3)}


def test_a_shard_does_not_replace_the_lines_of_another(photos: list[str]) -> None:
    tiny_g4("describe", "photos", "--shard", "1/2", "-o", "all.jsonl")
    first = Path("all.jsonl").read_text()
    command = ("describe", "photos", "--shard", "2/2", "-o", "all.jsonl")
    assert_fails(
        tiny_g4(*command), 2, "all.jsonl: has", "of the results of other shards", "each shard"
    )
    assert Path("all.jsonl").read_text() == first
    assert tiny_g4(*command, "--skip-existing").exit_code == 0
    assert Path("all.jsonl").read_text().startswith(first)
    assert sorted(each["input"] for each in lines_of("all.jsonl")) == photos


def test_a_shard_that_runs_again_replaces_its_own_lines(photos: list[str]) -> None:
    command = ("describe", "photos", "--shard", "1/2", "-o", "1.jsonl")
    tiny_g4(*command)
    os.unlink(lines_of("1.jsonl")[0]["input"])
    before = len(lines_of("1.jsonl"))
    assert tiny_g4(*command).exit_code == 0
    assert len(lines_of("1.jsonl")) == before - 1


def test_two_runs_do_not_write_one_file(photos: list[str]) -> None:
    with growing_file(Path("all.jsonl")) as theirs:
        theirs.write("{}\n")
        theirs.flush()
        result = tiny_g4("describe", "photos", "--shard", "2/2", "-o", "all.jsonl")
        assert_fails(result, 2, "all.jsonl: another run of g4 is writing it; name a file for each")
    assert Path("all.jsonl").read_text() == "{}\n"
    assert tiny_g4("describe", "photos", "--shard", "2/2", "-o", "all.jsonl").exit_code == 0


@pytest.mark.parametrize("links", [True, False])
def test_of_two_files_that_begin_at_once_the_first_gets_the_name(
    links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*arguments: object) -> None:
        raise OSError("no links here")

    if not links:
        monkeypatch.setattr(os, "link", none)
    with growing_file(Path("x")) as first:
        with (
            pytest.raises(OutputError, match="another run of g4 is writing it"),
            growing_file(Path("x")) as second,
        ):
            first.write("one\n")
            second.write("two\n")
            first.flush()
            second.flush()
        first.write("three\n")
        first.flush()
    assert Path("x").read_text() == "one\nthree\n"
    assert os.listdir() == ["x"]


@pytest.mark.parametrize("before", [None, "old\n"])
def test_a_file_that_another_run_has_finished_meanwhile_is_not_replaced(
    before: str | None,
) -> None:
    path = Path("x")
    if before is not None:
        path.write_text(before)
    seen = Seen.at(path)
    with growing_file(path, seen=seen) as file:
        file.write("one\n")
    assert path.read_text() == "one\n"
    with (
        pytest.raises(OutputError, match="another run has written it meanwhile"),
        growing_file(path, seen=seen) as file,
    ):
        file.write("two\n")
    assert path.read_text() == "one\n"
    path.unlink()
    with growing_file(path, seen=seen) as file:
        file.write("three\n")
    assert path.read_text() == "three\n"


def test_captions_beside_pictures_end_as_asked(photos: list[str]) -> None:
    for number in (1, 2):
        shard = ("--shard", f"{number}/2")
        result = tiny_g4("describe", "photos", "-f", "caption", "--extension", ".tags", *shard)
        assert result.exit_code == 0
        assert f"shard {number} of 2" in result.stderr
    texts = [Path(name).with_suffix(".tags").read_text() for name in photos]
    assert all(text.strip() and text.count("\n") == 1 for text in texts)
    again = tiny_g4("describe", "photos", "-f", "caption", "--extension", "tags")
    assert again.stderr.startswith("skipped: 12 of 12 were written before")
    assert tiny_g4("describe", photos[0], "-f", "json", "--extension", "meta").exit_code == 0
    assert json.loads(Path("photos/a/0.meta").read_text())["input"] == photos[0]


@pytest.mark.parametrize("extension", ["", ".", "a/b", "png", ".JPG", "..", " "])
def test_what_is_no_extension_of_captions(extension: str) -> None:
    picture("a.png")
    result = tiny_g4("describe", "a.png", "-f", "txt", "--extension", extension)
    assert_fails(result, 2, "--extension")


def test_an_extension_is_for_files() -> None:
    picture("a.png")
    assert_fails(tiny_g4("describe", "a.png", "--extension", "txt"), 2, "add -f txt, caption or")


def test_lines_have_the_names_of_files_below_the_folder(photos: list[str]) -> None:
    Path("photos/bad.png").write_bytes(b"no picture")
    tiny_g4("describe", "photos", "-o", "photos/metadata.jsonl", "--file-names")
    found = lines_of("photos/metadata.jsonl")
    assert [list(each)[:2] for each in found] == [["input", "file_name"]] * 13
    assert all(os.path.isfile(f"photos/{each['file_name']}") for each in found)
    (alone,) = records(tiny_g4("describe", photos[0], "--json", "--file-names"))
    assert alone["file_name"] == photos[0]
    assert_fails(tiny_g4("describe", "photos", "--file-names"), 2, "--file-names is for JSON")
    together = tiny_g4("describe", *photos[:2], "--together", "--json", "--file-names")
    assert_fails(together, 2, "--file-names is for an answer per image")


def test_a_resumed_shard_may_name_files_where_the_first_did_not(
    photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("describe", "photos", "--batch", "1", "--shard", "1/2")
    with monkeypatch.context() as patch:
        patch.setattr("gemma4cli.cli.answers.results.write_json", _Interrupting(2))
        assert tiny_g4(*command, "--json").exit_code == 130
    again = tiny_g4(*command, "--json", "--file-names")
    assert "were answered before" in again.stderr
    assert all("file_name" in each for each in records(again))


class _Interrupting:
    """Ctrl-C at a later record."""

    def __init__(self, after: int) -> None:
        self._left = after

    def __call__(self, stream: object, record: object) -> None:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt


def test_recordings_have_shards_too() -> None:
    names = [f"speech{number:02}.wav" for number in range(3)]
    Path("talks").mkdir()
    for name in names:
        Path("talks", name).write_bytes(Path(sample(name)).read_bytes())
    whole = {
        each["input"]: each["text"] for each in records(tiny_g4("transcribe", "talks", "--json"))
    }
    parts = []
    for number in (1, 2):
        output = f"{number}.jsonl"
        command = ("transcribe", "talks", "--shard", f"{number}/2", "-o", output, "--file-names")
        result = tiny_g4(*command)
        mine = len(lines_of(output))
        assert result.stderr == (
            f"shard {number} of 2: {mine} of 3 recordings\n"
            + f"shard {number} of 2: {mine} of {mine} transcribed\n" * bool(mine)
        )
        parts += lines_of(output)
    assert {each["input"]: each["text"] for each in parts} == whole
    assert sorted(each["file_name"] for each in parts) == names
    refused = tiny_g4("transcribe", "talks", "--shard", "1/2", "-o", "2.jsonl")
    assert_fails(refused, 2, "of the results of other shards")
    assert_fails(tiny_g4("transcribe", "talks", "--file-names"), 2, "--file-names is for JSON")


def test_a_server_answers_shards(photos: list[str]) -> None:
    model = QueuedModel.alone(lambda: api.load("tiny"))
    command = ("describe", "photos", "--shard", "2/3", "--temperature", "0")
    here = tiny_g4(*command)
    with serving(model) as url:
        there = g4(*command, "--server", url)
    model.queue.close()
    assert (there.exit_code, there.stdout, there.stderr) == (0, here.stdout, here.stderr)


def started(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gemma4cli", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def journaled(folder: str) -> dict[Path, int]:
    """How many items each journal has."""
    kept = Path(os.environ["XDG_STATE_HOME"]) / "g4" / folder
    paths = kept.glob("*.jsonl") if kept.exists() else ()
    return {path: path.read_bytes().count(b"\n") - 1 for path in paths}


@pytest.mark.slow
def test_shards_that_are_killed_twice_lose_nothing_and_answer_nothing_twice() -> None:
    for number in range(100):
        picture(f"photos/{number:02}.png", ("red", "blue", "green")[number % 3])
    common = ("describe", "-m", "tiny", "photos", "--batch", "1", "--temperature", "0")
    whole = {each["input"]: each["text"] for each in records(g4(*common, "--json"))}
    commands = [(*common, "--shard", f"{n}/2", "-o", f"{n}.jsonl") for n in (1, 2)]
    before: dict[Path, int] = {}
    for _ in range(2):
        running = [started(*command) for command in commands]
        deadline = time.monotonic() + PATIENCE
        while len(now := journaled("answers")) < 2 or any(
            now[path] < before.get(path, 0) + 3 for path in now
        ):
            assert time.monotonic() < deadline
            assert all(process.poll() is None for process in running)
            time.sleep(0.005)
        for process in running:
            process.kill()
            process.communicate()
        now = journaled("answers")
        assert now.keys() >= before.keys()
        assert all(now[path] > before.get(path, 0) for path in now)
        before = now
    kept = {line["record"]["input"]: line["record"] for path in before for line in items(path)}
    assert len(kept) == sum(before.values())
    found = {}
    for command, output in zip(commands, ("1.jsonl", "2.jsonl"), strict=True):
        result = g4(*command)
        assert result.exit_code == 0
        assert "were answered before" in result.stderr
        mine = lines_of(output)
        assert len({each["input"] for each in mine}) == len(mine)
        found.update({each["input"]: each for each in mine})
    assert {name: each["text"] for name, each in found.items()} == whole
    # The time it took is that of the first answer: there was no second one.
    assert {name: found[name] for name in kept} == kept
    assert journaled("answers") == {}


def items(journal: Path) -> list[dict[str, Any]]:
    lines = journal.read_bytes().split(b"\n")[1:-1]
    return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_shards_of_recordings_that_are_killed_twice_lose_nothing() -> None:
    Path("talks").mkdir()
    for number in range(24):
        Path("talks", f"{number:02}.wav").write_bytes(Path(sample("speech00.wav")).read_bytes())
    common = ("transcribe", "-m", "tiny", "talks", "--batch", "1")
    mine = len(records(g4(*common, "--shard", "1/2", "--json")))
    command = (*common, "--shard", "1/2", "-o", "1.jsonl")
    for least in (2, 5):
        process = started(*command)
        deadline = time.monotonic() + PATIENCE
        while sum(count > 0 for count in journaled("transcripts").values()) < least:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.002)
        process.kill()
        process.communicate()
    result = g4(*command)
    assert result.exit_code == 0
    assert result.stderr.count("resumes at") >= 5
    names = [each["input"] for each in lines_of("1.jsonl")]
    assert len(names) == len(set(names)) == mine
    assert journaled("transcripts") == {}


@pytest.mark.slow
def test_two_shards_at_once_do_not_tear_one_file() -> None:
    for number in range(40):
        picture(f"photos/{number:02}.png")
    common = ("describe", "-m", "tiny", "photos", "--batch", "1", "-o", "all.jsonl")
    running = [started(*common, "--shard", f"{n}/2") for n in (1, 2)]
    errors = [process.communicate(timeout=PATIENCE)[1].decode() for process in running]
    codes = [process.returncode for process in running]
    (lost,) = [n for n in (0, 1) if codes[n]]
    assert any(
        why in errors[lost]
        for why in ("another run", "of the results of other shards")  # whichever came when
    )
    wanted = {f"photos/{n:02}.png" for n in range(40) if number_of(f"{n:02}.png", 2) == 2 - lost}
    assert {each["input"] for each in lines_of("all.jsonl")} == wanted
    again = (*common, "--shard", f"{lost + 1}/2", "--skip-existing")
    assert g4(*again).exit_code == 0
    assert len(lines_of("all.jsonl")) == 40


def test_a_log_says_how_far_a_shard_is(photos: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal there is no bar; nobody would know for hours."""
    monkeypatch.setattr("gemma4cli.cli.output.progress.LOG_SECONDS", 0.0)
    command = ("describe", "photos", "--shard", "1/1", "--json", "--max-tokens", "1")
    result = tiny_g4(*command)
    first, *logged, last = result.stderr.splitlines()
    logged = [line for line in logged if "truncated" not in line]
    counts = [line.partition(", ")[0] for line in logged]
    assert counts == [f"{number} of 12 images" for number in range(1, 13)]
    assert all(re.fullmatch(r".*, \d+\.\d\d images/s, \d+:\d\d left", line) for line in logged)
    assert (first, last) == ("shard 1 of 1: 12 of 12 images", "shard 1 of 1: 12 of 12 answered")
    assert tiny_g4(*command, "-q").stderr == ""
    Path("talks").mkdir()
    Path("talks/a.wav").write_bytes(Path(sample("speech00.wav")).read_bytes())
    heard = tiny_g4("transcribe", "talks", "--json")
    assert re.search(r"talks/a\.wav: at 0:02/0:02, recording 1 of 1\n", heard.stderr)
    monkeypatch.setattr("gemma4cli.cli.output.progress.LOG_SECONDS", 300.0)
    assert tiny_g4("transcribe", "talks", "--json").stderr == ""
