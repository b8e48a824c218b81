"""Load a checkpoint folder.

On a GPU the language model's weights are read here, and a tower's when it is first used; on a CPU a
tensor stays on disk until a graph uses it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import fields, replace

from ..checked_json import shown
from ..distributed.current import leader
from ..errors import CheckpointError, UnsupportedModelError
from ..events import LoadProgress
from ..hub.not_a_checkpoint import unused_adapter
from ..hub.resolved import ResolvedModel
from ..machine.backend import on_cpu
from ..machine.heap import give_back_memory
from ..machine.process_settings import hold_settings
from ..models.block_sizes import group_size
from ..models.config import Gemma4Config
from ..models.drafter import Drafter
from ..models.drafter_config import DrafterConfig
from ..models.gemma4 import Gemma4
from ..models.tower_config import AudioConfig, UnifiedAudioConfig, UnifiedVisionConfig, VisionConfig
from ..options import LoadOptions
from ..processing.config import MelConfig, ProcessorConfig, RawAudioConfig
from ..processing.processor import Processor
from ..processing.prompt import PromptStyle
from ..processing.tokenizer import Tokenizer
from .checkpoint import Checkpoint
from .local import LocalModel
from .model import GenerationConfig, LoadedDrafter
from .network_loading import load_network
from .weights_reading import UnreadTowers, arrays_of, read, tensors_of

logger = logging.getLogger(__name__)

OnProgress = Callable[[LoadProgress], None]


def load_resolved(
    model: ResolvedModel,
    options: LoadOptions,
    on_progress: OnProgress | None = None,
    *,
    read_weights: bool | None = None,
    divided: bool = True,
) -> LocalModel:
    """Load a resolved model.

    ``read_weights`` is whether weights are read before a graph uses them; None: on a GPU.
    ``divided`` is whether several processes, if there are, each load a part.

    Raises LoadError if the checkpoint cannot run.
    """

    def report(stage: str, done: int = 0, total: int = 0) -> None:
        if on_progress is not None:
            on_progress(LoadProgress(stage=stage, model=model.name, done=done, total=total))

    report("config")
    settings = hold_settings(options.dtype)
    checkpoint = Checkpoint(folder=model.folder)
    config = Gemma4Config.from_dict(model.config)
    if model.adapter is None and (adapter := unused_adapter(model.folder)) is not None:
        logger.warning(
            "%s: %s beside the weights is not used without --adapter", model.name, adapter
        )
    report("tokenizer")
    tokenizer = Tokenizer.from_file(model.folder / "tokenizer.json")
    generation = GenerationConfig.from_dict(
        checkpoint.optional_json("generation_config.json"), model.config
    )
    _check_ids(config, tokenizer, generation)
    give_back_memory()  # a vocabulary takes three times its size to read
    report("weights")
    team = leader() if divided else None
    if team is None:
        network, kinds = load_network(checkpoint, model.config, config, Gemma4, options)
    else:
        from .divided_loading import load_with_others

        network, kinds = load_with_others(model, config, options, team)
    network.language_model.kv_bits = options.kv_bits
    _check_kv_bits(model.name, network)
    eager = team is None and _is_eager(read_weights)
    if eager:
        tensors = tensors_of(network, "text")
        for done in read(tensors):
            report("weights", done, sum(each.nbytes for each in tensors))
    loaded = LocalModel(
        name=model.name,
        folder=model.folder,
        options=options,
        network=network,
        processor=_processor(model.name, checkpoint, network.config, tokenizer),
        generation=generation,
        quantization=frozenset(kinds),
        unread=UnreadTowers("vision", "audio") if eager else UnreadTowers(),
        settings=settings,
    )
    if model.adapter is None:
        return loaded
    from .adapter_loading import with_adapter

    return with_adapter(replace(loaded, name=model.plain.name), model.adapter, model.name)


def _is_eager(read_weights: bool | None) -> bool:
    return not on_cpu() if read_weights is None else read_weights


def _check_kv_bits(name: str, network: Gemma4) -> None:
    """Warn if the KV cache cannot be quantized as asked."""
    width = network.config.text.global_head_dim
    if network.language_model.kv_bits is not None and group_size(width) is None:
        logger.warning(
            "%s: --kv-bits is not used: heads of %d numbers cannot be quantized", name, width
        )


def load_drafter(
    drafter: ResolvedModel, model: LocalModel, *, read_weights: bool | None = None
) -> LocalModel:
    """``model`` with a drafter; ``read_weights`` as in ``load_resolved``.

    Raises UnsupportedModelError if it is not a drafter for such a model, and LoadError for one that
    cannot run.
    """
    config = DrafterConfig.from_dict(drafter.config)
    misfit = config.misfit(model.network.config.text)
    if misfit is not None:
        raise UnsupportedModelError(f"{drafter.name} as a drafter for {model.name}", f"it {misfit}")

    def build(fitted: Gemma4Config) -> Drafter:
        return Drafter(replace(config, text=fitted.text))

    alone = Gemma4Config(
        unified=False, text=config.text, vision=None, audio=None, placeholders=None
    )
    checkpoint = Checkpoint(folder=drafter.folder)
    network, _ = load_network(checkpoint, drafter.config, alone, build, model.options)
    network.check_ids()
    if _is_eager(read_weights):
        for _ in read(tensors_of(network, "text")):
            pass
    plain = model.without_adapter
    if plain is not None:
        plain = replace(plain, drafter=LoadedDrafter(name=drafter.name, network=network))
    return replace(
        model,
        drafter=LoadedDrafter(name=drafter.name, network=network),
        without_adapter=plain,
    )


def read_all(model: LocalModel) -> None:
    """Read what is still in files, so that any thread may use the model from now on."""
    networks = [model.network] if model.drafter is None else [model.network, model.drafter.network]
    for each in networks:
        for _ in read(arrays_of(each)):
            pass


def _check_ids(config: Gemma4Config, tokenizer: Tokenizer, generation: GenerationConfig) -> None:
    """Raise CheckpointError for a token id that the embeddings have no row for.

    ``load_weights`` compares the rows in the config with the tensors.
    """
    rows = config.text.vocab_size
    lookup = min(rows, config.text.ple_vocab_size) if config.text.ple_size else rows
    tokenizer.require_within(lookup)
    outside = [each for each in generation.stop_ids if not 0 <= each < rows]
    if outside:
        raise CheckpointError(
            "generation_config.json",
            f"eos_token_id {shown(outside[0])} is outside the vocabulary of {rows}",
        )
    if config.placeholders is not None:
        for each in fields(config.placeholders):
            value = getattr(config.placeholders, each.name)
            if not 0 <= value < rows:
                raise CheckpointError(
                    "config.json",
                    f"{each.name}_token_id {value} is outside the vocabulary of {rows}",
                )


def _check_media_sizes(config: Gemma4Config, processor: ProcessorConfig) -> None:
    """Raise CheckpointError if media would not have the shapes that the network takes."""
    expected = []
    patches, frames = processor.vision, processor.audio
    if isinstance(config.vision, VisionConfig):
        expected.append(("patch_size", patches.patch_size, config.vision.patch_size))
        expected.append(("pooling_kernel_size", patches.pooling, config.vision.pooling))
    elif config.vision is not None:
        merged = patches.patch_size * patches.pooling
        expected.append(("merged patch_size", merged, config.vision.patch_size))
    if isinstance(config.audio, AudioConfig) and isinstance(frames, MelConfig):
        expected.append(("feature_size", frames.bins, config.audio.conv_channels[0]))
    elif isinstance(config.audio, UnifiedAudioConfig) and isinstance(frames, RawAudioConfig):
        count = config.audio.embed_dim
        expected.append(("audio_samples_per_token", frames.samples_per_token, count))
    for name, value, network in expected:
        if value != network:
            raise CheckpointError(
                "processor_config.json",
                f"{name} is {value}, but the network of config.json takes {network}",
            )


def _within_positions(
    processor: ProcessorConfig, vision: VisionConfig | UnifiedVisionConfig | None
) -> ProcessorConfig:
    """``processor`` with the longest side of a picture that the tower has positions for.

    MLX reads other memory for positions that are not in the table.
    """
    if vision is None:
        return processor
    pooling = vision.pooling if isinstance(vision, VisionConfig) else 1
    side = vision.position_table_size // pooling
    if side < 1:
        raise CheckpointError(
            "config.json", "vision_config: position_embedding_size is below pooling_kernel_size"
        )
    return replace(processor, vision=replace(processor.vision, longest_side=side))


def _processor(
    name: str, checkpoint: Checkpoint, config: Gemma4Config, tokenizer: Tokenizer
) -> Processor:
    raw = checkpoint.optional_json("processor_config.json")
    processor_config = ProcessorConfig.from_dict(raw, unified=config.unified)
    if processor_config.assumed and (config.vision or config.audio):
        logger.warning(
            "%s: processor_config.json lacks %s; using the values of the published checkpoints",
            name,
            ", ".join(processor_config.assumed),
        )
    _check_media_sizes(config, processor_config)
    processor_config = _within_positions(processor_config, config.vision)
    placeholders = config.placeholders
    if placeholders is not None:
        for token, expected in (
            ("<|image|>", placeholders.image),
            ("<|audio|>", placeholders.audio),
            ("<|video|>", placeholders.video),
        ):
            if tokenizer.has_control(token) and tokenizer.control_id(token) != expected:
                raise CheckpointError(
                    "tokenizer.json",
                    f"{token} has id {tokenizer.control_id(token)}, but {expected} in config.json",
                )
    # Without a template: models without per-layer embeddings start with an empty thought.
    style = PromptStyle.detect(checkpoint.chat_template(), default=not config.text.ple_size)
    return Processor(
        model=name,
        tokenizer=tokenizer,
        prompt_style=style,
        config=processor_config,
        unified=config.unified,
        sees=config.vision is not None and placeholders is not None,
        hears=config.audio is not None and placeholders is not None,
    )
