"""``g4 tune``: what it reads, writes and says, and how it goes on after any end."""

from __future__ import annotations

import errno
import json
import os
import wave
from pathlib import Path
from xml.etree import ElementTree

import mlx.core as mx
import numpy as np
import pytest
from cli_runs import assert_fails, g4
from PIL import Image
from support.samples import sample

from gemma4cli.engine.model import LoadedModel
from gemma4cli.tuning import checkpoints, own_answers, training
from gemma4cli.tuning.events import StepDone

ONE = ("-m", "tiny", "--rank", "2", "--batch", "1", "--seed", "1")
QUICK = ("-m", "tiny", "--rank", "2", "--batch", "2", "--seed", "1")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six plain pictures whose captions are of a new kind."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, color in enumerate(("red", "blue", "green", "black", "pink", "orange")):
        Image.new("RGB", (48, 48), color).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"All {color}.\n")
    return folder


def curve_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]


def losses_of(folder: Path) -> list[tuple[int, float]]:
    return [
        (each["step"], each.get("loss", each.get("validation_loss", 0)))
        for each in curve_of(folder)
    ]


def test_an_adapter_is_learned_from_pictures_with_captions(pictures: Path) -> None:
    result = g4("tune", pictures, "-o", "style", "--steps", "4", *QUICK)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "style\n"
    assert "5 examples, 1 held out" in result.stderr
    assert "without the adapter. Use it with --adapter style" in result.stderr
    folder = Path("style")
    assert not (folder / "unfinished").exists()
    tensors = mx.load(str(folder / "adapter_model.safetensors"))
    assert "base_model.model.model.language_model.layers.0.mlp.up_proj.lora_A.weight" in tensors
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 2, 4)
    curve = curve_of(folder)
    assert [each["step"] for each in curve if "loss" in each] == [1, 2, 3, 4]
    held_out = [each["validation_loss"] for each in curve if "validation_loss" in each]
    assert held_out[-1] < held_out[0]
    drawing = ElementTree.parse(folder / "curve.svg").getroot()
    assert len(drawing.findall("{http://www.w3.org/2000/svg}polyline")) == 2


@pytest.mark.slow
def test_what_was_tuned_is_used_with_an_adapter(pictures: Path) -> None:
    """So that learning shows at once, the rate is high and nothing is held out."""
    learned = ("--steps", "14", "--rate", "0.02", "--validation", "0")
    assert g4("tune", pictures, "-o", "style", *learned, *QUICK).exit_code == 0
    question = ("describe", pictures / "0.png", "-m", "tiny", "--temperature", "0", "-q")
    assert g4(*question).stdout == "A plain red picture.\n"
    assert g4(*question, "--adapter", "style").stdout == "All red.\n"


@pytest.mark.slow
def test_the_result_as_json(pictures: Path) -> None:
    result = g4("tune", pictures, "-o", "style", "--steps", "1", "--json", "-q", *QUICK)
    record = json.loads(result.stdout)
    assert (record["step"], record["folder"], record["model"]) == (1, "style", "tiny")
    assert record["first_validation_loss"] > 0
    assert result.stderr == ""


def test_a_finished_tuning_is_not_done_again(pictures: Path) -> None:
    command = ("tune", pictures, "-o", "style", "--steps", "1", *QUICK)
    assert g4(*command).exit_code == 0
    before = (Path("style") / "adapter_model.safetensors").stat().st_mtime_ns
    again = g4(*command)
    assert "is tuned already; --restart begins again" in again.stderr
    assert not (Path("style") / "unfinished").exists()
    assert (Path("style") / "adapter_model.safetensors").stat().st_mtime_ns == before
    assert g4(*command, "--restart").exit_code == 0
    assert (Path("style") / "adapter_model.safetensors").stat().st_mtime_ns > before


@pytest.mark.slow
def test_a_folder_of_another_tuning_is_refused(pictures: Path) -> None:
    assert g4("tune", pictures, "-o", "style", "--steps", "1", *QUICK).exit_code == 0
    result = g4("tune", pictures, "-o", "style", "--steps", "2", *QUICK)
    assert_fails(result, 1, "style: is of another tuning (steps 1, not 2)")


