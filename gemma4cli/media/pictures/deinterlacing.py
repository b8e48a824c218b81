"""Interlaced frames to whole pictures, by libav's bwdif."""

from __future__ import annotations

from av.filter import Graph
from av.frame import Frame
from av.video.frame import VideoFrame as AvFrame


def deinterlaced(frame: AvFrame, before: AvFrame | None, after: AvFrame | None) -> AvFrame:
    """The frame without the comb of two moments; its first field decides.

    ``before`` and ``after`` are its neighbors in display order, None at the ends of the track.
    Raises av.FFmpegError if libav cannot filter the frame's format.
    """
    around = [each for each in (before, frame, after) if each is not None and _alike(each, frame)]
    if len(around) == 1:  # bwdif leaves a lone frame as it is
        around.append(frame)
    graph = Graph()
    form = f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1000"
    colors = f"colorspace={frame.colorspace}:range={frame.color_range}"
    source = graph.add("buffer", f"{form}:{colors}")
    sink = graph.add("buffersink")
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=all"), sink).configure()
    for each in around:
        source.push(each)
    source.push(None)
    shown: Frame = frame
    for _ in range(around.index(frame) + 1):
        shown = sink.pull()
    assert isinstance(shown, AvFrame)
    return shown


def _alike(one: AvFrame, other: AvFrame) -> bool:
    return (one.width, one.height, one.format.name) == (
        other.width,
        other.height,
        other.format.name,
    )
