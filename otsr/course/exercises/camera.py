"""The exercises of notebook 01: write the degradation, and say as which wave a wave comes back."""

from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from otsr.course.exercises.checking import ask
from otsr.degradation import kernels


def _chain(s: int, kernel: Tensor) -> tuple[Tensor, Tensor, int, Tensor]:
    """(hr, kernel, s, noise)"""
    generator = torch.Generator().manual_seed(1)
    hr = torch.rand(3, 24 * s, 24 * s, generator=generator, dtype=torch.float64)
    hr = hr.round() if s == 2 else 0.3 + 0.4 * hr  # black and white: bicubic overshoots
    return hr, kernel.double(), s, 0.1 * torch.randn(3, 24, 24, generator=generator, dtype=torch.float64)


def _lopsided(size: int) -> Tensor:
    """A kernel without any symmetry: mirrored, turned or shifted it is another one."""
    weights = torch.rand(size, size, generator=torch.Generator().manual_seed(size))
    weights[: size // 2] *= 3
    return weights / weights.sum()


def camera(hr: Tensor, kernel: Tensor, s: int, noise: Tensor) -> Tensor:
    """What `Degradation` makes: clip(clip((x * k)↓s) + n)."""
    return (kernels.downsample(hr, kernel, s).clamp(0, 1) + noise).clamp(0, 1)


def _from(row: int, column: int, hr: Tensor, kernel: Tensor, s: int, noise: Tensor, mode: str) -> Tensor:
    """The same from another first pixel of what the notebook's `blur` returns, or with another border."""
    padded = F.pad(hr[:, None], [kernel.shape[-1] // 2] * 4, mode=mode)
    blurred = F.conv2d(padded, kernel.flip(0, 1)[None, None])[:, 0]
    kept = blurred[:, row % s :: s, column % s :: s][:, : noise.shape[1], : noise.shape[2]]
    return (kept.clamp(0, 1) + noise).clamp(0, 1)


def _size_hint(got: Tensor, expected: Tensor, hr: Tensor, kernel: Tensor, s: int, noise: Tensor) -> str:
    if got.shape[0] != expected.shape[0]:
        return "The first axis holds red, green and blue: sample the other two."
    surplus = sorted(side - right for side, right in zip(got.shape[1:], expected.shape[1:], strict=True))
    if surplus == [1, 1]:
        return f"One sample too many: start at pixel {s // 2} of what blur returns, not at 0."
    if surplus[0] < 0:
        return f"Pixels are missing: mirror the border before you blur, and start at pixel {s // 2}."
    if surplus[1] <= 1:
        return ""
    return f"Keep every {s}th pixel{'' if surplus[0] > 1 else ', downwards as well as to the right'}."


ask(
    "degrade",
    cases=lambda: [_chain(4, _lopsided(8)), _chain(3, _lopsided(7)), _chain(2, kernels.bicubic(2))],
    right=camera,
    mistakes=lambda x, k, s, n: [
        (camera(x, k, s, 0 * n), "The noise is missing."),
        (camera(x, k, s, 0 * n) + n, "Clip the sum to [0, 1]: nothing is darker than black."),
        ((kernels.downsample(x, k, s) + n).clamp(0, 1),
         "Clip before you add the noise as well: the sensor sees no negative light."),
        (kernels.downsample(x, k, s) + n, "Clip to [0, 1], before and after the noise is added."),
        (camera(x, k, s, -n), "The noise is to be added, not taken away."),
        (camera(x, k, s, n / 255), camera(x, k, s, n * 255),
         "The noise is in units of [0, 1] already, not in grey levels."),
        (camera(x, k.flip(0, 1), s, n),
         "Your kernel is mirrored: conv2d correlates, a convolution flips the kernel first."),
        (_from(s // 2, s // 2, x, k, s, n, "constant"),
         "Look at the border: mirror the picture there, do not fill with zeros."),
        (*(_from(row, column, x, k, s, n, "reflect") for row, column in product(range(4), repeat=2)),
         "You keep the pixels of another grid: the first is number s // 2 of what blur returns."),
    ],
    otherwise="Follow the chain: blur, sample, clip, add the noise, clip.",
    case="At s = {2} it differs from Degradation by up to {off:.1e}.",
    shape_hint=_size_hint,
    stops={"must match": "The noise has the size of LR: sample rows and columns first, and lose no border."},
)  # fmt: skip

ask(
    "alias",
    cases=lambda: [(0.27, 4), (0.05, 4), (0.25, 4), (0.23, 4), (0.45, 2), (0.3, 3)],
    right=lambda f, s: abs(s * f - round(s * f)),
    mistakes=lambda f, s: [
        (f, "That is the wave as it was; first count its cycles per LR pixel, which is s HR pixels wide."),
        (s * f % 1, "Above ½ the wave turns backwards: 0.9 of a turn forwards looks like 0.1 backwards."),
        (s * f, "Whole turns between two samples cannot be seen: take them away."),
        (s * f - round(s * f), "Turning backwards looks like turning forwards: mind the sign."),
        (abs(s * f - round(s * f)) / s, "That is per HR pixel; count per LR pixel."),
        (f / s, "An LR pixel is wider than an HR pixel, so it holds more of a cycle, not less."),
    ],
    otherwise="How many turns does the wave do from one sample to the next, and how many of them can be seen?",
    case="A wave of {0} at s = {1} is seen as {right:.2f} cycles per LR pixel, yours says {got:.2f}.",
)  # fmt: skip
