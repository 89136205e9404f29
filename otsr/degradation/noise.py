"""Real noise: smooth patches of photos, found by rule, kept as a pool, injected into LR images.

In a patch whose scene is flat, whatever varies is the camera's noise: sensor, denoiser, demosaicking and JPEG together.
Nothing is modelled, so nothing is modelled wrongly. Two published rules say what is flat: RealSR (Ji et al., CVPRW
2020) bounds the variance; OTSR's blind rule (Li et al., 2022, doi 10.1007/s00138-022-01299-6) also asks that every
window of the patch looks like the whole. Both take wood grain for noise; two more tests of ours refuse it.

>>> rng = np.random.default_rng(0)
>>> wall = np.rint(rng.normal(120, 3, (96, 128, 1))).astype(np.uint8).repeat(3, axis=2)
>>> pool = collect_noise(wall, patch=32, window=32)  # patches overlap by half
>>> noise = pool.sample(2, 16, torch.Generator().manual_seed(0))
>>> len(pool), tuple(noise.shape), round(255 * float(noise.std()))
(35, (2, 3, 16, 16), 3)
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Generator, Tensor
from tqdm import tqdm  # not tqdm.auto: in a notebook its bar would be stored, and differ from run to run

from otsr.images import ImageSource, label, open_picture

_LUMA = np.array([0.299, 0.587, 0.114])  # of R, G and B in [0, 255]: BT.601, full range
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


class DegradationError(ValueError):
    """A degradation, noise pool or file of one that cannot be used; the message says what to do."""


@dataclass(eq=False)
class NoisePool:
    """Patches of real noise and where they come from."""

    patches: Tensor  # (N, 3, p, p) uint8, as cut from the photos, scene brightness included
    sources: list[str]  # N names of the photos
    tags: list[str]  # N labels, such as "ISO 382"; "" where none was given

    def __post_init__(self) -> None:
        shape = tuple(self.patches.shape)
        if self.patches.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
            raise DegradationError(f"patches are {shape} {self.patches.dtype}, expected (N, 3, p, p) uint8")
        if shape[0] < 1 or shape[2] < 2:
            raise DegradationError(f"patches are {shape}; a noise pool needs at least one, of 2×2 or more")
        for name, labels in {"sources": self.sources, "tags": self.tags}.items():
            if len(labels) != shape[0]:
                raise DegradationError(f"{name} holds {len(labels)} labels for {shape[0]} patches")

    def __len__(self) -> int:
        return len(self.patches)

    @property
    def size(self) -> int:
        """p, the side of a patch in pixels."""
        return self.patches.shape[-1]

    def subset(self, tag: str) -> NoisePool:
        """The patches that carry `tag`."""
        keep = [index for index, found in enumerate(self.tags) if found == tag]
        if not keep:
            raise DegradationError(f"no patch is tagged {tag!r}; tags are {sorted(set(self.tags))}")
        return NoisePool(self.patches[keep], [self.sources[i] for i in keep], [tag] * len(keep))

    def sample(self, n: int, size: int | tuple[int, int], generator: Generator | None = None, grid: int = 1) -> Tensor:
        """n independent fields of noise, each channel of each with mean 0.

        Up to the size of a patch a field is a random crop of a random patch, minus its mean per channel. Larger ones
        are laid out of random crops of one photo's patches, overlapping by half; the weights of the overlap are sines
        whose squares sum to 1, which keeps the variance and leaves no seams.

        Args:
            size: side, or (height, width), in pixels.
            grid: crops start at multiples of it: JPEG's blocks must stay in line. Large fields of patches too small for
                it (below 48 pixels for a grid of 16) are laid without it.

        Returns:
            (n, 3, height, width) float32 in units of [0, 1] images: add it to an LR image and clip.
        """
        height, width = (size, size) if isinstance(size, int) else size
        if n < 1 or height < 1 or width < 1:
            raise ValueError(f"n is {n} and size {size}, expected at least 1")
        first = torch.randint(len(self), (n,), generator=generator)
        if max(height, width) <= self.size:
            noise = self._crops(first, (height, width), generator, grid)
        else:
            noise = torch.stack([self._field(int(i), height, width, generator, grid) for i in first])
        return noise - noise.mean((-2, -1), keepdim=True)

    def inject(self, lr: Tensor, generator: Generator | None = None, grid: int = 1) -> Tensor:
        """LR ← clip(LR + noise, 0, 1), a `sample` for each image of (3, H, W) or (B, 3, H, W) in [0, 1]."""
        noise = self.sample(lr.shape[:-3].numel(), (lr.shape[-2], lr.shape[-1]), generator, grid)
        return (lr + noise.reshape(lr.shape).to(lr)).clamp(0, 1)

    def _crops(self, index: Tensor, size: tuple[int, int], generator: Generator | None, grid: int) -> Tensor:
        height, width = size
        places = [(self.size - side) // grid + 1 for side in (height, width)]
        top, left = (grid * torch.randint(n, index.shape, generator=generator) for n in places)
        corners = zip(index.tolist(), top.tolist(), left.tolist(), strict=True)
        crops = [self.patches[i, :, y : y + height, x : x + width] for i, y, x in corners]
        return torch.stack(crops).float() / 255

    def _field(self, first: int, height: int, width: int, generator: Generator | None, grid: int) -> Tensor:
        """Overlapping windowed patches of the photo that patch `first` was cut from, (3, height, width)."""
        same = torch.tensor([i for i, name in enumerate(self.sources) if name == self.sources[first]])
        step = max(1, 3 * self.size // 8)
        step = step // grid * grid or step
        side = 2 * step  # smaller than a patch: at random places neighbours rarely show the same noise twice
        down, right = -(-height // step) + 1, -(-width // step) + 1
        index = same[torch.randint(len(same), (down * right,), generator=generator)]
        crops = self._crops(index, (side, side), generator, grid)
        ramp = torch.sin(torch.pi * (torch.arange(side) + 0.5) / side)
        crops = (crops - crops.mean((-2, -1), keepdim=True)) * ramp[:, None] * ramp
        columns = crops.reshape(1, down * right, -1).transpose(1, 2)
        laid = F.fold(columns, ((down + 1) * step, (right + 1) * step), side, stride=step)[0]
        return laid[:, step : step + height, step : step + width]


def collect_noise(
    images: Iterable[ImageSource] | ImageSource, rule: str = "otsr", patch: int = 64, *,
    window: int | None = None, stride: int | None = None, max_variance: float | None = None,
    max_coherence: float = 0.15, max_correlation: float = 0.9, tags: Sequence[str] | None = None,
) -> NoisePool:  # fmt: skip
    """Collect the smooth patches of photos into a pool of real noise.

    Luma Y in [0, 255] (BT.601, full range) decides. Both rules ask for variance > 0, and

    - "realsr": variance ≤ max_variance (20; the paper's patch is 256);
    - "otsr": variance ≤ max_variance (50), and for every window w of the patch |mean_w − mean| ≤ 0.1 · mean and
      |variance_w − variance| ≤ 0.25 · variance (256 and 64 pixels in the paper; ours fit crops of a megapixel).

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
    single = isinstance(images, (str, os.PathLike, Image.Image, np.ndarray, Tensor))
    photos = [images] if single else list(images)  # type: ignore[arg-type]
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
    if not photos:
        raise DegradationError("no images given to collect noise from")
    judge = partial(
        _flaw, window=window if rule == "otsr" else None,
        max_variance=_MAX_VARIANCE[rule] if max_variance is None else max_variance,
        max_coherence=max_coherence, max_correlation=max_correlation,
    )  # fmt: skip
    found: list[tuple[np.ndarray, str, str]] = []  # patch, source and tag
    flaws: Counter[str] = Counter()
    names: dict[Path, str] = {}
    bar = tqdm(photos, desc="collecting noise", unit="image", delay=2, disable=None)
    for number, photo in enumerate(bar):
        pixels = open_picture(photo).pixels
        name = f"image {number}"
        if isinstance(photo, (str, os.PathLike)):
            name = names.setdefault(Path(photo), label(Path(photo), names.values()))
        for here, flaw in _judged(pixels, patch, stride, judge):
            if flaw:
                flaws[flaw] += 1
            else:  # a copy, or each patch would keep its whole photo in memory
                found.append((pixels[here].copy(), name, tags[number] if tags else ""))
    if not found:
        reasons = "; ".join(f"{count} × {flaw} ({_ADVICE[flaw]})" for flaw, count in flaws.most_common())
        searched = f"no smooth patch of {patch}×{patch} in {len(photos)} images under rule {rule!r}"
        raise DegradationError(f"{searched}: {reasons}")
    patches, sources, labels = zip(*found, strict=True)
    stack = torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2)
    return NoisePool(stack.contiguous(), list(sources), list(labels))


