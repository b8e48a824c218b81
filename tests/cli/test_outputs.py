"""Inputs and the files that are written for them."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma4cli.cli.environment import Environment
from gemma4cli.cli.output.results import opened_output
from gemma4cli.cli.run.inputs import Input, check_named_once
from gemma4cli.cli.run.options import RunOptions
from gemma4cli.cli.run.shares import inputs as inputs_of
from gemma4cli.cli.run.targets import Target, target_of
from gemma4cli.cli.transcribe.run import RECORDINGS
from gemma4cli.errors import MediaError, NonFiniteError, OptionError
from gemma4cli.messages import Source

ENV = Environment.of_process()


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def inputs(arguments: list[str]) -> list[Input]:
    return list(inputs_of(arguments, RECORDINGS, ENV.say))


def names(arguments: list[str]) -> list[str]:
    return [str(each.name) for each in inputs(arguments)]


def test_a_recording_gives_its_stem(tmp_path: Path) -> None:
    touch(tmp_path / "talk.wav", tmp_path / "talk.txt")
    assert names([str(tmp_path / "talk.wav")]) == ["talk"]


def test_recordings_side_by_side_keep_their_suffixes(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav", tmp_path / "a.mp3")
    # Also when the other one is not asked for: its transcript may be there already.
    assert names([str(tmp_path / "a.wav")]) == ["a.wav"]
    assert names([str(tmp_path / "a.wav"), str(tmp_path / "a.mp3")]) == ["a.wav", "a.mp3"]


def test_equal_names_of_two_folders_get_their_folders(tmp_path: Path) -> None:
    files = [tmp_path / "x" / "a.wav", tmp_path / "y" / "a.wav", tmp_path / "y" / "b.wav"]
    touch(*files)
    assert names([str(file) for file in files]) == ["x/a", "y/a", "b"]


def test_equal_folders_get_theirs(tmp_path: Path) -> None:
    files = [tmp_path / "1" / "x" / "a.wav", tmp_path / "2" / "x" / "a.wav"]
    touch(*files)
    assert names([str(file) for file in files]) == ["1/x/a", "2/x/a"]


def test_a_folder_is_searched(tmp_path: Path) -> None:
    touch(
        tmp_path / "b" / "2.MP3",
        tmp_path / "a.mp4",
        tmp_path / "notes.txt",
        tmp_path / ".hidden.wav",
        tmp_path / ".git" / "c.wav",
    )
    assert names([str(tmp_path)]) == ["a", "b/2"]


def test_a_folder_without_recordings_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path / "notes.txt")
    with pytest.raises(MediaError, match="contains no recordings"):
        inputs([str(tmp_path)])


def test_a_file_is_named_once(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav")
    with pytest.raises(OptionError, match="is named 2 times"):
        check_named_once(inputs([str(tmp_path / "a.wav"), str(tmp_path)]))


def test_any_named_file_is_tried(tmp_path: Path) -> None:
    assert names([str(tmp_path / "recording.xyz")]) == ["recording"]


def test_standard_input_has_a_name() -> None:
    assert inputs(["-"]) == [Input(given="-", label="stdin", origin=Source(name="-"))]


def test_a_name_with_dots_keeps_them(tmp_path: Path) -> None:
    (given,) = inputs([str(tmp_path / "v1.2.wav")])
    assert target_of(str(tmp_path), several=False, suffixes=["srt"]).paths(given) == (
        tmp_path / "v1.2.srt",
    )


def test_no_output_is_standard_output(tmp_path: Path) -> None:
    (given,) = inputs(["-"])
    assert target_of(None, several=False, suffixes=["txt"]).paths(given) == ()
    assert target_of("-", several=False, suffixes=["txt"]).paths(given) == ()


def test_one_result_goes_to_a_file(tmp_path: Path) -> None:
    (given,) = inputs(["a.wav"])
    assert target_of(str(tmp_path) + "/" + "out.srt", several=False, suffixes=["srt"]).paths(
        given
    ) == (tmp_path / "out.srt",)


def test_several_results_go_to_a_folder(tmp_path: Path) -> None:
    first, second = inputs(["a.wav", "b.wav"])
    where = target_of(str(tmp_path) + "/" + "new", several=True, suffixes=["srt", "vtt"])
    assert where.paths(first) == (tmp_path / "new" / "a.srt", tmp_path / "new" / "a.vtt")
    assert where.paths(second) == (tmp_path / "new" / "b.srt", tmp_path / "new" / "b.vtt")


def test_several_results_do_not_go_to_a_file(tmp_path: Path) -> None:
    touch(tmp_path / "out.txt")
    with pytest.raises(OptionError, match="several results need a folder"):
        target_of(str(tmp_path) + "/" + "out.txt", several=True, suffixes=["txt"])


def test_several_formats_need_a_folder() -> None:
    with pytest.raises(OptionError, match="several formats need a folder"):
        target_of(None, several=False, suffixes=["txt", "srt"])


def test_a_recording_is_never_replaced(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav")
    given = inputs([str(tmp_path / "a.wav")])
    with pytest.raises(OptionError, match="would be replaced"):
        Target(file=tmp_path / "a.wav").check(ENV, RunOptions(), given)
    Target(file=tmp_path / "a.txt").check(ENV, RunOptions(), given)


# The file of an answer


@given(
    deltas=st.lists(st.text(max_size=8), max_size=5),
    old=st.none() | st.just("old"),
    end=st.sampled_from([None, KeyboardInterrupt(), NonFiniteError("decoding")]),
)
def test_an_output_file_is_never_half_written(
    deltas: list[str], old: str | None, end: BaseException | None
) -> None:
    """Until its end, and where it fails, the old file stays; an interrupt is an end."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "out.txt"
        if old is not None:
            path.write_text(old)

        def content() -> str | None:
            return path.read_bytes().decode() if path.exists() else None

        try:
            with opened_output(path, io.StringIO()) as file:
                for delta in deltas:
                    file.write(delta)
                    file.flush()
                    assert content() == old
                if end is not None:
                    raise end
        except (KeyboardInterrupt, NonFiniteError) as raised:
            assert raised is end
        written = "".join(deltas).encode("utf-8", "backslashreplace").decode()
        kept = end is None or (isinstance(end, KeyboardInterrupt) and written)
        assert content() == (written if kept else old)
        assert [each.name for each in path.parent.iterdir()] == ["out.txt"] * path.exists()


