"""JPEG: the quality that a file was saved with, and an image saved at that quality."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from otsr.images import to_pil

GRID = 16  # pixels: JPEG's blocks of 8, of the colours at half resolution


def quality_of(path: Path) -> int | None:
    """The quality, 1 to 100, whose standard tables (libjpeg's) are closest to the file's; None if it is no JPEG.

    Closest in the mean absolute logarithm of the quantisation steps, luma and colours. Cameras with tables of
    their own get the standard quality that rounds about as much.
    """
    try:
        with Image.open(path) as image:
            tables = getattr(image, "quantization", None)
    except (OSError, UnidentifiedImageError):
        return None
    if not tables:
        return None
    steps = np.log([tables[key] for key in sorted(tables)[:2]])
    distances = np.abs(_standard_tables()[:, : len(steps)] - steps).mean((1, 2))
    return int(distances.argmin()) + 1


def compress(image: Tensor, quality: int, subsampling: str = "4:2:0") -> Tensor:
    """(3, H, W) through JPEG in memory, with colours at half resolution (4:2:0, as phones do) or full (4:4:4)."""
    with Image.open(_saved(to_pil(image), quality, subsampling)) as decoded:
        pixels = torch.from_numpy(np.array(decoded.convert("RGB")))
    return pixels.permute(2, 0, 1).to(image).div(255)


def _saved(image: Image.Image, quality: int, subsampling: str = "4:2:0") -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=subsampling)
    return file


@lru_cache(maxsize=1)
def _standard_tables() -> np.ndarray:
    """log of the steps of luma and colours at qualities 1 to 100, (100, 2, 64), as Pillow's libjpeg writes them."""
    grey, tables = Image.new("RGB", (8, 8)), []
    for quality in range(1, 101):
        with Image.open(_saved(grey, quality)) as image:
            tables.append([image.quantization[0], image.quantization[1]])
    return np.log(tables)
