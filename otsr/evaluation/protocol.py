"""What is measured on a picture, and how: one protocol for `otsr evaluate` and for the validation of a training.

SR pictures come rounded to 8 bits, as a person would get them. PSNR and SSIM are taken on MATLAB's luma, without
`border` pixels on each side; ST-LPIPS, NIQE and patch-SWD on whole pictures; LR consistency by MATLAB's bicubic,
without border / scale LR pixels. A blurred and noisy LR picture is not what its truth shrinks to, so a network that
removes noise scores lower in LR consistency: read that column beside the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from otsr import metrics


@dataclass(frozen=True)
class Metric:
    """A column of the table.

    Attributes:
        key: name in Python and JSON.
        title: name for people.
        higher: whether more is better.
        digits: behind the point.
        against: what SR is compared with.
        value: of (sr, what it is compared with, scale, border).
    """

    key: str
    title: str
    higher: bool
    digits: int
    against: Literal["truth", "input", "nothing"]
    value: Callable[[Tensor, Tensor, int, int], Tensor]

    @property
    def heading(self) -> str:
        """The title with an arrow to the better side."""
        return f"{self.title} {'↑' if self.higher else '↓'}"


METRICS = (
    Metric("psnr_y", "PSNR-Y", True, 2, "truth", lambda sr, hr, s, b: metrics.psnr(sr, hr, b, "y")),
    Metric("ssim_y", "SSIM-Y", True, 4, "truth", lambda sr, hr, s, b: metrics.ssim(sr, hr, b, "y")),
    Metric("st_lpips", "ST-LPIPS", False, 4, "truth", lambda sr, hr, s, b: metrics.st_lpips(sr, hr)),
    Metric("niqe", "NIQE", False, 3, "nothing", lambda sr, _, s, b: metrics.niqe(sr)),
    Metric("patch_swd", "patch-SWD", False, 4, "truth", lambda sr, hr, s, b: metrics.patch_swd(sr, hr)),
    Metric(
        "lr_consistency", "LR consistency", True, 2, "input",
        lambda sr, lr, s, b: metrics.lr_consistency(sr, lr, s, border=b // s),
    ),
)  # fmt: skip


class Scores(NamedTuple):
    """Of one picture, by the metrics' keys: finite values, and why others are undefined."""

    values: dict[str, float]
    undefined: dict[str, str]


def measure(
    sr: Tensor, lr: Tensor | None, hr: Tensor | None, scale: int, border: int | None = None
) -> Scores:
    """Every metric that has what it needs.

    Args:
        sr: (3, H, W) in [0, 1], rounded to 8 bits.
        lr: (3, H/scale, W/scale), what SR was made from, if known.
        hr: (3, H, W), the truth, if known.
        border: HR pixels left out on each side by PSNR and SSIM; None for the scale.

    Raises:
        ValueError: sizes that do not fit, values outside [0, 1].
    """
    scores = Scores({}, {})
    for metric in METRICS:
        other = {"truth": hr, "input": lr, "nothing": sr}[metric.against]
        if other is None:
            continue
        value, reason = math.inf, "infinite"
        try:
            value = float(metric.value(sr, other, scale, scale if border is None else border))
        except ValueError as error:
            if metric.key != "niqe":  # which cannot judge flat and small pictures
                raise
            reason = str(error)
        if math.isfinite(value):
            scores.values[metric.key] = value
        else:
            scores.undefined[metric.key] = reason
    return scores
