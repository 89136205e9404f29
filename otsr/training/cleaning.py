"""HR photos as they are learnt from: shrunk so that their own noise, blur and compression go, in 8 bits."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from otsr.images import MAX_PIXELS, ImageError, crop_to_multiple, open_picture, read, resize, to_array

MULTIPLE = 4  # sides of a cleaned photo; ×4 pairs need it
_ORIENTATION = 0x0112  # EXIF; from 5 on the photo lies on its side


def clean_photo(path: Path, cleanup: float = 1.0) -> np.ndarray:
    """x' = bicubic(x, 1/cleanup), cropped to multiples of 4 (Ji et al., CVPRW 2020); with cleanup 1 the photo as it is.

    Returns:
        (H, W, 3) uint8, rows one after another in memory; transparency is composited on white.

    Raises:
        ImageError: the file cannot be read, or is too small for the clean-up.
    """
    image = read(path)
    if cleanup != 1:
        _cleaned(path, image.shape[-2], image.shape[-1], cleanup)
        image = crop_to_multiple(resize(image, 1 / cleanup), MULTIPLE)
    return np.ascontiguousarray(to_array(image))


def cleaned_size(path: Path, cleanup: float = 1.0) -> tuple[int, int]:
    """(height, width) that `clean_photo` will give, from the file's header: nothing is decoded.

    Raises:
        ImageError: as `clean_photo`, as far as the header tells.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            # A PNG whose header brings no EXIF would be decoded in search of some.
            if (image.format != "PNG" or "exif" in image.info) and image.getexif().get(_ORIENTATION, 1) >= 5:
                width, height = height, width
            readable = width * height <= MAX_PIXELS
    except Exception:  # whatever Pillow stumbles over: the full reader finds the words
        readable = False
    if not readable:
        height, width = open_picture(path).pixels.shape[:2]
    return (height, width) if cleanup == 1 else _cleaned(path, height, width, cleanup)


def _cleaned(path: Path, height: int, width: int, cleanup: float) -> tuple[int, int]:
    shrunk = [math.ceil(side / cleanup - 1e-9) // MULTIPLE * MULTIPLE for side in (height, width)]
    if 0 in shrunk:
        raise ImageError(
            f"{path}: {width}×{height} pixels are too few for a clean-up by {cleanup:g}; leave the photo out"
        )
    return shrunk[0], shrunk[1]