# What -o means


def test_meaning_of_an_output(tmp_path: Path, subtests: pytest.Subtests) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").touch()
    (tmp_path / "plain").touch()
    folder, file = "folder", "file"
    for output, several, shared, expected in [
        ("folder", False, False, folder),
        ("folder/", False, False, folder),
        ("new/", False, False, folder),
        ("new/", True, True, folder),
        ("new", False, False, file),
        ("new", True, False, folder),
        ("new", True, True, folder),
        ("new.txt", False, False, file),
        ("new.txt", True, True, file),
        ("plain", True, True, file),
        ("deep/er/new.srt", False, False, file),
        ("new.txt/", True, False, folder),
        ("new.srt", True, False, "one file cannot hold several results; name a folder: -o new/"),
        ("file.txt", True, False, "is a file, but several results need a folder"),
        ("file.txt/", False, False, "is a file, not a folder"),
        ("file.txt/", True, True, "is a file, not a folder"),
    ]:
        with subtests.test(output=output, several=several, shared=shared):
            path = f"{tmp_path}/{output}"
            try:
                target = target_of(path, several=several, suffixes=["txt"], shared=shared)
            except OptionError as error:
                assert expected in str(error)
                continue
            plain = tmp_path / output.rstrip("/")
            suffixes = ("txt",) if expected == folder else ()
            assert target == Target(**{expected: plain, "suffixes": suffixes})


def test_inputs_are_protected_under_every_name(tmp_path: Path) -> None:
    media = tmp_path / "a.wav"
    media.write_bytes(b"sound")
    (tmp_path / "soft.txt").symlink_to(media)
    os.link(media, tmp_path / "hard.txt")
    given = inputs([str(media)])
    for name in ("a.wav", "soft.txt", "hard.txt", "../" + tmp_path.name + "/a.wav"):
        with pytest.raises(OptionError, match="is an input and would be replaced"):
            Target(file=tmp_path / name).check(ENV, RunOptions(), given)
    with pytest.raises(OptionError, match="is an input"):
        Target(file=tmp_path / "soft.txt").check(
            ENV, RunOptions(), inputs(["x.wav"]), others=[media]
        )
    Target(file=tmp_path / "new.txt").check(ENV, RunOptions(), given)


def test_a_folder_where_a_result_would_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OptionError, match="a result would get this name"):
        Target(folder=tmp_path, suffixes=("txt",)).check(ENV, RunOptions(), inputs(["a.wav"]))


def test_names_stay_distinct_with_suffixes_and_case(tmp_path: Path) -> None:
    for files, expected in [
        (["a.wav", "a.mp3", "a.wav.wav"], ["a.wav", "a.mp3", "a.wav.wav"]),
        (["b", "b.wav"], ["b", "b.wav"]),
        (["x/IMG.wav", "y/img.wav"], ["x/IMG", "y/img"]),
        (["x/é.wav", "y/é.wav"], ["x/é", "y/é"]),
        (["c..wav", "...wav"], ["c.", "...wav"]),
    ]:
        folder = tmp_path / str(len(os.listdir(tmp_path)))
        touch(*[folder / name for name in files])
        assert names([str(folder / name) for name in files]) == expected


def test_names_that_no_folder_tells_apart_get_checksums(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    touch(folder / "a.wav", folder / "A.wav", folder / "b.wav")
    found = names([str(folder)])
    assert [re.sub(r"~[0-9a-f]{8}$", "~", name) for name in found] == ["A.wav~", "a.wav~", "b"]
    addresses = names(["http://a.org/talk.mp3", "http://b.org/talk.mp3"])
    assert len(set(addresses)) == 2
    assert all(name.startswith("talk~") for name in addresses)