class StopError(KeyboardInterrupt):
    """Ctrl-C."""


@pytest.mark.parametrize("end", ["Ctrl-C", pytest.param("kill -9", marks=pytest.mark.slow)])
def test_a_run_that_is_cut_off_goes_on_with_the_same_curve(
    end: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After kill -9 only what was saved before is there: here after each step but the last."""
    command = ("tune", pictures, "--steps", "4", *ONE)
    assert g4(*command, "-o", "whole").exit_code == 0
    plain = training.Training._step
    done: list[StepDone] = []

    def stopped(self: training.Training, *args: object) -> object:
        self.seconds_unsaved = 0
        if len(done) == 2:
            if end == "kill -9":
                patch.setattr(training.Training, "_save", lambda *_: None)
            raise StopError
        state, event = plain(self, *args)
        done.append(event)
        return state, event

    with monkeypatch.context() as patch:
        patch.setattr(training.Training, "_step", stopped)
        cut = g4(*command, "-o", "cut")
        assert cut.exit_code == 130
        assert "stopped after step 2; the same command goes on from there" in cut.stderr
    result = g4(*command, "-o", "cut")
    assert result.exit_code == 0, result.stderr
    assert "goes on after step 2" in result.stderr
    assert losses_of(Path("cut")) == losses_of(Path("whole"))
    one, other = (mx.load(f"{name}/adapter_model.safetensors") for name in ("whole", "cut"))
    assert all(np.array_equal(np.array(one[name]), np.array(other[name])) for name in one)


# Data


def lines(*each: object) -> Path:
    path = Path("talks.jsonl")
    path.write_text("".join(f"{json.dumps(e) if not isinstance(e, str) else e}\n" for e in each))
    return path


def talk(*said: tuple[str, object]) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role, content in said]}


def test_conversations_with_all_media_are_learned() -> None:
    for name in ("image00.png", "speech00.wav", "video00.mp4"):
        Path(name).write_bytes(Path(sample(name)).read_bytes())
    media = [
        {"type": kind, "path": name}
        for kind, name in (
            ("image", "image00.png"),
            ("audio", "speech00.wav"),
            ("video", "video00.mp4"),
        )
    ]
    file = lines(
        talk(("user", "Hi"), ("assistant", "Ahoy."), ("user", "Bye"), ("assistant", "Ahoy!")),
        *(talk(("user", [each]), ("assistant", "Ahoy.")) for each in media),
        {"prompt": "Who?", "completion": "Me."},
    )
    chosen = ("--steps", "1", "--validation", "0", *QUICK)
    result = g4("tune", file, "-o", "out", *chosen)
    assert result.exit_code == 0, result.stderr
    assert "5 examples" in result.stderr


def test_every_fault_is_named_before_a_model_is_loaded() -> None:
    file = lines(
        talk(("user", "Hi"), ("assistant", "Ahoy.")),
        "{",
        talk(("user", "Hi")),
        "",
        talk(("user", "Hi"), ("assistant", " ")),
        talk(("user", [{"type": "image", "path": "none.png"}]), ("assistant", "Ahoy.")),
        {"text": "Hi. Ahoy."},
    )
    result = g4("tune", file, "-m", "no-such-model", "-o", "out")
    said = result.stderr.splitlines()
    for line, problem in (
        (2, ""),
        (3, "has no answer"),
        (5, "is an empty answer"),
        (6, "none.png: no such file"),
        (7, "no answer can be told from a question"),
    ):
        assert any(
            each.startswith(f"g4: talks.jsonl:{line}: ") and problem in each for each in said
        ), line
    assert said[-1].startswith("g4: talks.jsonl: 5 of 6 examples cannot be learned from")
    assert result.exit_code == 3
    assert not Path("out").exists()


def test_a_damaged_picture_is_named_before_the_first_step(pictures: Path) -> None:
    (pictures / "3.png").write_bytes(b"no picture")
    (pictures / "5.png").write_bytes(b"")
    result = g4("tune", pictures, "-o", "style", *QUICK)
    assert result.exit_code == 3
    assert f"g4: {pictures / '3.png'}: " in result.stderr
    assert f"g4: {pictures / '5.png'}: " in result.stderr
    assert "2 of 6 examples cannot be learned from" in result.stderr
    assert not (Path("style") / "curve.jsonl").exists()


def test_a_picture_without_a_caption_is_named(pictures: Path) -> None:
    (pictures / "2.txt").unlink()
    (pictures / "4.txt").write_text(" \n")
    result = g4("tune", pictures, "-m", "tiny", "-o", "style")
    assert result.exit_code == 3
    assert "2 of 6 examples cannot be learned from" in result.stderr
    assert "2.png: has no text: 2.txt is not beside it" in result.stderr
    assert "4.txt: is empty" in result.stderr


def test_examples_that_are_too_long_are_counted() -> None:
    file = lines(
        talk(("user", "Hi"), ("assistant", "Ahoy.")),
        talk(("user", "Hi " * 50), ("assistant", "Ahoy.")),
    )
    chosen = ("--steps", "1", "--longest", "40", *QUICK)
    result = g4("tune", file, "-o", "out", *chosen)
    assert "talks.jsonl:2: skipped: " in result.stderr
    assert "1 example, 1 too long" in result.stderr


def recording_of(*names: str) -> Path:
    """Recordings one after the other."""
    path = Path("talks") / "long.wav"
    path.parent.mkdir()
    sound = b""
    for name in names:
        with wave.open(sample(name)) as file:
            sound += file.readframes(file.getnframes())
            facts = file.getparams()
    with wave.open(str(path), "wb") as file:
        file.setparams(facts)
        file.writeframes(sound)
    return path


def test_a_long_recording_is_learned_in_pieces_only_with_times() -> None:
    recording = recording_of(*["speech00.wav", "speech01.wav"] * 10)
    recording.with_suffix(".txt").write_text("All that is said.")
    chosen = ("-o", "out", "--steps", "1", *QUICK)
    whole = g4("tune", "talks", *chosen)
    assert whole.exit_code == 3
    assert "long.wav: only the first 10 s of 40.7 s are used" in whole.stderr
    assert "put a transcript with times beside it" in whole.stderr
    cues = [f"{n}\n00:00:{4 * n:02},000 --> 00:00:{4 * n + 3:02},500\nWord.\n" for n in range(9)]
    recording.with_suffix(".srt").write_text("\n".join(cues))
    result = g4("tune", "talks", *chosen)
    assert result.exit_code == 0, result.stderr
    assert "4 examples, 1 held out: " in result.stderr
    recording.with_suffix(".srt").write_text("00:00:01,000 --> 00:00:13,000\nWord.\n")
    assert (
        "lasts 12 s, and the model hears 10 s at once: divide it"
        in g4("tune", "talks", *chosen).stderr
    )


KEEP = talk(("user", "Who are you?"))


@pytest.mark.slow
def test_what_is_kept_moves_less(pictures: Path) -> None:
    """The distance from the model before, after the same steps with and without its weight."""
    file = lines(KEEP, KEEP, talk(("user", "Hello"), ("assistant", "Ignored.")))
    far: list[float] = []
    for weight in ("0.0001", "4"):
        folder = f"with{weight}"
        chosen = ("--steps", "10", "--rate", "0.01", "--keep-weight", weight)
        result = g4("tune", pictures, "--keep", file, "-o", folder, *chosen, *QUICK)
        assert result.exit_code == 0, result.stderr
        assert "5 examples, 1 held out, 3 kept" in result.stderr
        far.append([each["drift"] for each in curve_of(Path(folder)) if "drift" in each][-1])
    assert far[1] < far[0] / 2
    again = g4("tune", pictures, "--keep", file, "-o", folder, *chosen, *QUICK)
    assert "is tuned already" in again.stderr
    lines(KEEP)
    other = g4("tune", pictures, "--keep", file, "-o", folder, *chosen, *QUICK)
    assert_fails(other, 1, f"{folder}: is of another tuning (")


def test_a_check_learns_nothing_and_what_it_computed_is_used(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("tune", pictures, "--keep", lines(KEEP), "-o", "out", "--steps", "1", *QUICK)
    result = g4(*command, "--check", "--json")
    assert result.exit_code == 0, result.stderr
    assert "the longest example has " in result.stderr
    found = json.loads(result.stdout)
    assert (found["examples"], found["held_out"], found["kept"], found["steps"]) == (5, 1, 1, 1)
    assert found["longest"] > 10 and found["memory"] > 10**6
    assert found["seconds"] >= found["step_seconds"] > 0
    assert {each.name for each in Path("out").iterdir()} == {"unfinished"}
    (pictures / "1.png").write_bytes(b"no picture")
    assert g4(*command, "--check").exit_code == 3
    Image.new("RGB", (48, 48), "blue").save(pictures / "1.png")
    monkeypatch.setattr(own_answers, "prompt_of", lambda *_: pytest.fail("is asked again"))
    assert g4(*command).exit_code == 0


def test_an_adapter_is_written_again_for_mlx_lm(pictures: Path) -> None:
    command = ("tune", pictures, "-o", "style", "--steps", "1", *QUICK)
    assert g4(*command).exit_code == 0
    folder = Path("style")
    first = mx.load("style/adapter_model.safetensors")
    again = g4(*command, "--layout", "mlx-lm")
    assert "is tuned already; written again for mlx-lm; --restart" in again.stderr
    assert not (folder / "unfinished").exists()
    assert not (folder / "adapter_model.safetensors").exists()
    second = mx.load("style/adapters.safetensors")
    assert set(second) >= {"language_model.model.layers.0.mlp.up_proj.lora_a"}
    assert json.loads((folder / "adapter_config.json").read_text())["num_layers"] == -1
    assert g4("describe", pictures / "0.png", "-m", "tiny", "--adapter", "style").exit_code == 0
    assert g4(*command).exit_code == 0
    third = mx.load("style/adapter_model.safetensors")
    assert all(np.array_equal(np.array(first[name]), np.array(third[name])) for name in first)


def test_no_folder_and_unknown_layers(pictures: Path) -> None:
    assert_fails(g4("tune", pictures, "-m", "tiny"), 2, "name the adapter's folder with -o DIR")
    unknown = ("-o", "x", "--targets", "attention,wings")
    result = g4("tune", pictures, "-m", "tiny", *unknown)
    assert_fails(result, 2, "--targets wings: this model has no such layers")
    assert_fails(g4("tune", "nowhere", "-m", "tiny", "-o", "x"), 3, "nowhere: no such file")


def test_more_memory_than_there_is_is_foreseen(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gemma4cli.tuning import fit

    monkeypatch.setattr(fit, "available_memory", lambda: 10**6)
    result = g4("tune", pictures, "-o", "style", "--steps", "1", *QUICK)
    assert_fails(result, 1, "of memory; 1 MB available: leave out longer examples with --longest")


@pytest.mark.slow
def test_towers_can_be_tuned(tiny: LoadedModel, pictures: Path) -> None:
    chosen = ("--steps", "1", "--targets", "vision,projections", *QUICK)
    result = g4("tune", pictures, "-o", "style", *chosen)
    assert result.exit_code == 0, result.stderr
    tensors = mx.load("style/adapter_model.safetensors")
    name = "base_model.model.model.vision_tower.encoder.layers.0.self_attn.q_proj.linear"
    assert f"{name}.lora_B.weight" in tensors
    assert float(mx.abs(tensors[f"{name}.lora_B.weight"]).max().item()) > 0
    assert type(tiny.network.language_model.model.layers[0]).__name__ != "RecomputedLayer"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_is_full_or_read_only_names_the_folder(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = lines(talk(("user", "Hi"), ("assistant", "Ahoy.")))
    command = ("tune", file, "-o", "out", "--steps", "1", *QUICK)

    def full(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "save_tensors", full)
        result = g4(*command)
    assert result.exit_code == 1
    said = result.stderr.splitlines()[-1]
    assert said.startswith(f"g4: out: cannot be written ({os.strerror(code)}); once it can, the")
    assert g4(*command).exit_code == 0
