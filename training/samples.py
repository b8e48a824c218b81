"""A small held-out set as files, with what is asked about them and the right answers.

    python -m training.samples FOLDER

The test suite measures the built-in model on it. FOLDER gets the media and ``tiny.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from .evaluation import pictures, speech, talk, videos
from .evaluation.cases import Case

_LARGEST_PICTURE = 40_000
"""Bytes of a PNG file; noise packs badly, and what is larger becomes a JPEG file."""
_QUALITY = 90
_COUNTS: dict[Callable[[int], Iterator[Case]], int] = {
    speech.cases: 5,
    pictures.cases: 3,
    videos.cases: 4,
    talk.cases: 8,
}


def write(folder: Path) -> None:
    """The media of all cases, each once, and the list of cases."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = [_stored(case, folder) for make, count in _COUNTS.items() for case in make(count)]
    text = json.dumps(cases, indent=1, ensure_ascii=False)
    (folder / "tiny.json").write_text(text + "\n", "utf-8")


def _stored(case: Case, folder: Path) -> dict[str, Any]:
    slug = "-".join(case.row.split(":")[0].split())
    return {
        "row": case.row,
        "prompt": case.prompt,
        "answer": case.answer,
        "score": case.score,
        "budget": case.budget,
        "before": list(case.before),
        "images": [_file(folder, slug, *_picture(data)) for data in case.images],
        "audio": [_file(folder, slug, data, "wav") for data in case.clips],
        "videos": [_file(folder, slug, data, "mp4") for data in case.videos],
    }


def _file(folder: Path, slug: str, data: bytes, suffix: str) -> str:
    """The name of a file with these bytes; the same bytes always have the same name."""
    name = f"{slug}-{hashlib.sha256(data).hexdigest()[:8]}.{suffix}"
    (folder / name).write_bytes(data)
    return name


def _picture(png: bytes) -> tuple[bytes, str]:
    if len(png) <= _LARGEST_PICTURE:
        return png, "png"
    file = io.BytesIO()
    Image.open(io.BytesIO(png)).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue(), "jpg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    write(parser.parse_args().folder)


if __name__ == "__main__":
    main()
