"""What a kernel's error bar cannot tell: reasons to doubt the estimate of a photo, or of a set, in words.

>>> of_photos({"a": 1.0, "b": 1.1, "c": 2.2, "d": 2.4})[0].split(":")[0]
'two groups of kernels, σ 1.0 (a, b) and 2.3 HR pixels (c, d)'
"""

import math
import statistics
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from otsr.degradation.estimation import WIDEST, Blur
from otsr.degradation.spectrum import busiest
from otsr.images import luma
from otsr.images.resampling import keys

_LEAST_CONTRAST = 15.0  # `Blur.contrast` of the tiles in focus
_STRANGE = 2.8  # `Blur.strangeness`: one photo in a hundred is stranger
_SHARPENED = {2: 0.085, 4: 0.11}  # negative taps: one unsharpened photo in twenty, of any family, has more
_PERIODIC = 60.0  # strongest period of the curvature, over the median of all
_ON_GRID = 0.3  # what enlargement leaves unexplained on the best grid, over that on the worst
_SOFT = 0.5  # pixels of the photo: an enlarged photo is not sharper
_UNEVEN = 1.5  # ratio of σ between tiles, at 90 and 10 %
_APART = 1.5  # ratio of σ between two groups of photos


def of_photo(lr: Tensor, blurs: Sequence[Blur], kernel: Tensor, scale: int) -> list[str]:
    """Reasons to doubt the kernel of a photo (3, H, W): the mean of its tiles in focus, whose blurs are given."""
    contrast = statistics.median(blur.contrast for blur in blurs)
    widest = max(math.sqrt(float(torch.linalg.eigvalsh(blur.covariance)[1])) for blur in blurs) / scale
    strange = statistics.median_high(blur.strangeness for blur in blurs) > _STRANGE
    negative = -float(kernel.clamp(max=0).sum())
    sharp = negative > _SHARPENED[scale]
    factors = enlarged(luma(lr)[0]) if min(blur.sigma for blur in blurs) > _SOFT * scale else ()
    times = " or ".join(f"{factor:.3g}" for factor in factors)
    reasons = {
        f"hardly any texture: detail has only {contrast:.0f} times the power of the noise, so the kernel is a guess; "
        "add photos with edges or detail in them": contrast < _LEAST_CONTRAST,
        f"out of range: the blur spans {widest:.1f} pixels of the photo, and the estimator knows up to {WIDEST:g}; "
        "take sharper photos, or shrink these": widest > 0.9 * WIDEST,
        "unlike a photo (a drawing, a screenshot, or edited), so its kernel is a guess": strange,
        f"sharpened by software: {negative:.0%} of the kernel is negative, which amplifies noise": sharp,
        f"enlarged before, {times} times: the blur is the enlargement's own; use the files as the camera wrote them, "
        "without digital zoom": len(factors) > 0,
    }
    return [words for words, holds in reasons.items() if holds]


def of_tiles(blurs: Sequence[Blur]) -> list[str]:
    """Whether blur differs over a photo: its tiles by more than half, and twice as much as their errors explain."""
    if len(blurs) < 4:
        return []
    sigma = torch.tensor([blur.sigma for blur in blurs])
    low, high = torch.quantile(sigma, torch.tensor([0.1, 0.9])).tolist()
    error = statistics.fmean(blur.unclear for blur in blurs) / 2  # of log σ; 2.56 lie between the quantiles
    if math.log(high / low) < max(math.log(_UNEVEN), 2 * 2.56 * error):
        return []
    spread = f"σ {low:.1f} to {high:.1f} HR pixels"
    return [f"blur differs over the picture: {spread}; the kernel is that of the sharpest parts"]


def of_photos(sigma: Mapping[str, float]) -> list[str]:
    """Whether the photos fall into two groups of blur, as those of two cameras would.

    The widest gap in log σ makes the groups, of two photos at least. They are reported if the gap is wider than either
    group, and their σ differ by half.
    """
    names = sorted(sigma, key=lambda name: sigma[name])
    logs = [math.log(sigma[name]) for name in names]
    if len(logs) < 4:
        return []
    cut = max(range(2, len(logs) - 1), key=lambda n: logs[n] - logs[n - 1])
    gap = logs[cut] - logs[cut - 1]
    if gap < max(math.log(_APART), logs[cut - 1] - logs[0], logs[-1] - logs[cut]):
        return []
    low, high = (math.exp(statistics.fmean(part)) for part in (logs[:cut], logs[cut:]))
    first, second = ", ".join(names[:cut]), ", ".join(names[cut:])
    found = f"two groups of kernels, σ {low:.1f} ({first}) and {high:.1f} HR pixels ({second})"
    return [f"{found}: if these are two cameras, estimate them separately"]


def enlarged(grey: Tensor) -> tuple[float, ...]:
    """The factors by which a photo, its luma (H, W), may have been enlarged; none if it shows no sign of it.

    Interpolated pixels are smoother between the original ones than on them: the mean curvature of columns, and of
    rows, then has a period, of the factor or, above ½ cycle a pixel, of its alias: two factors explain it. Multiples of
    ⅛ are those of compression's blocks; for factors of exactly 2 and 4 see `_on_grid`. What was compressed hard
    afterwards goes unseen. Gallagher, Detection of linear and cubic interpolation in JPEG compressed images, CRV 2005.
    """
    both = torch.minimum(_periods(255 * grey.float()), _periods(255 * grey.T.float()))
    frequency = (torch.arange(len(both)) + 0.5) / (2 * len(both))
    both[(frequency < 0.1) | ((8 * frequency - (8 * frequency).round()).abs() < 0.06)] = 0
    peak = int(both.argmax())
    if float(both[peak]) >= _PERIODIC:
        return 1 / (1 - float(frequency[peak])), 1 / float(frequency[peak])
    window = 255 * busiest(grey.float(), 256)
    return tuple(float(factor) for factor in (2, 4) if _on_grid(window, factor) < _ON_GRID)[-1:]


def _periods(plane: Tensor) -> Tensor:
    """Power of the mean curvature along the rows of (H, W) at 512 frequencies up to ½, over its median."""
    curvature = (plane[:, :-2] - 2 * plane[:, 1:-1] + plane[:, 2:]).abs().clamp(max=12)
    line = (curvature.mean(0) + 1e-3).log()
    trend = F.avg_pool1d(F.pad(line[None, None], (7, 7), mode="reflect"), 15, 1)[0, 0]
    power = torch.fft.rfft((line - trend) * torch.hann_window(len(line)), n=4096).abs().square()
    power = power[:2048].reshape(512, 4).amax(1)
    return power / power.median().clamp_min(1e-12)


def _on_grid(window: Tensor, factor: int) -> float:
    """How much less bicubic enlargement by `factor` leaves unexplained on its best grid than on the worst.

    Every row, and every column, is fitted by least squares with what `factor` times fewer pixels can become; the grid
    may begin at any pixel. 1 means that no grid is better: the photo was not enlarged by this factor.
    """
    unexplained = torch.zeros(factor)
    for lines in (window, window.T):
        place = torch.arange(len(lines), dtype=torch.float32)[:, None]
        for first in range(factor):
            weights = keys((place + first + 0.5) / factor - 0.5 - torch.arange(-2, len(lines) // factor + 3))
            basis = torch.linalg.qr(weights[:, weights.abs().sum(0) > 0.1]).Q
            unexplained[first] += (lines - basis @ (basis.T @ lines)).square().mean()
    return float(unexplained.min() / unexplained.max().clamp_min(1e-6))
