"""A small held-out set as files, with what is asked about them and the right answers.

    python -m training.samples FOLDER

The test suite measures the built-in models on it. FOLDER gets the media, and a list of cases for
each of the models, ``tiny.json`` and ``tiny-unified.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from .evaluation import pictures, speech, talk, videos
from .evaluation.cases import Case
from .twin import battery, digits

_LARGEST_PICTURE = 40_000
"""Bytes of a PNG file; noise packs badly, and what is larger becomes a JPEG file."""
_QUALITY = 90
_VOICES = 8
"""That say digits."""


def _tiny() -> Iterator[Case]:
    yield from speech.cases(5)
    yield from pictures.cases(3)
    yield from videos.cases(4)
    yield from talk.cases(8)


def _unified() -> Iterator[Case]:
    yield from battery.plain_cases(2)
    yield from battery.scene_cases("objects", 8)
    yield from battery.scene_cases("count", 4)
    yield from battery.digit_cases(digits.record(_VOICES, held_out=True), 5)


def write(folder: Path) -> None:
    """The media of all cases, each once, and the lists of cases."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_list(folder, "tiny.json", _tiny())
    _write_list(folder, "tiny-unified.json", _unified())


def _write_list(folder: Path, name: str, cases: Iterable[Case]) -> None:
    text = json.dumps([_stored(case, folder) for case in cases], indent=1, ensure_ascii=False)
    (folder / name).write_text(text + "\n", "utf-8")


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
