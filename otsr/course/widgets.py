"""`FrameSlider`: a slider over pictures that were computed beforehand.

It lives in JupyterLab, VS Code and Colab. Where no kernel runs (GitHub, HTML, a notebook that was opened and not
run) its static twin is seen: one picture with the first, the middle and the last frame.
"""

from __future__ import annotations

import base64
import html
import io
import textwrap
from collections.abc import Sequence
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from otsr.course.plots import DPI, encode, frame
from otsr.images import ImageSource, open_picture

_TWIN_FRAMES = 3
_TWIN_INCHES = 6.0


class FrameSlider(ipywidgets.VBox):
    """A slider, the frame that it chooses, and under the frame a caption in words.

    Drag the handle, or focus it (Tab) and use the arrow keys. Nothing is computed while it moves; while the kernel is
    busy with another cell, it answers when that cell is done.

    Args:
        frames: pictures of equal size, or matplotlib figures.
        labels: what the slider shows for each frame; distinct.
        captions: what is seen in each frame; also its alternative text.
        title: stands left of the slider.
        role: key of `otsr.course.plots.COLOURS`, the frame of the twin's pictures.

    Raises:
        ValueError: no frames, lists of different lengths, a label twice, or an empty caption.
    """

    def __init__(
        self,
        frames: Sequence[ImageSource | Figure],
        labels: Sequence[str],
        captions: Sequence[str],
        title: str = "",
        role: str = "generated",
    ) -> None:
        _validate(frames, labels, captions)
        self.labels, self.captions = list(labels), list(captions)
        self._pictures = [_png(one) for one in frames]
        self._role = role
        self.slider = ipywidgets.SelectionSlider(
            options=[(label, index) for index, label in enumerate(labels)],
            description=title,
            continuous_update=False,
            style={"description_width": "initial"},
            layout={"width": "95%", "max_width": "640px"},
        )
        self.figure = ipywidgets.HTML(value=self._html(0))
        self.slider.observe(lambda change: self._show(change["new"]), "value")
        super().__init__(children=[self.slider, self.figure])

    def _show(self, index: int) -> None:
        self.figure.value = self._html(index)

    def _html(self, index: int) -> str:
        picture = base64.b64encode(self._pictures[index]).decode()
        caption = html.escape(self.captions[index])
        return (
            f'<figure style="margin: 0"><img alt="{caption}" style="max-width: 100%" '
            f'src="data:image/png;base64,{picture}">'
            f'<figcaption aria-live="polite" style="line-height: 1.4; font-size: 110%; white-space: normal">'
            f"{caption}</figcaption></figure>"
        )

    def description(self) -> str:
        """All labels and captions in words; the same on every machine."""
        lines = [f"{label}: {caption}" for label, caption in zip(self.labels, self.captions, strict=True)]
        return "\n".join([f"[slider] {self.slider.description}".rstrip(), *lines])

    def twin(self) -> tuple[str, bytes]:
        """(MIME type, bytes) of the first, middle and last frame with their labels; see `otsr.course.plots.encode`."""
        count = min(_TWIN_FRAMES, len(self._pictures))
        chosen = [round(i * (len(self._pictures) - 1) / max(1, count - 1)) for i in range(count)]
        images = [open_picture(Image.open(io.BytesIO(self._pictures[i]))).pixels for i in chosen]
        ratio = images[0].shape[0] / images[0].shape[1]
        columns = count if ratio > 0.6 else 1  # wide frames stand below each other
        width = _TWIN_INCHES / columns
        size = (_TWIN_INCHES, (width * ratio + 1.0) * count / columns)
        figure, axes = plt.subplots(count // columns, columns, figsize=size, squeeze=False)
        for axis, index, image in zip(axes.flat, chosen, images, strict=True):
            frame(axis, image, self._role, f"{self.slider.description} {self.labels[index]}".strip())
            axis.set_xlabel(textwrap.fill(self.captions[index], round(11 * width)), fontsize=12)
        encoded = encode(figure)
        plt.close(figure)
        return encoded

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle = dict(super()._repr_mimebundle_(**kwargs))  # holds the live widget
        mime, twin = self.twin()
        bundle["text/plain"] = self.description()
        bundle[mime] = base64.b64encode(twin).decode()
        return bundle, {mime: {"alt": self.description()}}


def _validate(frames: Sequence[Any], labels: Sequence[str], captions: Sequence[str]) -> None:
    if not frames or not len(frames) == len(labels) == len(captions):
        raise ValueError(
            f"FrameSlider got {len(frames)} frames, {len(labels)} labels and {len(captions)} captions; "
            "it needs one label and one caption a frame, and at least one frame"
        )
    if len(set(labels)) != len(labels):
        raise ValueError(f"FrameSlider: labels must differ from each other, got {list(labels)}")
    if not all(caption.strip() for caption in captions):
        raise ValueError("FrameSlider: each frame needs a caption that says what is seen")


def _png(frame: ImageSource | Figure) -> bytes:
    buffer = io.BytesIO()
    if isinstance(frame, Figure):
        frame.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
        plt.close(frame)
    else:
        Image.fromarray(open_picture(frame).pixels).save(buffer, "PNG")
    return buffer.getvalue()
