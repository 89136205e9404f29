"""The exercises of notebook 09: which PSNR a paper means, and which score of many may be reported."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from otsr import metrics
from otsr.course.exercises.checking import CHECKS, ask, call, described
from otsr.metrics.fidelity import Channel

_CHOICES: tuple[tuple[Channel, int], ...] = (("y", 4), ("rgb", 0), ("y", 0), ("rgb", 4))


def _settings(answer: Any) -> str | None:
    """Among channels rgb and y and borders 0 and 4, the pair whose PSNR is the one claimed."""
    for seed, (channel, border) in enumerate(_CHOICES):
        sr, hr = _pictures(seed)
        psnrs = {(c, b): float(metrics.psnr(sr, hr, b, c)) for c, b in _CHOICES}
        claimed = round(psnrs[channel, border], 2)
        got = call(answer, sr.clone(), hr.clone(), claimed)
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            return f"A pair (channel, border) is expected, your function returned {described(got)}."
        theirs = next((choice for choice in _CHOICES if [*map(str, choice)] == [*map(str, got)]), None)
        if theirs is None:
            return f"The channel is 'rgb' or 'y', the border 0 or 4, in this order; you returned {tuple(got)}."
        if theirs != (channel, border):
            asked = f"With {theirs} the PSNR is {psnrs[theirs]:.2f} dB, {claimed:.2f} were claimed."
            if theirs[1] == border:
                return f"{asked} The border is right, the channel is not."
            if theirs[0] != channel:
                return f"{asked} Compute all four PSNRs, and take the one that is nearest to the claim."
            wrong = "The channel is right. A border is cut off on all four sides, and of both pictures."
            luma = "The border is wrong, or your luma: MATLAB's runs from 16 to 235, and green counts most."
            return f"{asked} {luma if channel == 'y' else wrong}"
    return None


CHECKS["settings"] = _settings


def _pictures(seed: int) -> tuple[Tensor, Tensor]:
    """A spoiled picture of noise and the true one: blue is spoiled more than green, the border more than the middle."""
    drawing = torch.Generator().manual_seed(seed)
    hr = 0.2 + 0.6 * torch.rand(3, 40, 56, generator=drawing)
    error = torch.tensor([0.02, 0.01, 0.06])[:, None, None] * torch.randn(3, 40, 56, generator=drawing)
    error[:, 4:-4, 4:-4] *= 0.6
    return (hr + error).clamp(0, 1), hr


def _scores() -> list[tuple[np.ndarray, ...]]:
    drawing = np.random.default_rng(0)
    return [tuple(22 + drawing.normal(size=(2, *size))) for size in ((6, 5), (9, 8), (4, 3))]


def _chosen(scores: np.ndarray) -> int:
    return int(scores.mean(axis=1).argmax())


ask(
    "report",
    cases=_scores,
    right=lambda v, t: t[_chosen(v)].mean(),
    mistakes=lambda v, t: [
        (t[_chosen(t)].mean(), "That is the best mean on the test photos: they must not choose."),
        (v[_chosen(v)].mean(), "That is the score on the very photos that chose it: a winner's score."),
        (t.max(axis=0).mean(), "That takes another checkpoint for each photo, and the best at that."),
        (t.max(), "That is one checkpoint on one photo, the luckiest pair of all."),
        (t.mean(), "That is the mean over all checkpoints; you have to choose one."),
        (t[-1].mean(), "That is the last checkpoint. What were the validation photos for?"),
        (t[_chosen(-v)].mean(), "You chose the worst one: with PSNR more is better."),
        (t[v.max(axis=1).argmax()].mean(), "You chose by one single validation photo; use the mean."),
        (t[v.mean(axis=0).argmax()].mean(), "You averaged over checkpoints: argmax names a photo."),
        (_chosen(v), "That is the number of the checkpoint; its score is asked for."),
    ],
    otherwise="Which photos choose the checkpoint, and which ones judge it? Each pile has one task.",
    case="With {0.shape[0]} checkpoints and {0.shape[1]} photos yours is {got:.2f} dB.",
)  # fmt: skip
