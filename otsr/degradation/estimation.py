"""One door to both estimators of the blur kernel: checks what comes in, hands out a kernel on the one sampling grid."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from otsr.degradation import kernelgan, kernels, spectrum
from otsr.degradation.spectrum import SMALLEST
from otsr.images import luma

Method = Literal["spectrum", "kernelgan"]


def estimate_kernel(
    lr: Tensor,
    scale: int = 2,
    method: Method = "spectrum",
    *,
    size: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Tensor:
    """Blur kernel k in lr = (hr * k)↓scale + noise, from the LR image alone.

    "spectrum" (the default, a tenth of a second) finds the kernel, stretched at any angle, that explains the image's
    statistics at several scales: a Gaussian, and how discs, motion, boxes, bicubic and sharpened kernels differ from
    it. `spectrum.estimate_blur` says how sure it is.
    "kernelgan" (about a minute on a CPU) trains a kernel of any shape until the image's patches look alike at two
    scales; `benchmarks/results/kernel_estimation.md` says how the two compare.

    Args:
        lr: (3, H, W) in [0, 1], both sides at least 64, with some texture.
        scale: 2 or 4.
        method: "spectrum" or "kernelgan".
        size: k of the result, of the parity of scale (even); what does not fit is cut. None: as large as needed.
        seed: of KernelGAN's training; the spectrum has no randomness.
        progress: a progress bar for KernelGAN.

    Returns:
        (k, k) float32 on the HR grid and lr's device: sums to 1, centre of mass at the array's centre. Negative taps
        say that the photo was sharpened; KernelGAN gives none.

    Raises:
        ValueError: an argument is wrong (it is named), or lr holds NaN or infinity.
        NoTextureError: (a ValueError) the image is flat, or nothing but noise.
    """
    _check(lr, scale, method, size)
    image = lr.detach().float().cpu()
    if method == "spectrum":
        kernel = spectrum.kernel_of(spectrum.estimate_blur(image, scale), scale, size)
    else:
        spectrum.require_texture(luma(image)[0])
        raw = kernelgan.train_kernel(image, seed=seed, progress=progress)
        kernel = kernelgan.finish_kernel(raw, scale)
        if size is not None:
            kernel = F.pad(kernel, [(size - kernel.shape[0]) // 2] * 4)  # a negative margin cuts
            kernel = kernel / kernel.sum()
    return kernel.to(lr.device)


def gaussian_of(covariance: Tensor, scale: int, size: int | None = None) -> Tensor:
    """The Gaussian kernel with a (2, 2) covariance in HR pixels²; by default 3 standard deviations fit to each side."""
    variances, axes = torch.linalg.eigh(covariance.double())
    if size is None:
        size = scale + 2 * max(1, math.ceil(3 * math.sqrt(float(variances[1])) - scale / 2))
    angle = math.degrees(math.atan2(-float(axes[1, 1]), float(axes[0, 1])))  # y runs down
    return kernels.gaussian(size, float(variances[1]), float(variances[0]), angle)


def _check(lr: Tensor, scale: int, method: str, size: int | None) -> None:
    if not isinstance(lr, Tensor) or lr.dim() != 3 or lr.shape[0] != 3 or not lr.is_floating_point():
        found = f"{tuple(lr.shape)} {lr.dtype}" if isinstance(lr, Tensor) else type(lr).__name__
        raise ValueError(f"lr is {found}, expected a floating (3, H, W) tensor; otsr.images.read makes one")
    if scale not in (2, 4):
        raise ValueError(f"scale is {scale}, expected 2 or 4")
    if method not in ("spectrum", "kernelgan"):
        raise ValueError(f'method is {method!r}, expected "spectrum" or "kernelgan"')
    if size is not None and (size != int(size) or size < scale or (size - scale) % 2):
        raise ValueError(f"size is {size}, expected None or an even number of taps from {scale} up")
    height, width = lr.shape[1:]
    if min(height, width) < SMALLEST:
        raise ValueError(
            f"lr has {height} × {width} pixels; estimating a kernel takes at least {SMALLEST} × {SMALLEST}"
        )
    bad = int((~lr.isfinite()).sum())
    if bad:
        raise ValueError(f"lr holds {bad} values that are NaN or infinite; expected numbers in [0, 1]")
    low, high = lr.min().item(), lr.max().item()
    if low < -0.5 or high > 1.5:
        raise ValueError(f"lr lies in [{low:.4g}, {high:.4g}], expected [0, 1]; divide 8-bit values by 255")
