"""The page of `otsr app`: what is where, and what follows when something is touched."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from otsr.cli.lightbox import Lightbox, Stopped
from otsr.cli.upscale import Size
from otsr.evaluation.comparison import Window
from otsr.inference import scaled_size
from otsr.machine import duration


class Page:
    """The page; Gradio launches its `blocks`. With `blend`, the weights have a partner to slide to.

    Methods without `_` answer what was touched, with values for the components that `_wire` names.
    """

    def __init__(self, lightbox: Lightbox, *, blend: bool) -> None:
        self.lightbox = lightbox
        with gr.Blocks(title="Enlarge a photo", analytics_enabled=False) as self.blocks:
            gr.Markdown("# Enlarge a photo\nDrop it below, compare, choose, save. It stays on this computer.")
            label = "1. Drop a photo here, or click to choose one"
            self.photo = gr.File(label=label, height=150, elem_id="photo")
            self.said = gr.Markdown(elem_id="said")
            self.part = gr.State()
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
        sharp: dict[str, Any] = {"label": "2. How sharp? 0 is truest to the photo, 1 is sharpest."}
        sharp |= {
            "interactive": blend,
            "info": None if blend else "These weights have no partner to blend with.",
        }
        self.weight = gr.Slider(0, 1, 1, step=0.05, elem_id="weight", **sharp)
        with gr.Row():
            sizes = [("4 times as wide and high", 4), ("2 times", 2), ("A width in pixels", 0)]
            self.size = gr.Radio(sizes, value=4, label="3. How large?", elem_id="size")
            self.width = gr.Number(1920, label="Width in pixels", precision=0, minimum=1, visible=False)
            kinds = [("PNG: best quality, a large file", ".png"), ("JPEG: a much smaller file", ".jpg")]
            self.suffix = gr.Radio(kinds, value=".png", label="4. Which kind of file?", elem_id="suffix")
        with gr.Row():
            self.go = gr.Button("5. Enlarge the whole photo", variant="primary", elem_id="go")
            self.cancel = gr.Button("Cancel", variant="stop", visible=False, elem_id="cancel")
        self.news = gr.HTML(elem_id="news")
        self.save = gr.DownloadButton(visible=False, variant="primary", elem_id="save")

    def _wire(self) -> None:
        asked = [self.photo, self.size, self.width]
        silent: dict[str, Any] = {"show_progress": "hidden"}
        shown: dict[str, Any] = {"inputs": [self.photo, self.part, self.weight], "outputs": self.pair}
        shown |= {"show_progress": "minimal", "trigger_mode": "always_last"}
        result = [self.go, self.cancel, self.news, self.save]
        shows = [self.said, self.steps, self.part, self.overview, *result]
        opened = self.photo.change(self.opened, self.photo, shows)
        estimate = {"fn": self.estimated, "inputs": asked, "outputs": [self.news, self.save], **silent}
        opened.success(self.compared, **shown).success(**estimate)
        looked = self.overview.select(self.looked, self.photo, [self.part, self.overview], **silent)
        looked.success(self.compared, **shown)
        self.weight.change(self.compared, **shown)
        self.size.change(lambda size: gr.Number(visible=size == 0), self.size, self.width, **silent)
        for choice in (self.size, self.width, self.weight, self.suffix):
            choice.change(**estimate)
        self.go.click(self.enlarged, [*asked, self.weight, self.suffix], result, **silent)
        self.cancel.click(self.lightbox.stop, queue=False)

    def opened(self, photo: str | None) -> tuple[Any, ...]:
        said, part, overview = "", None, None
        if photo:
            try:
                part = self.lightbox.detail(photo)
                overview = self.lightbox.overview(photo, part)
                said = "**{}**: {} × {} pixels".format(Path(photo).name, *self.lightbox.size(photo))
            except (ValueError, OSError, MemoryError) as error:
                said = self._reason(error)
        return said, gr.Column(visible=overview is not None), part, overview, *_result()

    def looked(self, photo: str, event: gr.SelectData) -> tuple[Any, ...]:
        part = self.lightbox.around(photo, *event.index)
        return part, self.lightbox.overview(photo, part)

    def compared(self, photo: str | None, part: Window | None, weight: float) -> Any:
        return self.lightbox.compare(photo, part, weight) if photo and part else None

    def estimated(self, photo: str | None, size: float, width: int | None) -> tuple[Any, ...]:
        """What a click on the button will do; what it did before is no longer what is chosen."""
        unsaved = gr.DownloadButton(visible=False)
        if not photo:
            return "", unsaved
        try:
            times = _size(size, width).times(*self.lightbox.size(photo)) or 0
        except ValueError as error:
            return self._reason(error), unsaved
        across, down = scaled_size(*self.lightbox.size(photo), times)
        most = self.lightbox.upscaler(1.0).scale
        beyond = f" Beyond {most} times, the rest is plain enlargement." if times > most else ""
        seconds = self.lightbox.seconds(photo)
        return f"{across} × {down} pixels, in about {duration(seconds)}.{beyond}", unsaved

    def enlarged(
        self, photo: str, size: float, width: int | None, weight: float, suffix: str
    ) -> Iterator[tuple[Any, ...]]:
        start = time.monotonic()
        expected = self.lightbox.seconds(photo)
        try:
            for share in self.lightbox.enlarge(photo, weight, _size(size, width), suffix):
                spent = time.monotonic() - start
                if isinstance(share, Path):
                    megabytes = share.stat().st_size / 1e6
                    yield _result(f"Done in {spent:.0f} seconds: {megabytes:.1f} MB.", file=share)
                    continue
                left = spent / share - spent if share else max(expected - spent, 0)
                bar = f"<progress value='{spent / (spent + left):.3f}' style='width: 100%'></progress>"
                yield _result(f"{bar}<br>about {duration(left)} left", busy=True)
        except Stopped:
            yield _result("Cancelled.")
        except (ValueError, OSError, MemoryError, RuntimeError) as error:
            yield _result(self._reason(error))

    def _reason(self, error: Exception) -> str:
        """The error, without folders that the person at the page never chose."""
        inside = re.escape(str(self.lightbox.folder)) + r"[/\\][^/\\]+[/\\]"
        return "⚠ " + html.escape(re.sub(inside, "", str(error)) or type(error).__name__)


def _size(size: float, width: int | None) -> Size:
    if not size and not width:
        raise ValueError("Type the width that you want, in pixels.")
    return Size(scale=size) if size else Size(width=width)


def _result(news: str = "", *, busy: bool = False, file: Path | None = None) -> tuple[Any, ...]:
    """For the button that starts, the one that cancels, the line of news and the button that saves."""
    save = gr.DownloadButton(value=file, visible=bool(file), label=f"6. Save {file.name}" if file else "")
    return gr.Button(visible=not busy), gr.Button(visible=busy), news, save
