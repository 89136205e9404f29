"""How sure is a mean over a handful of pictures? Bootstrap intervals."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, stdtrit

_RESAMPLES = 10_000


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: ArrayLike) -> Interval:
    """Mean over pictures with a bootstrap interval of 95 %.

    Pictures are drawn with replacement 10,000 times; the interval lies between two quantiles of the means.
    The plain quantiles are too narrow for few pictures (n = 8: 88 % instead of 95 %), so they are taken
    further out, at Φ(√(n/(n-1)) t), t being Student's quantile: Hesterberg's expanded percentile interval.

    To compare two methods give the differences picture by picture, not two intervals side by side.

    Args:
        values: (n,) one value a picture, n of 2 or more.

    Raises ValueError: fewer than two values, a NaN or infinity (its place is named).

    Reference: Hesterberg, The American Statistician 2015, doi 10.1080/00031305.2015.1089789.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size < 2:
        raise ValueError(f"values have shape {array.shape}, expected (n,) with n of 2 or more pictures")
    if not np.isfinite(array).all():
        place = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(f"value {place} is {array[place]}; leave that picture out and say so")
    n = array.size
    rng = np.random.default_rng(0)
    means = [array[rng.integers(n, size=(100, n))].mean(axis=1) for _ in range(_RESAMPLES // 100)]
    tail = ndtr(np.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 - 0.95) / 2))  # of the normal, of Student's t
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Interval(float(array.mean()), float(low), float(high))
