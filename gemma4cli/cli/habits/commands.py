"""Commands that people know from ollama, llm, whisper and others, as one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Rest = Literal["append", "model", "ask", "drop", "this", "this model"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandHabit:
    """A command that g4 does not have.

    ``instead`` is typed in its place. What follows it stays (``append``), is a model and then a
    question (``model``), is a question with files or without (``ask``), or is left out (``drop``).
    With ``this`` and ``this model``, the command itself is the first such word. Without ``instead``
    there is only the reason, ``why``.
    """

    typed: tuple[str, ...]
    instead: str
    rest: Rest = "append"
    why: str = ""


def _of(
    typed: str,
    instead: str = "",
    rest: Rest = "append",
    why: str = "",
) -> CommandHabit:
    return CommandHabit(typed=tuple(typed.split()), instead=instead, rest=rest, why=why)


_ONE_CALL = "a model stays loaded in g4 serve and g4 chat only"
_ALIASES = "tiny e2b e4b 12b 26b 31b"

COMMAND_HABITS: Mapping[str, tuple[CommandHabit, ...]] = {
    "": (
        _of("list ls tags", "models list"),
        _of("pull download get fetch install", "models pull"),
        _of("rm remove delete uninstall", "models rm"),
        _of("show info inspect", "models info"),
        _of("run", "chat", "model"),
        _of("ps stop unload", "models list", "drop", _ONE_CALL),
        _of("server start api", "serve"),
        _of("logs log history sessions conversations", "chat --list", "drop"),
        _of("resume continue", "chat -c", "drop"),
        _of("prompt ask query generate complete answer question say p q", "chat", "ask"),
        _of(
            "caption image images see look vision ocr picture photo img describe-image", "describe"
        ),
        _of(
            "transcript transcription stt asr whisper audio speech listen dictate subtitles "
            "subtitle captions srt",
            "transcribe",
        ),
        _of("mic record microphone", "transcribe --mic", "drop"),
        _of("translate", "transcribe --translate-to English"),
        _of("watch clip movie summarize-video videos", "video"),
        _of("repl shell interactive talk converse", "chat"),
        _of("settings setting configure preferences options env", "config"),
        _of("check diagnose diagnostics status system-info devices", "doctor"),
        _of("completions autocomplete install-completion", "completion"),
        _of(_ALIASES, "chat", "this model"),
        _of("aliases alias search find", "models list --all", "drop"),
        _of("default use", "config set model"),
        _of("bench benchmark speed", "doctor", "drop"),
        _of("new", "chat", "drop"),
        _of("create", why="g4 makes no models: -m FOLDER runs one, --system TEXT instructs it"),
        _of("cp copy push publish upload", why="g4 reads the cache of the hub and copies nothing"),
        _of("login logout signin signout keys key auth", why="g4 needs no key or account"),
        _of("embed embeddings embed-multi similar", why="g4 makes no embeddings"),
        _of("templates template roles role", why="g4 config set chat.system TEXT instructs it"),
        _of("plugins plugin tools schemas fragments agent", why="g4 has no plugins and tools"),
        _of("update upgrade", why="g4 is updated as it was installed: pip, pipx or uv tool"),
    ),
    "models": (
        _of("ls all show-all available search find aliases", "list --all", "drop"),
        _of("default use set", why="g4 config set model NAME sets the default"),
        _of("run chat", why="g4 chat -m NAME runs a model"),
        _of("show inspect describe", "info"),
        _of("remove delete uninstall", "rm"),
        _of("download get fetch add install", "pull"),
        _of("where which dir folder", "path"),
        _of(_ALIASES, "info", "this"),
    ),
}
"""By the group that they would belong to."""
