"""The exercises of notebook 01: write the degradation, and say as which wave a wave comes back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from otsr.course.exercises.checking import StoppedError, call, exercise
from otsr.degradation import Degradation, NoisePool, kernels

_RIGHT = 1e-6  # root mean square, in units of [0, 1]


@exercise("degrade")
def _degrade(answer: Any) -> str | None:
    """y = clip(clip((x * k)↓s) + n), the same as `Degradation` makes it."""
    generator = torch.Generator().manual_seed(1)
    for scale, kernel in ((4, _lopsided(8)), (3, _lopsided(7)), (2, kernels.bicubic(2))):
        hr = torch.rand(3, 24 * scale, 24 * scale, generator=generator, dtype=torch.float64)
        hr = (
            hr.round() if scale == 2 else 0.3 + 0.4 * hr
        )  # black and white: bicubic overshoots, and must be clipped
        patch = torch.randint(100, 156, (1, 3, 24, 24), generator=generator, dtype=torch.uint8)
        pool = NoisePool(patch, ["exercise"], [""])
        noise = pool.sample(1, 24)[0].double()
        expected = Degradation(scale, kernel, pool).apply(hr)
        try:
            got = call(answer, hr.clone(), kernel.double(), scale, noise.clone())
        except StoppedError as stop:
            return f"{stop}.{' The noise has the size of LR: sample first.' if 'must match' in str(stop) else ''}"
        if not isinstance(got, Tensor) or got.shape != expected.shape:
            found = f"{tuple(got.shape)}" if isinstance(got, Tensor) else type(got).__name__
            of = f"for hr {tuple(hr.shape)} and s = {scale}"
            told = f"A tensor {tuple(expected.shape)} is expected {of}, your function returned {found}."
            return f"{told}{_shape_hint(got, expected, scale)}"
        error = _distance(got, expected)
        if not error <= _RIGHT:
            hint = _degrade_hint(got, hr, kernel.double(), scale, noise)
            return f"At s = {scale} it differs from Degradation by {error:.1e} (root mean square). {hint}"
    return None


def _shape_hint(got: Any, expected: Tensor, scale: int) -> str:
    if not isinstance(got, Tensor) or got.ndim != 3:
        return ""
    surplus = sorted(side - right for side, right in zip(got.shape[1:], expected.shape[1:], strict=True))
    if surplus == [1, 1]:
        return f" One sample too many: start at pixel {scale // 2} of what blur returns, not at 0."
    if surplus[1] <= 1:
        return ""
    where = "" if surplus[0] > 1 else ", downwards as well as to the right"
    return f" Keep every {scale}th pixel{where}."


def _lopsided(size: int) -> Tensor:
    """A kernel without any symmetry: mirrored, turned or shifted it is another one."""
    weights = torch.rand(size, size, generator=torch.Generator().manual_seed(size))
    weights[: size // 2] *= 3
    return weights / weights.sum()


def _distance(got: Tensor, expected: Tensor) -> float:
    return float((got.double() - expected).square().mean().sqrt())


def _degrade_hint(got: Tensor, hr: Tensor, kernel: Tensor, scale: int, noise: Tensor) -> str:
    blurred = kernels.downsample(hr, kernel, scale)
    right = blurred.clamp(0, 1)
    usual = [
        (right, "The noise is missing."),
        (
            right + noise,
            "Clip the sum to [0, 1]: a camera stores nothing darker than black, brighter than white.",
        ),
        (
            (blurred + noise).clamp(0, 1),
            "Clip before you add the noise as well: the sensor sees no negative light.",
        ),
        (blurred + noise, "Clip to [0, 1], before and after the noise is added."),
        ((right - noise).clamp(0, 1), "The noise is to be added, not taken away."),
        ((right + noise / 255).clamp(0, 1), "The noise is in units of [0, 1] already, not in grey levels."),
        ((right + 255 * noise).clamp(0, 1), "The noise is in units of [0, 1] already, not in grey levels."),
        (
            (kernels.downsample(hr, kernel.flip(0, 1), scale).clamp(0, 1) + noise).clamp(0, 1),
            "Your kernel is mirrored: conv2d correlates, a convolution flips the kernel first.",
        ),
        (
            (_blurred(hr, kernel, "constant")[:, scale // 2 :: scale, scale // 2 :: scale] + noise).clamp(
                0, 1
            ),
            "Look at the border: mirror the picture there, do not fill with zeros.",
        ),
    ]
    full = _blurred(hr, kernel, "reflect")
    for row in range(scale):
        for column in range(scale):
            shifted = full[:, row::scale, column::scale][:, : noise.shape[1], : noise.shape[2]]
            if shifted.shape == noise.shape and (row, column) != (scale // 2, scale // 2):
                usual.append(
                    (
                        (shifted.clamp(0, 1) + noise).clamp(0, 1),
                        f"You keep the pixels of another grid: the first is number {scale // 2} of what blur returns.",
                    )
                )
    return next(
        (hint for variant, hint in usual if _distance(got, variant) <= _RIGHT),
        "Follow the chain: blur, sample, clip, add the noise, clip.",
    )


def _blurred(hr: Tensor, kernel: Tensor, mode: str) -> Tensor:
    """(x * k) at every place, as the notebook's `blur` returns it."""
    size = kernel.shape[-1]
    padded = F.pad(hr[:, None], [size // 2] * 4, mode=mode)
    return F.conv2d(padded, kernel.flip(0, 1)[None, None])[:, 0]


@exercise("alias")
def _alias(answer: Any) -> str | None:
    """Cycles per LR pixel at which a wave of f cycles per HR pixel is seen after ↓s: the distance of s·f to a whole."""
    for f, s in ((0.27, 4), (0.05, 4), (0.25, 4), (0.23, 4), (0.45, 2), (0.3, 3)):
        value = call(answer, f, s)
        try:
            got = float(value)
        except (TypeError, ValueError):
            return f"One number is expected, your function returned {type(value).__name__}."
        expected = abs(s * f - round(s * f))
        if abs(got - expected) > 1e-6:
            found = f"A wave of {f} at s = {s} is seen as {expected:.2f} cycles per LR pixel, yours says {got:.2f}."
            return f"{found} {_alias_hint(got, f, s)}"
    return None


def _alias_hint(got: float, f: float, s: int) -> str:
    usual = {
        f: "That is the wave as it was; first count its cycles per LR pixel, which is s HR pixels wide.",
        s * f: "Whole turns between two samples cannot be seen: take them away.",
        (s * f) % 1: "Above ½ the wave turns backwards: 0.9 of a turn forwards looks like 0.1 backwards.",
        s * f
        - round(s * f): "A wave that turns backwards looks like one that turns forwards: mind the sign.",
        abs(s * f - round(s * f)) / s: "That is per HR pixel; count per LR pixel.",
        f / s: "An LR pixel is wider than an HR pixel, so it holds more of a cycle, not less.",
    }
    near = (hint for value, hint in usual.items() if abs(got - value) < 1e-6)
    return next(
        near, "How many turns does the wave do from one sample to the next, and how many of them can be seen?"
    )
