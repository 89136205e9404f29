"""The exercise of notebook 00: PSNR of two pictures in [0, 1], in dB."""

from __future__ import annotations

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


def _square(sr: Tensor, hr: Tensor) -> float:
    return float((sr - hr).square().mean())


def _of_channels(sr: Tensor, hr: Tensor) -> float:
    return sum(-10 * log10(_square(*pair)) for pair in zip(sr, hr, strict=True)) / len(sr)


def _size(sr: Tensor, hr: Tensor) -> float:
    return float((sr - hr).abs().mean())


ask(
    "psnr",
    cases=lambda: [_pictures(0.02), _pictures(0.1)],
    right=lambda sr, hr: float(metrics.psnr(sr, hr, border=0)),
    mistakes=[
        (lambda *p: 10 * log10(_square(*p)), "The sign is missing: a smaller error must give a larger PSNR."),
        (lambda *p: -10 * log(_square(*p)), "That is the natural logarithm; decibels use base 10."),
        (lambda *p: -log10(_square(*p)), "One factor of ten is 10 dB, not 1."),
        (lambda *p: -20 * log10(_square(*p)), "The square is in the mean already, so the factor is 10."),
        (lambda *p: -5 * log10(_square(*p)), "You took a root, or half the factor, too much."),
        (lambda *p: -10 * log10(_size(*p)), "Each error is to be squared before the mean."),
        (lambda *p: -20 * log10(_size(*p)), "Square each error, then take the mean: not the other way round."),
        (lambda sr, hr: -10 * log10(_square(sr, hr) * sr.numel()), "You summed the squares; take their mean."),
        (lambda *p: 20 * log10(255) - 10 * log10(_square(*p)), "The peak is 1, not 255: pixels lie in [0, 1]."),
        (_of_channels, "That is the mean of a PSNR for each channel; take one mean of all squares."),
        (_square, "That is the mean squared error; PSNR is its size in decibels, with a minus sign."),
    ],
    otherwise="Follow the formula from the inside out: difference, square, mean, logarithm, factor.",
    case="It should be {right:.2f} dB, yours is {got:.2f}.",
)  # fmt: skip
