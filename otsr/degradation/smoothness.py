"""Which patches of a photo are flat scene, so that all that varies in them is noise.

Two published rules decide: RealSR (Ji et al., CVPRW 2020) bounds the variance; OTSR's blind rule (Li et al., 2022, doi
10.1007/s00138-022-01299-6) also asks that every window of the patch looks like the whole. Both take wood grain for
noise; two more tests of ours refuse it.

>>> rng = np.random.default_rng(0)
>>> wall = np.rint(rng.normal(120, 3, (96, 128, 1))).astype(np.uint8).repeat(3, axis=2)
>>> collect_noise(wall, patch=32, window=32).patches.shape  # patches overlap by half
torch.Size([35, 3, 32, 32])
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor
from tqdm import tqdm  # not tqdm.auto: in a notebook its bar would be stored, and differ from run to run

from otsr.degradation.noise import DegradationError, NoisePool, full_range_luma
from otsr.images import ImageSource, open_picture

_MAX_VARIANCE = {"otsr": 50.0, "realsr": 20.0}
_MEAN_TOLERANCE = 0.1  # of a patch's mean, for the means of its windows
_ADVICE = {
    "variance too high": "raise max_variance, or add photos with a plain wall or sky",
    "no variance": "these areas are clipped or drawn; add photos with noise in them",
    "a window's mean differs": "take smaller patches, or use rule='realsr'",
    "a window's variance differs": "raise variance_tolerance, take a larger window, or use rule='realsr'",
    "a texture with a direction": "raise max_coherence, if these areas are noise after all",
    "shading without grain": "add sharper or noisier photos, or raise max_correlation",
    "image smaller than a patch": "take smaller patches",
}


def collect_noise(
    images: Iterable[ImageSource] | ImageSource, rule: str = "otsr", patch: int = 64, *,
    window: int | None = None, stride: int | None = None, max_variance: float | None = None,
    variance_tolerance: float = 0.25, max_coherence: float = 0.15, max_correlation: float = 0.9,
    tags: Sequence[str] | None = None,
) -> NoisePool:  # fmt: skip
    """Collect the smooth patches of photos into a pool of real noise.

    Luma Y in [0, 255] (BT.601, full range) decides. Both rules ask for variance > 0, and

    - "realsr": variance < max_variance (20; the paper's patch is 256);
    - "otsr": variance ≤ max_variance (50), and for every window w of the patch
      |mean_w − mean| ≤ 0.1 · mean and |variance_w − variance| ≤ variance_tolerance · variance
      (the paper's patch is 256 with windows of 64; the smaller defaults fit crops of a megapixel).

    Then two tests that the papers do not have (1.0 switches each off). Noise has no direction: the coherence
    (λ₁ − λ₂)/(λ₁ + λ₂) of the structure tensor of the patch (gradients after a Gaussian of 1 pixel) is at most
    max_coherence; wood grain and cloth exceed it. Noise is not smooth: the correlation of neighbours,
    1 − mean squared difference / (2 variance), is at most max_correlation; shading exceeds it.

    Patches lie `stride` apart and windows side by side; where they do not fill the length, a last one is flush
    with the end, so that no pixel goes untested. Variances come from integral images.

    Args:
        images: paths, PIL images, arrays or tensors; or one of them.
        patch: side of a patch in pixels.
        window: side of a window, by default 32 or the patch if that is smaller; "realsr" has none.
        stride: distance of patches, patch // 2 by default; smaller ones find more.
        tags: a label for each image, such as "ISO 382".

    Raises:
        DegradationError: no patch passed; the message says which rule rejected how many and what to relax.
    """
    single = isinstance(images, (str, os.PathLike, Image.Image, np.ndarray))
    if single or (isinstance(images, Tensor) and images.dim() == 3):
        images = [images]  # type: ignore[list-item]
    photos = list(images)  # type: ignore[arg-type]
    if tags is not None and len(tags) != len(photos):
        raise ValueError(f"tags holds {len(tags)} labels for {len(photos)} images")
    window = min(32, patch) if window is None else window
    stride = max(1, patch // 2) if stride is None else stride
    max_variance = _MAX_VARIANCE.get(rule, 0.0) if max_variance is None else max_variance
    flat = _Flatness(
        rule, patch, window, stride, max_variance, variance_tolerance, max_coherence, max_correlation
    )
    kept: list[np.ndarray] = []
    sources: list[str] = []
    labels: list[str] = []
    verdicts: Counter[str] = Counter()
    bar = tqdm(photos, desc="collecting noise", unit="image", delay=2, disable=None)
    for number, photo in enumerate(bar):
        pixels = open_picture(photo).pixels
        rows, columns, reasons = flat.judge(pixels)
        verdicts.update(reasons.ravel().tolist())
        good = np.argwhere(reasons == "")
        kept += [pixels[rows[i] : rows[i] + patch, columns[j] : columns[j] + patch] for i, j in good]
        name = Path(photo).name if isinstance(photo, (str, os.PathLike)) else f"image {number}"
        sources += [name] * len(good)
        labels += [tags[number] if tags else ""] * len(good)
    passed = verdicts.pop("", 0)
    if not kept:
        raise DegradationError(_explain_nothing(rule, patch, len(photos), verdicts))
    notes = {**asdict(flat), "kept": passed, "rejected": dict(verdicts)}
    patches = torch.from_numpy(np.stack(kept)).permute(0, 3, 1, 2).contiguous()
    return NoisePool(patches, sources, labels, notes)


@dataclass(frozen=True)
class _Flatness:
    """What counts as a smooth patch; see `collect_noise`."""

    rule: str
    patch: int
    window: int
    stride: int
    max_variance: float
    variance_tolerance: float
    max_coherence: float
    max_correlation: float

    def __post_init__(self) -> None:
        if self.rule not in _MAX_VARIANCE:
            raise ValueError(f"rule is {self.rule!r}, expected 'otsr' or 'realsr'")
        if self.patch < 2 or self.stride < 1:
            raise ValueError(f"patch is {self.patch} and stride {self.stride}, expected at least 2 and 1")
        if self.rule == "otsr" and not 2 <= self.window <= self.patch:
            raise ValueError(f"window is {self.window}, expected 2 to {self.patch}, the size of a patch")
        for name in ("max_variance", "variance_tolerance", "max_coherence", "max_correlation"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a positive number")

    def judge(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Top rows, left columns, and for each pair the reason why that patch is rejected ("" keeps it)."""
        if min(pixels.shape[:2]) < self.patch:
            return np.zeros(1, int), np.zeros(1, int), np.full((1, 1), "image smaller than a patch", object)
        grey = full_range_luma(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0].numpy()
        tables = _integral(grey), _integral(grey**2)
        rows, columns = (_starts(length, self.patch, self.stride) for length in grey.shape)
        mean, variance = _mean_and_variance(tables, rows, columns, self.patch)
        reasons = np.full(mean.shape, "", dtype=object)
        coherence, correlation = _texture(grey, rows, columns, self.patch, variance)
        reasons[coherence > self.max_coherence] = "a texture with a direction"
        reasons[correlation > self.max_correlation] = "shading without grain"
        if self.rule == "otsr":
            offsets = _starts(self.patch, self.window, self.window)
            every_row, every_column = ((starts[:, None] + offsets).ravel() for starts in (rows, columns))
            window_mean, window_variance = _mean_and_variance(tables, every_row, every_column, self.window)
            grid = (len(rows), len(offsets), len(columns), len(offsets))
            mean_off = np.abs(window_mean.reshape(grid) - mean[:, None, :, None]).max((1, 3))
            variance_off = np.abs(window_variance.reshape(grid) - variance[:, None, :, None]).max((1, 3))
            reasons[variance_off > self.variance_tolerance * variance] = "a window's variance differs"
            reasons[mean_off > _MEAN_TOLERANCE * mean] = "a window's mean differs"
        too_high = variance > self.max_variance if self.rule == "otsr" else variance >= self.max_variance
        reasons[too_high] = "variance too high"
        reasons[variance < 1e-6] = "no variance"
        return rows, columns, reasons


def _texture(
    grey: np.ndarray, rows: np.ndarray, columns: np.ndarray, side: int, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Coherence of the structure tensor, and correlation of neighbours, of every patch; see `collect_noise`."""
    down, right = np.gradient(gaussian_filter(grey, 1.0))
    tensor = (down**2, right**2, down * right)
    yy, xx, xy = (_box_mean(_integral(values), rows, columns, side) for values in tensor)
    coherence = np.sqrt((xx - yy) ** 2 + 4 * xy**2) / np.maximum(xx + yy, 1e-12)
    steps = np.diff(grey, axis=0, append=grey[-1:]) ** 2 + np.diff(grey, axis=1, append=grey[:, -1:]) ** 2
    roughness = _box_mean(_integral(steps), rows, columns, side)  # 4 variances for white noise
    return coherence, 1 - roughness / np.maximum(4 * variance, 1e-12)


def _mean_and_variance(
    tables: tuple[np.ndarray, np.ndarray], rows: np.ndarray, columns: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the boxes at every pair of rows and columns, from integrals of values and squares."""
    mean, square = (_box_mean(table, rows, columns, side) for table in tables)
    return mean, np.maximum(square - mean**2, 0)


def _box_mean(table: np.ndarray, rows: np.ndarray, columns: np.ndarray, side: int) -> np.ndarray:
    below, right = rows + side, columns + side
    inside = table[np.ix_(below, right)] - table[np.ix_(rows, right)]
    return (inside - table[np.ix_(below, columns)] + table[np.ix_(rows, columns)]) / side**2


def _integral(values: np.ndarray) -> np.ndarray:
    """(H + 1, W + 1): entry [y, x] is the sum of values[:y, :x]."""
    return np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)


def _starts(length: int, side: int, step: int) -> np.ndarray:
    """0, step, 2·step, … while a box of `side` fits, and the last place that is flush with the end."""
    starts = np.arange(0, length - side + 1, step)
    return starts if starts[-1] == length - side else np.append(starts, length - side)


def _explain_nothing(rule: str, patch: int, images: int, verdicts: Counter[str]) -> str:
    if not images:
        return "no images given to collect noise from"
    reasons = "; ".join(f"{count} × {reason} ({_ADVICE[reason]})" for reason, count in verdicts.most_common())
    return f"no smooth patch of {patch}×{patch} in {images} images under rule {rule!r}: {reasons}"
