"""`FrameSlider`: a slider over pictures that were computed beforehand.

It lives in JupyterLab, VS Code and Colab, and in any HTML page. Where none of that runs (GitHub, a notebook that was
opened and not run) its static twin is seen: one picture with the first, the middle and the last frame.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import matplotlib.pyplot as plt
import traitlets
from matplotlib.figure import Figure
from PIL import Image

from otsr.course.plots import encode, frame, rendered
from otsr.images import ImageSource, open_picture

_TWIN_INCHES = 6.0
_QUALITY = 95  # of frames that are photographs: faint noise must survive


class FrameSlider(anywidget.AnyWidget):
    """A slider, the frame that it chooses, and under the frame a caption in words.

    Drag the handle, or focus it (Tab) and use the arrow keys. The browser holds all frames, so the picture follows
    at once, also while the kernel is busy with another cell.

    Args:
        frames: pictures of equal size, or matplotlib figures.
        labels: what the slider shows for each frame; distinct.
        captions: what is seen in each frame; also its alternative text.
        title: stands left of the slider.
        role: key of `otsr.course.plots.COLOURS`, the frame of the twin's pictures.

    Raises:
        ValueError: no frames, lists of different lengths, a label twice, or an empty caption.
    """

    _esm = Path(__file__).with_name("frame_slider.js")
    title = traitlets.Unicode().tag(sync=True)
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    captions = traitlets.List(traitlets.Unicode()).tag(sync=True)
    frames = traitlets.List(traitlets.Unicode()).tag(sync=True)
    """The pictures as data addresses."""

    def __init__(
        self,
        frames: Sequence[ImageSource | Figure],
        labels: Sequence[str],
        captions: Sequence[str],
        title: str = "",
        role: str = "generated",
    ) -> None:
        if not frames or not len(frames) == len(labels) == len(captions):
            raise ValueError(
                f"FrameSlider got {len(frames)} frames, {len(labels)} labels and {len(captions)} captions; "
                "it needs one label and one caption a frame, and at least one frame"
            )
        if len(set(labels)) != len(labels):
            raise ValueError(f"FrameSlider: labels must differ from each other, got {list(labels)}")
        if not all(caption.strip() for caption in captions):
            raise ValueError("FrameSlider: each frame needs a caption that says what is seen")
        self._role = role
        self._pictures = [
            rendered(one) if isinstance(one, Figure) else Image.fromarray(open_picture(one).pixels) for one in frames
        ]
        addresses = ["data:{};base64,{}".format(*encode(picture, _QUALITY)) for picture in self._pictures]
        super().__init__(title=title, labels=list(labels), captions=list(captions), frames=addresses)

    def description(self) -> str:
        """All labels and captions in words; the same on every machine."""
        lines = [f"{label}: {caption}" for label, caption in zip(self.labels, self.captions, strict=True)]
        return "\n".join([f"[slider] {self.title}".rstrip(), *lines])

    def twin(self) -> Image.Image:
        """The first, the middle and the last frame with their labels."""
        last = len(self._pictures) - 1
        chosen = sorted({0, round(last / 2), last})
        images = [open_picture(self._pictures[i]).pixels for i in chosen]
        ratio = images[0].shape[0] / images[0].shape[1]
        columns = len(chosen) if ratio > 0.6 else 1  # wide frames stand below each other
        width = _TWIN_INCHES / columns
        captions = [textwrap.fill(self.captions[index], round(11 * width)) for index in chosen]
        lines = 1 + max(caption.count("\n") for caption in captions)
        room = max(1.0, 0.4 + 0.2 * lines)  # inches for the label above and a caption of 12 points below
        size = (_TWIN_INCHES, (width * ratio + room) * len(chosen) / columns)
        figure, axes = plt.subplots(len(chosen) // columns, columns, figsize=size, squeeze=False)
        for axis, index, image, caption in zip(axes.flat, chosen, images, captions, strict=True):
            frame(axis, image, self._role, f"{self.title} {self.labels[index]}".strip())
            axis.set_xlabel(caption, fontsize=12)
            axis.set_anchor("N")  # what room is left is the caption's
        return rendered(figure)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})  # holds the live widget
        mime, twin = encode(self.twin())
        bundle |= {"text/plain": self.description(), mime: twin}
        return bundle, {**metadata, mime: {"alt": self.description()}}
