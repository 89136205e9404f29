"""The house style of figures, pictures side by side, and how a figure reaches a notebook.

A colour means the same everywhere, in plots as in formulas (Okabe–Ito, safe for colour-blind readers).
`show(figure, alt)` puts a figure into the notebook with a text for those who cannot see it.
"""

import base64
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from otsr.images import ImageSource, open_picture

COLOURS = {
    "real": "#009E73",  # real pictures, HR
    "LR": "#666666",
    "generated": "#D55E00",  # SR
    "map": "#0072B2",  # transport map, plan
    "potential": "#CC79A7",
    "other": "#E69F00",
}
DPI = 100
_PNG_LIMIT = 100_000  # bytes; photographs above it become JPEG, line drawings stay below


def use_house_style() -> None:
    """Set matplotlib's defaults: fonts that a projector shows, house colours, no box around plots."""
    plt.rcParams.update(
        {
            "figure.dpi": DPI,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 14,
            "axes.titlesize": 15,
            "axes.prop_cycle": cycler(color=[COLOURS[role] for role in ("map", "generated", "real", "potential")]),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "lines.linewidth": 2.5,
            "legend.frameon": False,
            "image.cmap": "cividis",
        }
    )


def show(figure: Figure, alt: str) -> None:
    """Put a figure into the notebook, with `alt`: what someone who cannot see it should know."""
    _display(*encode(rendered(figure)), alt)


def drawing(name: str) -> None:
    """Put one of the course's drawings into the notebook; figures/draw.py makes them, and writes their alt texts."""
    package = Path(__file__).parents[1]
    folder = package / "drawings"  # in a wheel
    path = (folder if folder.is_dir() else package.parent / "figures" / "drawings") / f"{name}.png"
    _display("image/png", base64.b64encode(path.read_bytes()).decode(), Image.open(path).info["Description"])


def _display(mime: str, data: str, alt: str) -> None:
    display({mime: data, "text/plain": f"[figure] {alt}"}, metadata={mime: {"alt": alt}}, raw=True)


def rendered(figure: Figure) -> Image.Image:
    """A figure as a picture; the figure is closed, for an open one would be shown twice."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(DPI)
    figure.draw_without_rendering()  # after a first layout titles may be cut off; the second sets it right
    canvas.draw()
    plt.close(figure)
    return Image.fromarray(np.array(canvas.buffer_rgba()))


def encode(picture: Image.Image, quality: int = 84) -> tuple[str, str]:
    """(MIME type, base64) of a picture: PNG if that is small, else JPEG of this quality, in full colour."""
    mime, file = "image/png", io.BytesIO()
    picture.save(file, "PNG")
    if file.tell() > _PNG_LIMIT:
        mime, file = "image/jpeg", io.BytesIO()
        picture.convert("RGB").save(file, "JPEG", quality=quality, subsampling=0)
    return mime, base64.b64encode(file.getvalue()).decode()


class Panel(NamedTuple):
    """A picture with its title; `role` (a key of COLOURS) colours its frame."""

    picture: ImageSource
    title: str
    role: str = "other"


class Box(NamedTuple):
    """A square to look at closely, in fractions of the picture, so that it fits LR and SR alike."""

    top: float  # of the height
    left: float  # of the width
    size: float  # of the height


def pictures(panels: Sequence[Panel], zoom: Box | None = None, inches: float = 3.8) -> Figure:
    """Pictures side by side, `inches` wide each, pixels as they are; with `zoom` a second row enlarges that box."""
    arrays = [open_picture(panel.picture).pixels for panel in panels]
    rows = 2 if zoom else 1
    tallest = max(array.shape[0] / array.shape[1] for array in arrays)
    size = (inches * len(panels), inches * (tallest + rows - 1) + 0.5)
    figure, axes = plt.subplots(rows, len(panels), figsize=size, squeeze=False)
    for panel, array, column in zip(panels, arrays, axes.T, strict=True):
        frame(column[0], array, panel.role, panel.title)
        if zoom:
            height, width = array.shape[:2]
            top, left, side = round(zoom.top * height), round(zoom.left * width), round(zoom.size * height)
            box = partial(Rectangle, (left - 0.5, top - 0.5), side, side, fill=False)
            for colour, line in (("black", 5.0), ("white", 2.5)):  # seen on dark and on light
                column[0].add_patch(box(edgecolor=colour, linewidth=line))
            frame(column[1], array[top : top + side, left : left + side], panel.role)
    return figure


def frame(axes: Axes, pixels: np.ndarray, role: str, title: str = "") -> None:
    """One picture (H, W, 3) in a frame of its role's colour, without ticks."""
    axes.imshow(pixels)
    axes.set(xticks=[], yticks=[], title=title)
    for spine in axes.spines.values():
        spine.set(visible=True, color=COLOURS[role], linewidth=4)