def _judged(
    pixels: np.ndarray, patch: int, stride: int, judge: Callable[..., str]
) -> Iterator[tuple[tuple[slice, slice], str]]:
    """Place and flaw ("" for none) of every patch of a photo (H, W, 3) uint8."""
    if min(pixels.shape[:2]) < patch:
        yield np.s_[:0, :0], "image smaller than a patch"
        return
    grey = pixels @ _LUMA
    down, right = np.gradient(gaussian_filter(grey, 1.0))
    steps = np.diff(grey, axis=0, append=grey[-1:]) ** 2 + np.diff(grey, axis=1, append=grey[:, -1:]) ** 2
    for top, left in product(*(_starts(length, patch, stride) for length in grey.shape)):
        here = np.s_[top : top + patch, left : left + patch]
        yield here, judge(grey[here], down[here], right[here], steps[here])


def _flaw(
    grey: np.ndarray, down: np.ndarray, right: np.ndarray, steps: np.ndarray,
    *, window: int | None, max_variance: float, max_coherence: float, max_correlation: float,
) -> str:  # fmt: skip
    """Why a patch is refused: of its luma, its slopes, and its squared differences from both neighbours."""
    mean, variance = grey.mean(), grey.var()
    if variance < 1e-6:
        return "no variance"
    if variance > max_variance:
        return "variance too high"
    if window:
        places = product(_starts(len(grey), window, window), repeat=2)
        windows = np.stack([grey[y : y + window, x : x + window] for y, x in places])
        if (abs(windows.mean((1, 2)) - mean) > _MEAN_TOLERANCE * mean).any():
            return "a window's mean differs"
        if (abs(windows.var((1, 2)) - variance) > _VARIANCE_TOLERANCE * variance).any():
            return "a window's variance differs"
    roughness = steps.mean() / (4 * variance)  # 1 for white noise: two neighbours, 2 variances each
    if 1 - roughness > max_correlation:
        return "shading without grain"
    yy, xx, xy = (down**2).mean(), (right**2).mean(), (down * right).mean()
    if np.hypot(xx - yy, 2 * xy) > max_coherence * (xx + yy):
        return "a texture with a direction"
    return ""


def _starts(length: int, side: int, step: int) -> list[int]:
    """0, step, 2·step, … while a box of `side` fits, and a last place flush with the end: no pixel goes untested."""
    return sorted({*range(0, length - side, step), length - side})
