"""How good is a super-resolved picture? Every metric says its channel, border, range and protocol.

For all: pictures are tensors of sRGB values in [0, 1]; (3, H, W) gives a tensor without dimensions (use `float(...)`),
(B, 3, H, W) gives a tensor (B,), one value a picture. NaN, values outside [0, 1], shapes that do not fit, and pictures
too small are a ValueError: clamp a network's output first, since that is what a file would hold.
"""

from otsr.metrics.artefacts import block_gain, checkerboard, colour_shift, noise_gain
from otsr.metrics.fidelity import lr_consistency, patch_swd, psnr, ssim, st_lpips
from otsr.metrics.intervals import Interval, mean_interval
from otsr.metrics.naturalness import niqe

__all__ = [
    "Interval", "block_gain", "checkerboard", "colour_shift", "lr_consistency", "mean_interval", "niqe", "noise_gain",
    "patch_swd", "psnr", "ssim", "st_lpips",
]  # fmt: skip
