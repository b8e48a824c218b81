"""What the help of each command shows as examples."""

from __future__ import annotations

from collections.abc import Mapping

PROJECT = "https://github.com/g4-cli/g4"
"""Where the project is, as in pyproject.toml."""

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "": (
        "g4 describe photo.jpg",
        "g4 transcribe talk.mp3 -f srt -o talk.srt",
        'g4 video clip.mp4 -p "What happens?"',
        "g4 chat",
        "g4 chat -m tiny   # a built-in toy, no download",
    ),
    "describe": (
        "g4 describe photo.jpg",
        'g4 describe photo.jpg "What color is the car?"',
        "g4 describe photos/ --json",
        'g4 describe before.png after.png --together -p "What changed?"',
        "g4 describe photos/ -f caption --extension txt   # a.txt beside a.png, one line each",
        "g4 describe photos/ --shard 2/8 -o captions-2.jsonl   # one of eight runs",
    ),
    "transcribe": (
        "g4 transcribe talk.mp3",
        "g4 transcribe talks/ -f srt -o subtitles/",
        "g4 transcribe talk.mp3 --language de --translate-to en",
        "g4 transcribe --mic",
        "g4 transcribe talks/ --shard 2/8 -f all -o out/   # one of eight runs",
    ),
    "video": (
        "g4 video clip.mp4",
        'g4 video clip.mp4 "What is on the table?" --from 0:01 --to 0:03',
        "g4 video lecture.mp4 --segment 5m",
    ),
    "chat": (
        "g4 chat",
        'g4 chat --image photo.jpg -p "What is this?"',
        "g4 chat -c",
        'g4 chat --functions tools.py -p "What time is it?"   # the model may call its functions',
        'git diff | g4 chat -p "Write a commit message for this change."',
    ),
    "serve": (
        "g4 serve",
        "g4 serve -m e2b --port 8080",
        "G4_SERVE_TOKEN=... g4 serve --host 0.0.0.0",
    ),
    "tune": (
        "g4 tune pictures/ -o style/   # a.png with a.txt, b.png with b.txt ...",
        "g4 tune talks.jsonl -m e2b -o helper/ --rounds 2",
        "g4 describe photo.jpg --adapter style/",
    ),
    "models": ("g4 models list --all", "g4 models pull e2b", "g4 models info e2b"),
    "models list": ("g4 models list", "g4 models list --all --json"),
    "models pull": ("g4 models pull e2b", "g4 models pull e2b:8bit --yes"),
    "models rm": ("g4 models rm e2b",),
    "models merge": (
        "g4 models merge e2b --adapter ./my-lora -o ./my-model",
        "g4 models merge ./my-lora -o ./my-model",
    ),
    "models path": ("g4 models path tiny",),
    "models info": ("g4 models info tiny", "g4 models info e2b:8bit --json"),
    "doctor": ("g4 doctor", "g4 doctor --json > report.json"),
    "trace": ("g4 trace conversation.json -o trace.npz",),
    "config": (
        "g4 config",
        "g4 config chat",
        "g4 config set max_tokens 512",
        "g4 config set chat.system 'Be brief.' --project",
    ),
    "completion": ("g4 completion bash --install", "g4 completion zsh > _g4"),
}
"""Shell lines, by the words of the command after ``g4``."""
