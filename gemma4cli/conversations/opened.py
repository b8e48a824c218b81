"""A message whose media are decoded, and what is kept of each medium while a conversation lasts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..decoded import Decoded, Image
from ..errors import MediaError
from ..messages import Message, Source
from ..options import Budget
from ..processing.budget import image_budget
from ..processing.inputs import ImageFeatures
from ..processing.processor import PreparedMedium, Processor

logger = logging.getLogger(__name__)


class OpenedMedium:
    """One decoded item of a message, and how the model takes it.

    A photo is kept at the size that the model sees, not at the camera's: a long conversation
    would fill the memory. At another budget it is decoded again, if its file is what it was.
    """

    __slots__ = ("_item", "_prepared", "_shrunk", "_source", "_text", "_version")

    def __init__(self, item: Decoded, source: Source | None, text: str) -> None:
        """``source`` is that of an image; ``text`` is the message's."""
        self._item = item
        self._source = source
        self._text = text
        self._shrunk = False
        self._version = None if source is None else _version(source)
        self._prepared: tuple[Processor, Budget | None, PreparedMedium] | None = None

    @property
    def item(self) -> Decoded:
        """The item; an image no larger than the model has seen it."""
        return self._item

    def prepared(self, processor: Processor, budget: Budget | None) -> PreparedMedium:
        """The item as the prompt and the model take it, computed once per budget."""
        if self._prepared is not None:
            owner, known_budget, prepared = self._prepared
            if owner is processor and known_budget == budget:
                return prepared
        item = self._again() if self._shrunk else self._item
        prepared = processor.prepare_medium(item, image_budget(item, budget, self._text))
        self._prepared = (processor, budget, prepared)
        if isinstance(item, Image):
            self._keep(item, prepared)
        return prepared

    def _keep(self, image: Image, prepared: PreparedMedium) -> None:
        """Keep the smaller of an image and what the model sees of it."""
        (seen,) = prepared.features
        assert isinstance(seen, ImageFeatures)
        self._shrunk = seen.pixels.size < image.pixels.size
        self._item = replace(image, pixels=seen.pixels) if self._shrunk else image

    def _again(self) -> Decoded:
        """The image at its own size, or as it was kept if the file is not the same any more."""
        from ..media.pictures.images import load_image

        assert self._source is not None, "only images are shrunk, and they have a source"
        try:
            if _version(self._source) == self._version is not None:
                return load_image(self._source)
        except MediaError as error:
            logger.debug("%s", error)
        logger.warning(
            "%s: cannot be opened again at another budget; the model sees it as it was kept",
            self._source.name,
        )
        return self._item


def _version(source: Source) -> tuple[int, int] | None:
    """What changes with a source's content; None if it cannot be opened twice."""
    if source.data is not None:
        return len(source.data), 0
    try:
        if source.path is None or not source.path.is_file():
            return None
        status = source.path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OpenedMessage:
    """A message whose media are decoded, one item for each media part, in order.

    ``message`` is what the model reads: a clip with sound is replaced by parts of its frames and
    parts of its sound in turn. ``original`` is the message before that.
    """

    message: Message
    original: Message
    media: Sequence[OpenedMedium]

    @property
    def images(self) -> tuple[Image, ...]:
        """The images among the media, as they are kept."""
        return tuple(each.item for each in self.media if isinstance(each.item, Image))

    def prepared(self, processor: Processor, budget: Budget | None) -> tuple[PreparedMedium, ...]:
        """The media as the prompt and the model take them, computed once per budget."""
        return tuple(item.prepared(processor, budget) for item in self.media)
