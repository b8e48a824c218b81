"""The heads of a finished model's towers, kept so that the towers can go on elsewhere.

A checkpoint has no use for them, but a tower that learns on does, and without that of the audio
tower nobody knows where in a clip a word was heard. Those of the ``tiny`` that ships are in
``training/tiny_heads.safetensors``.

python -m training.kept_heads WORK FILE
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors.torch import save

from .loop import trained
from .pictures import vision_tower
from .speech import audio_tower
from .start import kept_prefix


def keep(work: Path, file: Path) -> None:
    """Write the heads of both towers that were trained in ``work``, as float16."""
    towers = ((audio_tower.FOLDER, audio_tower.HEADS), (vision_tower.FOLDER, vision_tower.HEADS))
    kept = {
        kept_prefix(folder, module) + name: value.half().contiguous()
        for folder, modules in towers
        for module in modules
        for name, value in trained(work / folder, module).items()
    }
    file.write_bytes(save(kept))


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep the heads of the towers.")
    parser.add_argument("work", type=Path)
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    keep(arguments.work, arguments.file)


if __name__ == "__main__":
    main()
