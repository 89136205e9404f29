"""The exercise of notebook 00: PSNR of two pictures in [0, 1], in dB."""

from math import log, log10

import torch
from torch import Tensor

from otsr import metrics
from otsr.course.exercises.checking import ask


def _pictures(noise: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hr = torch.rand(3, 24, 32, generator=generator) * 0.5 + 0.25
    channels = torch.tensor([0.5, 1.0, 1.3])[:, None, None]  # a mean of three PSNRs is another number
    return (hr + noise * channels * torch.randn(hr.shape, generator=generator)).clamp(0, 1), hr


def _mistakes(sr: Tensor, hr: Tensor) -> list[tuple[float, str]]:
    square, size = float((sr - hr).square().mean()), float((sr - hr).abs().mean())
    return [
        (10 * log10(square), "The sign is missing: a smaller error must give a larger PSNR."),
        (-10 * log(square), "That is the natural logarithm; decibels use base 10."),
        (-log10(square), "One factor of ten is 10 dB, not 1."),
        (-20 * log10(square), "The square is in the mean already, so the factor is 10."),
        (-5 * log10(square), "You took a root, or half the factor, too much."),
        (-10 * log10(size), "Each error is to be squared before the mean."),
        (-20 * log10(size), "Square each error, then take the mean: not the other way round."),
        (-10 * log10(square * sr.numel()), "You summed the squares; take their mean."),
        (20 * log10(255) - 10 * log10(square), "The peak is 1, not 255: pixels lie in [0, 1]."),
        (-10 * float((sr - hr).square().mean((1, 2)).log10().mean()),
         "That is the mean of a PSNR for each channel; take one mean of all squares."),
        (square, "That is the mean squared error; PSNR is its size in decibels, with a minus sign."),
    ]  # fmt: skip


ask(
    "psnr",
    cases=lambda: [_pictures(0.02), _pictures(0.1)],
    right=lambda sr, hr: float(metrics.psnr(sr, hr, border=0)),
    mistakes=_mistakes,
    otherwise="Follow the formula from the inside out: difference, square, mean, logarithm, factor.",
    case="It should be {right:.2f} dB, yours is {got:.2f}.",
)
