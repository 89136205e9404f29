"""A large picture that is filled part by part, and shrunk in strips: never held in floating point."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from otsr.images.resampling import resize_strips

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


class Canvas:
    """A picture of 8 bits (a PIL image) or of 16 (an array: PIL has no such colour), black at first.

    Args:
        channels: 1 to 4, the last of 2 and 4 is transparency.
        deep: 16 bits.

    Attributes:
        content: the PIL image, or the array (height, width, channels) uint16.
    """

    def __init__(self, width: int, height: int, channels: int, deep: bool = False) -> None:
        self.width, self.height, self.channels, self.deep = width, height, channels, deep
        self.content: Image.Image | np.ndarray = (
            np.zeros((height, width, channels), np.uint16) if deep else Image.new(_MODES[channels], (0, 0))
        )

    def put(self, part: np.ndarray, left: int, top: int) -> None:
        """Fill in a part, (h, w, channels) uint8 or, of a deep picture, uint16."""
        height, width = part.shape[:2]
        if isinstance(self.content, np.ndarray):
            self.content[top : top + height, left : left + width] = part
            return
        piece, whole = (
            Image.fromarray(part[..., 0] if self.channels == 1 else part),
            (self.width, self.height),
        )
        if piece.size == whole:  # no copy
            self.content = piece
            return
        if self.content.size != whole:
            self.content = Image.new(_MODES[self.channels], whole)
        self.content.paste(piece, (left, top))

    def rows(self, low: int, high: int) -> Tensor:
        """(channels, high − low, width) in [0, 1]."""
        if isinstance(self.content, Image.Image):
            strip = np.asarray(self.content.crop((0, low, self.width, high)))
        else:
            strip = self.content[low:high].astype(np.int32)
        array = torch.tensor(strip if strip.ndim == 3 else strip[..., None])
        return array.permute(2, 0, 1).float().div(65535 if self.deep else 255)

    def resized(self, scale: float, width: int, height: int) -> Canvas:
        """By MATLAB's bicubic, as `otsr.images.resize` does at once."""
        result = Canvas(width, height, self.channels, self.deep)
        top = 0
        for strip in resize_strips(self.rows, (self.height, self.width), scale, (height, width)):
            values = strip.clamp_(0, 1).mul_(65535 if self.deep else 255).round_().permute(1, 2, 0).numpy()
            result.put(values.astype(np.uint16 if self.deep else np.uint8), 0, top)
            top += len(values)
        return result
