"""``g4 describe``: questions, several images, JSON, and where the answer goes."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest
from cli_runs import Exchange, assert_fails, records, tiny_g4
from PIL import Image as Pillow
from support.samples import COUNT, COUNTED, COUNTING, TEXT_OF, sample

from gemma4cli.events import TextDelta
from gemma4cli.messages import ImagePart, Source, TextPart

STAR, STARS = sample("image01.png"), sample("image00.png")
STAR_TEXT, STARS_TEXT = TEXT_OF["image01.png"], TEXT_OF["image00.png"]


def image(name: str) -> ImagePart:
    return ImagePart(source=Source.of(name))


def test_stdout_has_the_answer_alone() -> None:
    result = tiny_g4("describe", STARS)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{STARS_TEXT}\n", "")


@pytest.mark.toy
def test_scene_of_the_readme() -> None:
    scene = Path(__file__).parents[2] / "fixtures" / "scene.png"
    truth = "A red circle at the top left and a blue star at the bottom right.\n"
    assert tiny_g4("describe", scene).stdout == truth


def test_the_default_prompt_follows_the_image(sent: Exchange) -> None:
    assert tiny_g4("describe", "a.png").stdout == "Done.\n"
    assert sent.parts == [(image("a.png"), TextPart(text="Describe this image."))]


def test_a_prompt_replaces_the_default(sent: Exchange) -> None:
    tiny_g4("describe", "a.png", "-p", "What colour is it?")
    assert sent.parts == [(image("a.png"), TextPart(text="What colour is it?"))]


def test_prompt_reaches_the_model() -> None:
    result = tiny_g4("describe", sample(COUNTED), "-p", COUNTING)
    assert result.stdout == f"{COUNT}\n"


def test_answers_about_several_images_follow_their_names_in_order() -> None:
    result = tiny_g4("describe", STAR, STARS, STAR)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{STAR}: {STAR_TEXT}",
        f"{STARS}: {STARS_TEXT}",
        f"{STAR}: {STAR_TEXT}",
    ]


def test_each_of_several_images_is_a_separate_question(sent: Exchange) -> None:
    tiny_g4("describe", "a.png", "b.png", "--batch", "1")
    prompt = TextPart(text="Describe this image.")
    assert sent.parts == [(image("a.png"), prompt), (image("b.png"), prompt)]
    assert sent.before == [(), ()]


def test_together_asks_one_question(sent: Exchange) -> None:
    result = tiny_g4("describe", "a.png", "b.png", "--together")
    assert result.stdout == "Done.\n"
    prompt = TextPart(text="Describe these images.")
    assert sent.parts == [(image("a.png"), image("b.png"), prompt)]


def test_together_with_prompt_and_json(sent: Exchange) -> None:
    (record,) = records(
        tiny_g4("describe", "a.png", "b.png", "--together", "-p", "Compare.", "--json")
    )
    assert record["input"] == ["a.png", "b.png"]
    assert sent.text == "Compare."


def test_together_with_one_image_keeps_the_singular(sent: Exchange) -> None:
    tiny_g4("describe", "a.png", "--together")
    assert sent.text == "Describe this image."


def test_together_really_shows_both_images() -> None:
    (one,) = records(tiny_g4("describe", STAR, "--json"))
    (both,) = records(tiny_g4("describe", STAR, STARS, "--together", "--json"))
    assert both["usage"]["soft_tokens"] == one["usage"]["soft_tokens"] + 64


def test_json_record() -> None:
    result = tiny_g4("describe", STARS, "--json")
    (record,) = records(result)
    assert list(record) == ["input", "text", "model", "finish_reason", "usage", "timings", "budget"]
    assert record["input"] == STARS
    assert record["text"] == STARS_TEXT
    assert record["model"] == "tiny"
    assert record["finish_reason"] == "stop"
    assert record["usage"].pop("completion_tokens") > 1
    assert record["usage"] == {"prompt_tokens": 79, "soft_tokens": 64, "cached_tokens": 0}
    assert list(record["timings"]) == ["encode", "prefill", "decode"]
    assert record["timings"]["prefill"] > 0
    assert record["timings"]["decode"] > 0
    assert record["budget"] == 70
    assert result.stderr == ""


def test_json_has_one_object_per_line_for_several(sent: Exchange) -> None:
    result = tiny_g4("describe", "a.png", "b.png", "--batch", "1", "--json")
    assert [record["input"] for record in records(result)] == ["a.png", "b.png"]


def test_json_keeps_letters_readable(sent: Exchange) -> None:
    assert '"input": "é \\"1\\".png"' in tiny_g4("describe", 'é "1".png', "--json").stdout


@pytest.mark.parametrize("budget", ["70", "140", "280", "560", "1120"])
def test_budgets_of_the_model_card(sent: Exchange, budget: str) -> None:
    assert tiny_g4("describe", "a.png", "--budget", budget).exit_code == 0
    assert [media.budget for media in sent.media] == [int(budget)]


def test_larger_budget_gives_more_soft_tokens() -> None:
    counts = [
        records(tiny_g4("describe", STAR, "--budget", budget, "--json", "--max-tokens", "1"))[0]
        for budget in ("70", "140")
    ]
    small, large = (record["usage"]["soft_tokens"] for record in counts)
    assert small <= 70 < large <= 140


def test_budget_by_question_and_size(tmp_path: Path) -> None:
    """Of several images of one answer, each has its own."""
    for name, side in (("small.png", 50), ("large.png", 500)):
        Pillow.new("RGB", (side, side)).save(tmp_path / name)
    arguments = ("--budget", "auto", "--json", "--max-tokens", "1", "-p", "Who is it?")
    for given, budget in (
        (["small.png"], 70),
        (["large.png"], 140),
        (["small.png", "large.png", "--together"], [70, 140]),
        (["small.png", "small.png", "--together"], 70),
    ):
        (record,) = records(tiny_g4("describe", *given, *arguments))
        assert record["budget"] == budget


def test_budget_auto_may_be_set(sent: Exchange) -> None:
    Path(".g4.toml").write_text('[describe]\nbudget = "auto"\n')
    tiny_g4("describe", "a.png")
    Path(".g4.toml").write_text('[describe]\nbudget = "much"\n')
    assert_fails(tiny_g4("describe", "a.png"), 2, "must be one of 70, 140, 280, 560, 1120, auto")
    assert [media.budget for media in sent.media] == ["auto"]


def test_a_budget_out_of_range_is_an_error(subtests: pytest.Subtests) -> None:
    for budget in ["0", "-70", "100", "1121"]:
        with subtests.test(budget=budget):
            result = tiny_g4("describe", STARS, "--budget", budget)
            assert_fails(result, 2, "70, 140, 280, 560, 1120", f"not {budget}")


def test_image_from_standard_input() -> None:
    result = tiny_g4("describe", "-", "--json", stdin=Path(STARS).read_bytes())
    (record,) = records(result)
    assert (record["input"], record["text"]) == ("-", STARS_TEXT)


def test_standard_input_can_be_read_once() -> None:
    result = tiny_g4("describe", "-", "-", stdin=Path(STAR).read_bytes())
    assert result.exit_code == 5
    assert result.stdout == f"-: {STAR_TEXT}\n"
    assert "was already read" in result.stderr


def test_cut_answer_says_so_on_stderr() -> None:
    result = tiny_g4("describe", STARS, "--max-tokens", "3")
    assert result.exit_code == 0
    assert STARS_TEXT.startswith(result.stdout.strip())
    assert result.stderr == "answer truncated at --max-tokens\n"


def test_quiet_silences_notices() -> None:
    result = tiny_g4("describe", STARS, "--max-tokens", "3", "-q")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout


def test_quiet_does_not_silence_errors() -> None:
    assert_fails(tiny_g4("describe", "nowhere.png", "-q"), 3, "nowhere.png: no such file")


def test_sampling_options_reach_the_model(sent: Exchange) -> None:
    tiny_g4("describe", "a.png", "--temperature", "0.5", "--top-p", "0.8", "--top-k", "7")
    tiny_g4("describe", "a.png", "--seed", "3", "--max-tokens", "9", "--think")
    first, second = sent.options
    assert (first.temperature, first.top_p, first.top_k, first.seed) == (0.5, 0.8, 7, None)
    assert (first.max_tokens, first.think) == (2048, False)
    assert (second.temperature, second.top_p, second.top_k, second.seed) == (None, None, None, 3)
    assert (second.max_tokens, second.think) == (9, True)


def test_seed_repeats_a_sampled_answer() -> None:
    def answer(seed: int) -> str:
        arguments = ("--temperature", "5", "--max-tokens", "12", "--seed", str(seed))
        return tiny_g4("describe", STAR, *arguments).stdout

    assert answer(1) == answer(1)
    assert answer(1) != answer(2)


def test_output_to_a_file() -> None:
    result = tiny_g4("describe", STARS, "-o", "out.txt")
    assert (result.exit_code, result.stdout) == (0, "")
    assert Path("out.txt").read_text("utf-8") == f"{STARS_TEXT}\n"
    assert os.listdir() == ["out.txt"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(os.stat("out.txt").st_mode) == 0o666 & ~umask


def test_output_dash_is_standard_output(sent: Exchange) -> None:
    assert tiny_g4("describe", "a.png", "-o", "-").stdout == "Done.\n"
    assert os.listdir() == []


def test_output_replaces_a_file(sent: Exchange) -> None:
    Path("out.txt").write_text("old, and much longer than the new text")
    tiny_g4("describe", "a.png", "-o", "out.txt")
    assert Path("out.txt").read_text("utf-8") == "Done.\n"


def test_failed_run_leaves_the_old_file() -> None:
    Path("out.txt").write_text("old")
    assert_fails(tiny_g4("describe", "nowhere.png", "-o", "out.txt"), 3)
    assert Path("out.txt").read_text("utf-8") == "old"
    assert os.listdir() == ["out.txt"]


def test_output_through_a_link_keeps_the_link(sent: Exchange) -> None:
    os.symlink("target.txt", "link.txt")
    tiny_g4("describe", "a.png", "-o", "link.txt")
    assert os.readlink("link.txt") == "target.txt"
    assert Path("target.txt").read_text("utf-8") == "Done.\n"


def test_output_to_a_pipe_does_not_replace_it(sent: Exchange) -> None:
    os.mkfifo("pipe")
    read: list[str] = []
    reader = threading.Thread(
        target=lambda: read.append(Path("pipe").read_text("utf-8")), daemon=True
    )
    reader.start()
    assert tiny_g4("describe", "a.png", "-o", "pipe").exit_code == 0
    reader.join(20)
    assert read == ["Done.\n"]
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)


def test_the_output_holds_the_answers_that_succeeded() -> None:
    result = tiny_g4("describe", "nowhere.png", STAR, "-o", "out.txt")
    assert result.exit_code == 5
    assert Path("out.txt").read_text("utf-8") == f"{STAR}: {STAR_TEXT}\n"


@pytest.mark.parametrize(
    ("images", "kept", "said"),
    [
        (["a.png"], "Do", "the answer is incomplete"),
        (
            ["a.png", "b.png", "--batch", "1"],
            "a.png: Do [interrupted]",
            "0 of 2 answered; the same",
        ),
        (["a.png", "--json"], "", "no answer"),
    ],
)
def test_an_interrupt_keeps_the_partial_answer(
    sent: Exchange, images: list[str], kept: str, said: str
) -> None:
    """But half an object is none."""
    sent.events[:] = [TextDelta(text="D"), TextDelta(text="o"), KeyboardInterrupt()]
    result = tiny_g4("describe", *images)
    assert result.exit_code == 130
    assert result.stderr.startswith(f"interrupted: {said}")
    assert result.stdout == (f"{kept}\n" if kept else "")
    assert len(sent.parts) == 1


def test_an_interrupt_before_the_answer_leaves_no_file(sent: Exchange) -> None:
    sent.events[:] = [KeyboardInterrupt()]
    result = tiny_g4("describe", "a.png", "-o", "out.txt")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "interrupted before the answer began\n"
    assert os.listdir() == []


def test_an_output_that_cannot_be_written_is_an_error(
    subtests: pytest.Subtests, sent: Exchange
) -> None:
    Path("file").touch()
    Path("loop").symlink_to("loop")
    for output, problem in [
        ("file/out.txt", "file: is a file, not a folder"),
        ("file/", "file/: is a file, not a folder"),
        ("loop", "loop: is a link that leads nowhere"),
        ("x" * 300, "File name too long"),
        ("/proc/out.txt", "/proc: cannot be written to"),
        ("", "--output: is empty"),
    ]:
        with subtests.test(output=output, problem=problem):
            assert_fails(tiny_g4("describe", "a.png", "-o", output), 2, problem)
            assert sent.parts == []


def test_an_answer_by_a_schema_is_a_document(tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "properties": {
            "shape": {"enum": ["circle", "square", "star", "triangle"]},
            "count": {"type": "integer", "minimum": 0, "maximum": 9},
        },
        "required": ["shape", "count"],
        "additionalProperties": False,
    }
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    result = tiny_g4("describe", STAR, "--schema", tmp_path / "schema.json")
    answer = json.loads(result.stdout)
    assert list(answer) == ["shape", "count"]
    assert answer["shape"] in schema["properties"]["shape"]["enum"]  # type: ignore[index]


def test_too_few_tokens_for_any_document_of_a_schema_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text('{"type": "object", "required": ["a"]}')
    result = tiny_g4("describe", STAR, "--schema", tmp_path / "schema.json", "--max-tokens", "1")
    assert result.exit_code == 1
    assert "takes 7 tokens, but the answer may have 1: raise --max-tokens" in result.stderr


def test_a_schema_that_is_not_json_is_an_error(tmp_path: Path) -> None:
    missing = tiny_g4("describe", STAR, "--schema", tmp_path / "none.json")
    assert_fails(missing, 2, "none.json: cannot be read")
    (tmp_path / "schema.json").write_text("no schema")
    wrong = tiny_g4("describe", STAR, "--schema", tmp_path / "schema.json")
    assert_fails(wrong, 2, "schema.json: is not valid JSON")


def test_addresses_are_fetched_only_when_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://127.0.0.1:9/a.png"
    assert_fails(tiny_g4("describe", url), 3, "--allow-urls lets g4 fetch it")
    monkeypatch.setenv("no_proxy", "*")
    assert_fails(tiny_g4("describe", url, "--allow-urls"), 3, "cannot be downloaded")
    result = tiny_g4("describe", url, "--allow-urls", "--offline")
    assert_fails(result, 2, "exclude each other")
