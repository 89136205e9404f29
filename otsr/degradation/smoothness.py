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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor
from tqdm import tqdm  # not tqdm.auto: in a notebook its bar would be stored, and differ from run to run

from otsr.degradation.noise import LUMA, DegradationError, NoisePool
from otsr.images import ImageSource, name_of, open_picture

_MAX_VARIANCE = {"otsr": 50.0, "realsr": 20.0}
_MEAN_TOLERANCE, _VARIANCE_TOLERANCE = 0.1, 0.25  # of a patch's mean and variance, for those of its windows
_ADVICE = {
    "variance too high": "raise max_variance, or add photos with a plain wall or sky",
    "no variance": "these areas are clipped or drawn; add photos with noise in them",
    "a window's mean differs": "take smaller patches, or use rule='realsr'",
    "a window's variance differs": "take a larger window, or use rule='realsr'",
    "a texture with a direction": "raise max_coherence, if these areas are noise after all",
    "shading without grain": "add sharper or noisier photos, or raise max_correlation",
    "image smaller than a patch": "take smaller patches",
}


def collect_noise(
    images: Iterable[ImageSource] | ImageSource, rule: str = "otsr", patch: int = 64, *,
    window: int | None = None, stride: int | None = None, max_variance: float | None = None,
    max_coherence: float = 0.15, max_correlation: float = 0.9, tags: Sequence[str] | None = None,
) -> NoisePool:  # fmt: skip
    """Collect the smooth patches of photos into a pool of real noise.

    Luma Y in [0, 255] (BT.601, full range) decides. Both rules ask for variance > 0, and

    - "realsr": variance ≤ max_variance (20; the paper's patch is 256);
    - "otsr": variance ≤ max_variance (50), and for every window w of the patch
      |mean_w − mean| ≤ 0.1 · mean and |variance_w − variance| ≤ 0.25 · variance
      (the paper's patch is 256 with windows of 64; the smaller defaults fit crops of a megapixel).

    Then two tests that the papers do not have (1.0 switches each off). Noise has no direction: the coherence
    (λ₁ − λ₂)/(λ₁ + λ₂) of the structure tensor of the patch (gradients after a Gaussian of 1 pixel) is at most
    max_coherence; wood grain and cloth exceed it. Noise is not smooth: the correlation of neighbours,
    1 − mean squared difference / (2 variance), is at most max_correlation; shading exceeds it.

    Args:
        images: paths, PIL images, arrays or tensors; or one of them.
        patch, window: sides in pixels; the window is 32 by default, or the patch if that is smaller.
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
    if rule not in _MAX_VARIANCE:
        raise ValueError(f"rule is {rule!r}, expected 'otsr' or 'realsr'")
    if patch < 2 or stride < 1:
        raise ValueError(f"patch is {patch} and stride {stride}, expected at least 2 and 1")
    if not 2 <= window <= patch and rule == "otsr":
        raise ValueError(f"window is {window}, expected 2 to {patch}, the size of a patch")
    max_variance = _MAX_VARIANCE[rule] if max_variance is None else max_variance
    smooth = _Smoothness(rule, patch, window, stride, max_variance, max_coherence, max_correlation)
    patches: list[np.ndarray] = []
    sources: list[str] = []
    labels: list[str] = []
    flaws: Counter[str] = Counter()
    bar = tqdm(photos, desc="collecting noise", unit="image", delay=2, disable=None)
    for number, photo in enumerate(bar):
        pixels = open_picture(photo).pixels
        name = name_of(Path(photo).name) if isinstance(photo, (str, os.PathLike)) else f"image {number}"
        for top, left, flaw in smooth.judge(pixels):
            if flaw:
                flaws[flaw] += 1
            else:  # a copy, or each patch would keep its whole photo in memory
                patches.append(pixels[top : top + patch, left : left + patch].copy())
                sources.append(name)
                labels.append(tags[number] if tags else "")
    if not photos:
        raise DegradationError("no images given to collect noise from")
    if not patches:
        reasons = "; ".join(f"{count} × {flaw} ({_ADVICE[flaw]})" for flaw, count in flaws.most_common())
        searched = f"no smooth patch of {patch}×{patch} in {len(photos)} images under rule {rule!r}"
        raise DegradationError(f"{searched}: {reasons}")
    stack = torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2)
    return NoisePool(stack.contiguous(), sources, labels)


@dataclass(frozen=True)
class _Smoothness:
    """What counts as a smooth patch; see `collect_noise`."""

    rule: str
    patch: int
    window: int
    stride: int
    max_variance: float
    max_coherence: float
    max_correlation: float

    def judge(self, pixels: np.ndarray) -> Iterator[tuple[int, int, str]]:
        """Top, left and flaw ("" for none) of every patch of a photo (H, W, 3) uint8."""
        if min(pixels.shape[:2]) < self.patch:
            yield 0, 0, "image smaller than a patch"
            return
        grey = pixels @ LUMA
        down, right = np.gradient(gaussian_filter(grey, 1.0))
        steps = np.diff(grey, axis=0, append=grey[-1:]) ** 2 + np.diff(grey, axis=1, append=grey[:, -1:]) ** 2
        for top, left in product(*(_starts(length, self.patch, self.stride) for length in grey.shape)):
            here = np.s_[top : top + self.patch, left : left + self.patch]
            yield top, left, self._flaw(grey[here], down[here], right[here], steps[here])

    def _flaw(self, grey: np.ndarray, down: np.ndarray, right: np.ndarray, steps: np.ndarray) -> str:
        """Why a patch is refused: of its luma, its slopes, and its squared differences from both neighbours."""
        mean, variance = grey.mean(), grey.var()
        if variance < 1e-6:
            return "no variance"
        if variance > self.max_variance:
            return "variance too high"
        if self.rule == "otsr":
            places = product(_starts(self.patch, self.window, self.window), repeat=2)
            windows = np.stack([grey[y : y + self.window, x : x + self.window] for y, x in places])
            if (abs(windows.mean((1, 2)) - mean) > _MEAN_TOLERANCE * mean).any():
                return "a window's mean differs"
            if (abs(windows.var((1, 2)) - variance) > _VARIANCE_TOLERANCE * variance).any():
                return "a window's variance differs"
        roughness = steps.mean() / (4 * variance)  # 1 for white noise: two neighbours, 2 variances each
        if 1 - roughness > self.max_correlation:
            return "shading without grain"
        yy, xx, xy = (down**2).mean(), (right**2).mean(), (down * right).mean()
        if np.hypot(xx - yy, 2 * xy) > self.max_coherence * (xx + yy):
            return "a texture with a direction"
        return ""


def _starts(length: int, side: int, step: int) -> list[int]:
    """0, step, 2·step, … while a box of `side` fits, and a last place flush with the end: no pixel goes untested."""
    starts = list(range(0, length - side + 1, step))
    return starts if starts[-1] == length - side else [*starts, length - side]
