"""The exercise of notebook 00."""

from __future__ import annotations

import math
from typing import Any

import torch

from otsr import metrics
from otsr.course.exercises.checking import call, exercise


@exercise("psnr")
def _psnr(answer: Any) -> str | None:
    """Notebook 00: PSNR of two pictures in [0, 1], in dB."""
    generator = torch.Generator().manual_seed(0)
    for noise in (0.02, 0.1):
        hr = torch.rand(3, 24, 32, generator=generator) * 0.5 + 0.25
        sr = (hr + noise * torch.randn(hr.shape, generator=generator)).clamp(0, 1)
        value = call(answer, sr, hr)
        try:
            got = float(value)
        except (TypeError, ValueError, RuntimeError):
            kind = type(value).__name__
            return f"One number is expected, your function returned {kind}: take the mean over all values."
        expected = float(metrics.psnr(sr, hr, border=0))
        if abs(got - expected) > 0.01:
            found = f"For noise of σ = {noise} it should be {expected:.2f} dB, yours is {got:.2f}."
            return f"{found} {_psnr_hint(got, sr, hr)}"
    return None


def _psnr_hint(got: float, sr: torch.Tensor, hr: torch.Tensor) -> str:
    error = sr - hr
    square = float(error.square().mean())
    usual = {
        10 * math.log10(square): "The sign is missing: a smaller error must give a larger PSNR.",
        -10 * math.log(square): "That is the natural logarithm; decibels use base 10.",
        -math.log10(square): "One factor of ten is 10 dB, not 1.",
        -20 * math.log10(square): "The square is in the mean already, so the factor is 10.",
        -5 * math.log10(square): "You took a root (or half the factor) too much.",
        -10 * math.log10(float(error.abs().mean())): "Each error is to be squared before the mean.",
        -20
        * math.log10(
            float(error.abs().mean())
        ): "Square each error, then take the mean: not the other way round.",
        -10 * math.log10(square * error.numel()): "You summed the squares; take their mean.",
        -10 * math.log10(square) + 20 * math.log10(255): "The peak is 1 here, not 255: pixels lie in [0, 1].",
        square: "That is the mean squared error; PSNR is its size in decibels, with a minus sign.",
    }
    for value, hint in usual.items():
        if abs(got - value) < 0.005 * max(1.0, abs(value)):
            return hint
    return "Follow the formula from inside out: difference, square, mean, logarithm, factor."
