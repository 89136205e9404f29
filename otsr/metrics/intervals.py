"""How sure is a mean over a handful of pictures? Bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats
from torch import Tensor

_RESAMPLES = 10_000


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval."""

    mean: float
    low: float
    high: float


def mean_interval(
    values: Sequence[float] | np.ndarray | Tensor, level: float = 0.95, seed: int = 0
) -> Interval:
    """Mean over pictures with a bootstrap confidence interval.

    Pictures are drawn with replacement 10,000 times; the interval lies between two quantiles of the means.
    The plain quantiles are too narrow for few pictures (n = 8: 88 % instead of 95 %), so they are taken
    further out, at Φ(√(n/(n-1)) t), t being Student's quantile: Hesterberg's expanded percentile interval.

    To compare two methods give the differences picture by picture, not two intervals side by side.

    Args:
        values: (n,) one value a picture, n of 2 or more.
        level: confidence, between 0 and 1.
        seed: of the draws.

    Raises:
        ValueError: fewer than two values, a NaN or infinity (its place is named), a level outside (0, 1).

    Reference: Hesterberg, The American Statistician 2015, doi 10.1080/00031305.2015.1089789.
    """
    array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
    if array.ndim != 1 or array.size < 2:
        raise ValueError(f"values have shape {array.shape}, expected (n,) with n of 2 or more pictures")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected a number between 0 and 1, such as 0.95")
    if not np.isfinite(array).all():
        place = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(f"value {place} is {array[place]}; leave that picture out and say so")
    n = array.size
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [array[rng.integers(n, size=(100, n))].mean(axis=1) for _ in range(_RESAMPLES // 100)]
    )
    tail = stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf((1 - level) / 2, n - 1))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(array.mean()), float(low), float(high))
