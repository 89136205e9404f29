"""MATLAB's bicubic resize, for any factor, batched, on any device, with gradients.

Each axis is a product with a banded matrix, made in blocks of outputs: the cost is linear in the size.
"""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_BLOCK = 64  # output samples that one matrix product makes


def resize(image: Tensor, scale: float, size: tuple[int, int] | None = None) -> Tensor:
    """MATLAB's `imresize(image, scale, "bicubic")`: Keys' cubic (a = −½), antialiased, symmetric borders.

    Output pixel i (from 0) sits at input coordinate (i + ½)/scale − ½; when shrinking the cubic is widened by
    1/scale. The values are not clipped: bicubic overshoots at edges.

    Args:
        image: (C, H, W) or (B, C, H, W), floating point, any device.
        scale: factor for both axes; ½ halves.
        size: (height, width) of the output, ⌈scale · size⌉ by default as in MATLAB.

    Reference: Keys, IEEE TASSP 1981, doi 10.1109/TASSP.1981.1163711.
    """
    if image.dim() not in (3, 4) or not image.is_floating_point():
        found = f"{tuple(image.shape)} {image.dtype}"
        raise ValueError(f"resize needs a floating (C, H, W) or (B, C, H, W), got {found}")
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale is {scale}, expected a positive number")
    # 1e-9: 0.07 * 300 is 21.000000000000004 in floating point and must not make a 22nd pixel.
    height, width = size or tuple(max(1, math.ceil(scale * n - 1e-9)) for n in image.shape[-2:])
    place = (image.device, image.dtype)
    across = bands(image.shape[-1], scale, width, *place)
    image = torch.cat([image[..., low:high] @ matrix.T for low, high, matrix in across], dim=-1)
    down = bands(image.shape[-2], scale, height, *place)
    return torch.cat([matrix @ image[..., low:high, :] for low, high, matrix in down], dim=-2)


def resize_strips(
    rows: Callable[[int, int], Tensor], size: tuple[int, int], scale: float, target: tuple[int, int]
) -> Iterator[Tensor]:
    """What `resize` gives, some rows at a time, of an image that need not be there at once.

    `rows(low, high)` are these rows of it, (C, high − low, W), float32 on the CPU; `size` and `target` are (height,
    width) of the image and of the output.
    """
    place = (torch.device("cpu"), torch.float32)
    columns = bands(size[1], scale, target[1], *place)
    for low, high, matrix in bands(size[0], scale, target[0], *place):
        strip = rows(low, high)
        yield matrix @ torch.cat([strip[..., left:right] @ band.T for left, right, band in columns], dim=-1)


@lru_cache(maxsize=16)
def bands(
    size: int, scale: float, length: int, device: torch.device, dtype: torch.dtype
) -> list[tuple[int, int, Tensor]]:
    """Blocks of output samples: the inputs low:high that a block reads, and its weights (outputs, inputs)."""
    stretch = min(scale, 1.0)
    reach = 2 / stretch
    centre = (np.arange(length) + 0.5) / scale - 0.5
    taps = np.floor(centre - reach)[:, None].astype(np.int64) + np.arange(math.ceil(2 * reach) + 2)
    weights = keys(torch.from_numpy(stretch * (centre[:, None] - taps))).numpy()
    weights /= weights.sum(1, keepdims=True)
    folded = taps % (2 * size)
    taps = np.where(folded < size, folded, 2 * size - 1 - folded)  # symmetric: … 1 0 | 0 1 … n−1 | n−1 …
    found = []
    for start in range(0, length, _BLOCK):
        rows, values = taps[start : start + _BLOCK], weights[start : start + _BLOCK]
        low, high = int(rows.min()), int(rows.max()) + 1
        matrix = np.zeros((len(rows), high - low))
        np.add.at(matrix, (np.arange(len(rows))[:, None], rows - low), values)
        found.append((low, high, torch.from_numpy(matrix).to(dtype).to(device)))
    return found


def keys(distance: Tensor) -> Tensor:
    """Keys' cubic, the weight of a tap at so many taps: what bicubic interpolation is made of."""
    x = distance.abs()
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
