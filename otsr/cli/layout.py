"""The page of `otsr app`: what is where, and what follows when something is touched."""

import html
import math
import re
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from otsr.cli.upscale import Size, enlarge
from otsr.evaluation import comparison
from otsr.evaluation.comparison import SIDE, Window
from otsr.images import open_picture
from otsr.inference import Upscaler, scaled_size
from otsr.machine import duration

_OVERVIEW = (640, 480)
_FORGET = "() => ['', {__type__: 'update', visible: false}]"


class Stopped(Exception):
    """The person at the page stopped the work."""


@lru_cache(1)
class Photo:
    """A photo as the page shows it: decoded once, with the colour profile that the browser needs."""

    def __init__(self, path: str) -> None:
        picture = open_picture(path)
        self.pixels = picture.on_white()
        self.profile = None if picture.grey else picture.icc
        self.size = (self.pixels.shape[-1], self.pixels.shape[-2])

    def shown(self, image: Image.Image) -> Image.Image:
        """The picture, made of this photo, with its profile."""
        image.info["icc_profile"] = self.profile
        return image

    def overview(self, part: Window) -> Image.Image:
        """The photo, small, with a frame around the part."""
        return self.shown(comparison.overview(self.pixels, part, _OVERVIEW))


class Page:
    """The page; Gradio launches its `blocks`.

    Methods without `_` answer what was touched, with values for the components that `_wire` names. `load` gives the
    upscaler for an OT weight, `folder` holds enlarged photos until they are saved, and with `blend` the weights have a
    partner to slide to.
    """

    def __init__(self, load: Callable[[float], Upscaler], folder: Path, *, blend: bool) -> None:
        self.folder = folder
        self.upscaler = lru_cache(2)(load)
        self.stopped = -math.inf  # when: work that was asked for before ends at its next tile
        with gr.Blocks(title="Enlarge a photo", analytics_enabled=False) as self.blocks:
            gr.Markdown("# Enlarge a photo\nDrop it below, compare, choose, save. It stays on this computer.")
            self.photo = gr.File(label="1. Drop a photo here, or click to choose one", height=150, elem_id="photo")
            self.said = gr.Markdown(elem_id="said")
            self.part, self.asked = gr.State(), gr.State()
            with gr.Column(visible=False) as self.steps:
                self._lay_out(blend)
            self._wire()

    def _lay_out(self, blend: bool) -> None:
        still: dict[str, Any] = {"interactive": False, "buttons": [], "format": "png", "height": 420}
        with gr.Row():
            label = "Your photo. Click where you want to look closer."
            self.overview = gr.Image(label=label, elem_id="overview", **still)
            label = "The framed part. Drag the line: plain enlargement left, ours right."
            self.pair = gr.ImageSlider(label=label, elem_id="pair", **still)
        label = "2. How sharp? 0 is truest to the photo, 1 is sharpest."
        info = None if blend else "These weights have no partner to blend with."
        self.weight = gr.Slider(0, 1, 1, step=0.05, label=label, info=info, interactive=blend, elem_id="weight")
        with gr.Row():
            sizes = [("4 times as wide and high", 4), ("2 times", 2), ("A width in pixels", 0)]
            self.size = gr.Radio(sizes, value=4, label="3. How large?", elem_id="size")
            self.width = gr.Number(1920, label="Width in pixels", precision=0, minimum=1, visible=False)
            kinds = [("PNG: best quality, a large file", ".png"), ("JPEG: a much smaller file", ".jpg")]
            self.suffix = gr.Radio(kinds, value=".png", label="4. Which kind of file?", elem_id="suffix")
        self.cost = gr.HTML(elem_id="cost")
        with gr.Row():
            self.go = gr.Button("5. Enlarge the whole photo", variant="primary", elem_id="go")
            self.cancel = gr.Button("Cancel", elem_id="cancel")
        self.news = gr.HTML(elem_id="news", min_height=80)
        self.save = gr.DownloadButton(visible=False, variant="primary", elem_id="save")

    def _wire(self) -> None:
        chosen = [self.photo, self.size, self.width, self.weight, self.suffix]
        silent: dict[str, Any] = {"show_progress": "hidden"}
        shown: dict[str, Any] = {"inputs": [self.photo, self.part, self.weight], "outputs": self.pair}
        shown |= {"show_progress": "minimal", "trigger_mode": "always_last"}
        result = [self.news, self.save]
        opened = self.photo.change(self.opened, self.photo, [self.said, self.steps, self.part, self.overview])
        estimate = {"fn": self.estimated, "inputs": chosen[:3], "outputs": self.cost, **silent}
        # What was made before is no longer what is chosen. In the browser: an answer of the program may come late, and
        # would take away what a quick click has made since.
        self.photo.change(None, None, result, js=_FORGET)
        opened.success(self.compared, **shown).success(**estimate)
        looked = self.overview.select(self.looked, self.photo, [self.part, self.overview], **silent)
        looked.success(self.compared, **shown)
        self.weight.change(self.compared, **shown)
        self.size.change(lambda size: gr.Number(visible=size == 0), self.size, self.width, **silent)
        for choice in chosen[1:]:
            choice.change(None, None, result, js=_FORGET)
            choice.change(**estimate)
        # The time of the click, not of the work's turn: a press of Cancel in between counts.
        asked = self.go.click(lambda: time.perf_counter(), None, self.asked, queue=False)
        asked.then(self.enlarged, [*chosen, self.asked], result, show_progress_on=self.news)
        self.cancel.click(self.stop, queue=False)
        self.blocks.unload(self.stop)  # the page was closed

    def opened(self, photo: str | None) -> tuple[Any, ...]:
        """What is said of the photo, its part with most detail, and where that is."""
        said = ""
        try:
            if photo:
                part = comparison.detail(Photo(photo).pixels)
                said = "**{}**: {} × {} pixels".format(Path(photo).name, *Photo(photo).size)
                return said, gr.Column(visible=True), part, Photo(photo).overview(part)
        except (ValueError, OSError, MemoryError) as error:
            said = self._reason(error)
        return said, gr.Column(visible=False), None, None

    def looked(self, photo: str, event: gr.SelectData) -> tuple[Window, Image.Image]:
        """The part around the pixel of the overview that was clicked."""
        shrink = min(1, *(most / side for most, side in zip(_OVERVIEW, Photo(photo).size, strict=True)))
        left, top = (max(0, int(place / shrink) - SIDE // 2) for place in event.index)
        part = comparison.window_at(Photo(photo).pixels, left, top)
        return part, Photo(photo).overview(part)

    def compared(self, photo: str | None, part: Window | None, weight: float) -> list[Image.Image] | None:
        """The part, enlarged bicubically and by the network."""
        if not (photo and part):
            return None
        views = comparison.enlarged(Photo(photo).pixels, {"ours": self.upscaler(weight)}, part).values()
        return list(map(Photo(photo).shown, views))

    def estimated(self, photo: str | None, size: float, width: int | None) -> str:
        """What a click on the button will do."""
        if not photo:
            return ""
        whole, upscaler = Photo(photo).size, self.upscaler(1.0)
        try:
            times = _size(size, width).times(*whole) or 0
        except ValueError as error:
            return self._reason(error)
        wide, high = scaled_size(*whole, times)
        rest = f" Beyond {upscaler.scale} times, the rest is plain enlargement." if times > upscaler.scale else ""
        return f"{wide} × {high} pixels, in about {duration(upscaler.predict_seconds(*whole))}.{rest}"

    def stop(self) -> None:
        """End what has been asked for until now."""
        self.stopped = time.perf_counter()

    def enlarged(
        self, photo: str, size: float, width: int | None, weight: float, suffix: str, asked: float,
        bar: Any = gr.Progress(),
    ) -> tuple[str, Any]:  # fmt: skip
        """The same file that `otsr upscale` makes."""
        start = time.monotonic()
        target = Path(tempfile.mkdtemp(dir=self.folder)) / f"{Path(photo).stem}_large{suffix}"

        def progress(done: int, total: int) -> None:
            bar((done, total), unit="tiles")
            if asked <= self.stopped:
                raise Stopped

        try:
            bar(0.0, desc="Enlarging")
            enlarge(self.upscaler(weight), Path(photo), target, _size(size, width), progress)
        except Stopped:
            return "Cancelled.", gr.DownloadButton(visible=False)
        except (ValueError, OSError, MemoryError, RuntimeError) as error:
            return self._reason(error), gr.DownloadButton(visible=False)
        news = f"Done in {time.monotonic() - start:.0f} seconds: {target.stat().st_size / 1e6:.1f} MB."
        return news, gr.DownloadButton(value=target, visible=True, label=f"6. Save {target.name}")

    def _reason(self, error: Exception) -> str:
        """The error, without folders that the person at the page never chose."""
        inside = re.escape(str(self.folder)) + r"[/\\][^/\\]+[/\\]"
        return "⚠ " + html.escape(re.sub(inside, "", str(error)) or type(error).__name__)


def _size(size: float, width: int | None) -> Size:
    if not size and not width:
        raise ValueError("Type the width that you want, in pixels.")
    return Size(scale=size) if size else Size(width=width)
