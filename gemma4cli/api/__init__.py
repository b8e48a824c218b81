"""The Python API: load a model, generate from it, transcribe, list the models there are.

    model = load("tiny")
    print(generate(model, "Describe this image.", images=["scene.png"]))

mlx is imported by the calls, not by the import of this module.
"""

from __future__ import annotations

from .answers import generate as generate
from .answers import stream_each as stream_each
from .answers import stream_generate as stream_generate
from .answers import stream_segments as stream_segments
from .models import change_adapter as change_adapter
from .models import connect as connect
from .models import list_models as list_models
from .models import load as load
from .models import merge_adapter as merge_adapter
from .models import model_info as model_info
from .models import model_path as model_path
from .transcripts import stream_transcribe as stream_transcribe
from .transcripts import transcribe as transcribe
