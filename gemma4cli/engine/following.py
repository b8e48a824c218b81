"""What the processes that follow do: load a part of each model, and repeat what they are told."""

from __future__ import annotations

from typing import NoReturn

from ..distributed.connection import Message
from ..distributed.team import Follower
from ..errors import UnsupportedModelError
from ..hub.resolving import resolve
from ..machine.backend import require_backend
from ..machine.process_settings import Hold, hold_settings
from ..models.config import Gemma4Config
from ..models.divided_adapters import follow_adapted
from ..models.replica import Replica
from ..models.sharded_text import Group, ShardedLayer
from ..options import LoadOptions
from .adapter_loading import prepare
from .checkpoint import Checkpoint
from .divided_loading import load_divided
from .division import Division, fingerprint
from .freed_buffers import release_buffers
from .loaded_weights import computed_dtype
from .memory_limits import require_memory_for_model


def follow(follower: Follower) -> NoReturn:
    """Repeat what the first process tells, until that ends this one. Raises what any step does."""
    require_backend()
    replicas: dict[int, tuple[Replica, Hold]] = {}
    while True:
        message = follower.next_message()
        for number in message.get("closed", ()):
            del replicas[number]
        if "load" in message:
            options = LoadOptions(**message["options"])
            held = hold_settings(options.dtype)
            replicas[message["number"]] = _loaded(follower, message, options), held
            continue
        replica, held = replicas[message["network"]]
        if message["call"] == "adapt":
            number, adapted = adapted_replica(replica, message, follower)
            replicas[number] = adapted, held
        else:
            replica.repeat(message)


def _loaded(follower: Follower, message: Message, options: LoadOptions) -> Replica:
    model = resolve(message["load"])
    if fingerprint(model) != message["fingerprint"]:
        raise UnsupportedModelError(
            f"{model.name} in {model.folder}",
            "it is another model than that of the first process: copy or download the same files",
        )
    require_memory_for_model(model, options.dtype)
    division = Division.of(model, follower)
    config = Gemma4Config.from_dict(model.config)
    checkpoint = Checkpoint(folder=model.folder)
    network, _ = load_divided(checkpoint, model.config, config, options, division)
    network.language_model.kv_bits = options.kv_bits
    follower.answer({"loaded": str(computed_dtype(network))})
    return Replica(network, follower, release_buffers)


def adapted_replica(replica: Replica, message: Message, group: Group) -> tuple[int, Replica]:
    """A network with an adapter, and its number."""
    number, head_follows, changes = replica.arguments(message)
    network = follow_adapted(replica.whole, changes, head_follows=head_follows)
    layers = network.language_model.model.layers
    prepare(network, native=not any(isinstance(each, ShardedLayer) for each in layers))
    return number, Replica(network, group, release_buffers)
