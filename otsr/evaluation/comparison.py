"""One detail of a photo under every network, side by side with names: people choose with their eyes.

views = enlarged(photo, {"otsr": Upscaler.from_pretrained("otsr")}, detail(photo))
sheet(views).save("compare.png")
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from otsr.evaluation.measuring import BICUBIC
from otsr.images import luma, read, resize, to_pil
from otsr.inference import Upscaler

SIDE = 96  # LR pixels a side of the detail
_SCALE = 4
_CONTEXT = 32  # LR pixels around it that networks see
_MARGIN, _LABEL = 8, 42  # pixels between the pictures, and of the words below each
_COLUMNS = 4


class Window(NamedTuple):
    """A part of a photo, in its pixels."""

    left: int
    top: int
    width: int
    height: int


def detail(photo: Tensor, side: int = SIDE) -> Window:
    """The window of a photo (3, H, W) in [0, 1] with most detail, `side` pixels a side, or all where it is smaller.

    Most is the largest mean slope of luma after a blur that keeps noise out.
    """
    height, width = photo.shape[-2:]
    high, wide = min(side, height), min(side, width)
    smooth = F.avg_pool2d(F.pad(luma(photo)[None], [2] * 4, mode="replicate"), 5, 1)
    slope = F.pad(smooth.diff(dim=-1), (0, 1)).abs() + F.pad(smooth.diff(dim=-2), (0, 0, 0, 1)).abs()
    step = max(1, side // 4)
    means = F.avg_pool2d(slope, (high, wide), step)[0, 0]
    row, column = divmod(int(means.argmax()), means.shape[1])
    return Window(column * step, row * step, wide, high)


def window_at(photo: Tensor, x: int, y: int, side: int = SIDE) -> Window:
    """The window whose upper left corner is pixel x, y of the photo, moved inside; a ValueError if x, y is outside."""
    height, width = photo.shape[-2:]
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(f"{x},{y} lies outside the photo, which has {width}×{height} pixels")
    wide, high = min(side, width), min(side, height)
    return Window(min(x, width - wide), min(y, height - high), wide, high)


def enlarged(photo: Tensor, networks: Mapping[str, Upscaler], window: Window) -> dict[str, Image.Image]:
    """The window of a photo (3, H, W) in [0, 1], four times as large, by bicubic interpolation and by each network."""
    left, top = max(0, window.left - _CONTEXT), max(0, window.top - _CONTEXT)
    right, bottom = window.left + window.width + _CONTEXT, window.top + window.height + _CONTEXT
    around = photo[:, top:bottom, left:right].contiguous()
    x, y = _SCALE * (window.left - left), _SCALE * (window.top - top)
    wide, high = _SCALE * window.width, _SCALE * window.height

    def shown(image: Tensor) -> Image.Image:
        return to_pil(image[:, y : y + high, x : x + wide])

    views = {name: shown(read(network.upscale(around, scale=_SCALE))) for name, network in networks.items()}
    return {BICUBIC: shown(resize(around, _SCALE)), **views}


def overview(photo: Tensor, window: Window, size: tuple[int, int]) -> Image.Image:
    """The whole photo, shrunk to fit `size` (width, height), with a frame around the window."""
    whole = to_pil(photo)
    whole.thumbnail(size)
    x, y = whole.width / photo.shape[2], whole.height / photo.shape[1]
    right, bottom = window.left + window.width, window.top + window.height
    box = (window.left * x, window.top * y, right * x, bottom * y)
    for colour, line in (("black", 4), ("white", 2)):  # seen on any ground
        ImageDraw.Draw(whole).rectangle(box, outline=colour, width=line)
    return whole


def sheet(pictures: Mapping[str, Image.Image], words: Mapping[str, str] | None = None) -> Image.Image:
    """All pictures in rows of four, the name below each and, in smaller letters, what `words` says of it."""
    width = max(picture.width for picture in pictures.values())
    height = max(picture.height for picture in pictures.values())
    columns = min(_COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    cell = (width + _MARGIN, height + _LABEL + _MARGIN)
    page = Image.new("RGB", (columns * cell[0] + _MARGIN, rows * cell[1] + _MARGIN), "white")
    draw = ImageDraw.Draw(page)
    large, small = ImageFont.load_default(18), ImageFont.load_default(12)
    for place, (name, picture) in enumerate(pictures.items()):
        x, y = _MARGIN + place % columns * cell[0], _MARGIN + place // columns * cell[1]
        page.paste(picture, (x, y))
        draw.text((x, y + height + 2), _fitting(name, large, width), "black", large)
        draw.text((x, y + height + 24), _fitting((words or {}).get(name, ""), small, width), "dimgrey", small)
    return page


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, its end left out where it is wider than `width` pixels."""
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-2] + "…"
    return text
