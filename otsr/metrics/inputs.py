"""The door of every metric: what fits together is checked once, here, and the message says what to do."""

import torch
from torch import Tensor

from otsr.images import as_batch


def as_pair(sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
    """Both as batches, of equal shape, dtype and device."""
    first, second = as_batch(sr, "sr"), as_batch(hr, "hr")
    if sr.shape != hr.shape:
        shapes = f"sr has shape {tuple(sr.shape)}, hr {tuple(hr.shape)}"
        advice = "crop hr to a multiple of the scale before it is degraded (otsr.images.crop_to_multiple)"
        raise ValueError(f"{shapes}; they must be equal: {advice}")
    dtype = torch.promote_types(first.dtype, second.dtype)
    return first.to(dtype), second.to(dtype)


def as_scaled(sr: Tensor, lr: Tensor, scale: int | None = None) -> tuple[Tensor, Tensor, int]:
    """Both as batches, and how many times as large sr is; that must be `scale` where it is given."""
    large, small = as_batch(sr, "sr"), as_batch(lr, "lr")
    times = max(1, large.shape[-1] // small.shape[-1]) if scale is None else scale
    if times < 1 or sr.shape != (*lr.shape[:-2], times * lr.shape[-2], times * lr.shape[-1]):
        shapes = f"sr has shape {tuple(sr.shape)}, lr {tuple(lr.shape)}"
        factor = "a whole multiple of" if scale is None else f"{scale} times"
        raise ValueError(f"{shapes}; expected {factor} lr's height and width: check the scale")
    return large, small, times


def as_float64(batch: Tensor) -> Tensor:
    """The batch with more digits; on the CPU if it was on Apple's GPU, which has no float64."""
    return (batch.cpu() if batch.device.type == "mps" else batch).double()


def cut_border(batch: Tensor, border: int, smallest: int, metric: str) -> Tensor:
    """Without `border` pixels on each side; at least `smallest` must remain."""
    if border < 0:
        raise ValueError(f"border is {border}, expected 0 or more pixels")
    height, width = batch.shape[-2:]
    if min(height, width) - 2 * border < smallest:
        raise ValueError(
            f"{metric} needs {smallest} pixels on each side inside a border of {border}, "
            f"the picture has {width}×{height}; use a larger picture or a smaller border"
        )
    return batch[..., border : height - border, border : width - border]


def like_input(values: Tensor, image: Tensor) -> Tensor:
    """Values (B,) for a batch; for a single picture its value, without dimensions."""
    return values if image.dim() == 4 else values[0]
