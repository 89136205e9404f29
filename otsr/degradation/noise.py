"""Real noise: find smooth patches of photos, keep them as a pool, inject them into LR images, measure them.

In a patch whose scene is flat, whatever varies is the camera's noise: sensor, denoiser, demosaicking and JPEG
together. Nothing is modelled, so nothing is modelled wrongly. Two published rules say what is flat: RealSR (Ji
et al., CVPRW 2020) bounds the variance; OTSR's blind rule (Li et al., 2022) also asks that every window of the
patch looks like the whole. Both take fine wood grain and soft shading for noise, so two tests of ours follow.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor
from tqdm.auto import tqdm

from otsr.degradation.storage import DegradationError, read_tensors, write_tensors
from otsr.images import ImageSource, luma, open_picture

_KIND, _VERSION = "otsr noise pool", 1
_MAX_VARIANCE = {"otsr": 50.0, "realsr": 20.0}
_ADVICE = {
    "variance too high": "raise max_variance, take smaller patches, or give smoother images",
    "mean too low": "lower min_mean, or give brighter images",
    "no variance": "these areas are clipped or synthetic; give images with noise in them",
    "a window's mean differs": "raise mean_tolerance, take smaller patches, or use rule='realsr'",
    "a window's variance differs": "raise variance_tolerance, take a larger window, or use rule='realsr'",
    "a texture with a direction": "raise max_coherence, if these areas are noise after all",
    "shading without grain": "give sharper or noisier images, or raise max_correlation",
    "image smaller than a patch": "take smaller patches",
}


class SignalDependence(NamedTuple):
    """Noise variance as a line in brightness, variance = slope · mean + intercept, in grey levels of 0 to 255.

    Attributes:
        slope: a, grey levels. Photon noise has a > 0; a denoiser or a tone curve may reverse it.
        intercept: b, grey levels².
        windows: how many windows the line is fitted to.
        r2: the part of the windows' spread in variance that the line explains.
    """

    slope: float
    intercept: float
    windows: int
    r2: float


class NoiseCorrelation(NamedTuple):
    """How far noise is from white.

    Attributes:
        spatial: (L+1, L+1), correlation of the luma noise of pixels that lie [dy, dx] apart; [0, 0] is 1.
        colour: (3, 3), correlation between the R, G and B noise of one pixel.
    """

    spatial: Tensor
    colour: Tensor


@dataclass(eq=False)
class NoisePool:
    """Patches of real noise with where they come from.

    Attributes:
        patches: (N, 3, p, p) uint8, as cut from the photos, scene brightness included.
        sources: N names of the photos.
        tags: N labels, such as "ISO 382"; "" where none was given.
        notes: how the pool was collected, and what was rejected why.
        luma: (N,) float32, mean luma of each patch in [0, 255], full range.
    """

    patches: Tensor
    sources: list[str]
    tags: list[str]
    notes: dict[str, Any] = field(default_factory=dict)
    luma: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shape = tuple(self.patches.shape)
        if self.patches.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
            raise DegradationError(f"patches are {shape} {self.patches.dtype}, expected (N, 3, p, p) uint8")
        if shape[0] < 1 or shape[2] < 2:
            raise DegradationError(
                f"patches are {shape}; a noise pool needs at least one patch, of 2×2 or more"
            )
        for name, labels in (("sources", self.sources), ("tags", self.tags)):
            if len(labels) != shape[0]:
                raise DegradationError(f"{name} holds {len(labels)} labels for {shape[0]} patches")
        self.luma = _grey(self.patches).mean((1, 2)).float()

    def __len__(self) -> int:
        return len(self.patches)

    @property
    def size(self) -> int:
        """p, the side of a patch in pixels."""
        return self.patches.shape[-1]

    def parts(self) -> tuple[Tensor, dict[str, Any]]:
        """The patches and everything else as JSON values: what a file keeps."""
        return self.patches, {"sources": self.sources, "tags": self.tags, "collected": self.notes}

    @classmethod
    def from_parts(cls, patches: Tensor, notes: dict[str, Any]) -> NoisePool:
        """The pool whose `parts` these are."""
        return cls(patches, notes["sources"], notes["tags"], notes["collected"])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the pool as one safetensors file, atomically."""
        patches, notes = self.parts()
        write_tensors(path, _KIND, _VERSION, {"patches": patches}, notes)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> NoisePool:
        """Read a pool that `save` wrote.

        Raises:
            DegradationError: no such file, another kind of file, or a damaged one.
        """
        tensors, notes = read_tensors(path, _KIND, _VERSION)
        try:
            return cls.from_parts(tensors["patches"], notes)
        except (KeyError, TypeError, ValueError) as error:
            raise DegradationError(
                f"{path}: this {_KIND} file is damaged ({error}); collect it again"
            ) from None

    def subset(self, tag: str) -> NoisePool:
        """The patches that carry `tag`."""
        keep = [index for index, found in enumerate(self.tags) if found == tag]
        if not keep:
            raise DegradationError(f"no patch is tagged {tag!r}; tags are {sorted(set(self.tags))}")
        return NoisePool(self.patches[keep], [self.sources[i] for i in keep], [tag] * len(keep), self.notes)

    def sample(self, n: int, size: int | tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        """n independent fields of noise, each channel of each with mean 0.

        Up to the size of a patch a field is a random crop of a random patch, minus its mean per channel.
        Larger ones are laid out of random crops of one photo's patches, overlapping by half; the weights of
        the overlap are sines whose squares sum to 1, which keeps the variance and leaves no seams.

        Args:
            n: how many.
            size: side, or (height, width), in pixels.
            generator: source of randomness, on the CPU.

        Returns:
            (n, 3, height, width) float32 in units of [0, 1] images: add it to an LR image and clip.
        """
        height, width = (size, size) if isinstance(size, int) else size
        if n < 1 or height < 1 or width < 1:
            raise ValueError(f"n is {n} and size {size}, expected at least 1")
        first = torch.randint(len(self), (n,), generator=generator)
        if max(height, width) <= self.size:
            noise = self._crops(first, height, width, generator)
        else:
            noise = torch.stack([self._field(int(i), height, width, generator) for i in first])
        return noise - noise.mean((-2, -1), keepdim=True)

    def inject(self, lr: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """LR ← clip(LR + patch − mean per channel of the patch, 0, 1), with a draw for each image.

        Args:
            lr: (3, H, W) or (B, 3, H, W) in [0, 1], any device.
        """
        size = (lr.shape[-2], lr.shape[-1])
        noise = self.sample(1 if lr.dim() == 3 else len(lr), size, generator)
        return (lr + noise.reshape(lr.shape).to(lr)).clamp(0, 1)

    def _crops(self, index: Tensor, height: int, width: int, generator: torch.Generator | None) -> Tensor:
        top = torch.randint(self.size - height + 1, index.shape, generator=generator)
        left = torch.randint(self.size - width + 1, index.shape, generator=generator)
        rows = (top[:, None] + torch.arange(height))[:, None, :, None]
        columns = (left[:, None] + torch.arange(width))[:, None, None, :]
        channels = torch.arange(3)[None, :, None, None]
        return self.patches[index[:, None, None, None], channels, rows, columns].float() / 255

    def _field(self, first: int, height: int, width: int, generator: torch.Generator | None) -> Tensor:
        """Overlapping windowed patches of the photo that patch `first` was cut from, (3, height, width)."""
        same = torch.tensor([i for i, name in enumerate(self.sources) if name == self.sources[first]])
        step = max(1, 3 * self.size // 8)
        side = 2 * step  # smaller than a patch: at random places neighbours rarely show the same noise twice
        down, right = -(-height // step) + 1, -(-width // step) + 1
        index = same[torch.randint(len(same), (down * right,), generator=generator)]
        crops = self._crops(index, side, side, generator)
        crops = crops - crops.mean((-2, -1), keepdim=True)
        ramp = torch.sin(torch.pi * (torch.arange(side) + 0.5) / side)
        crops = crops * ramp[:, None] * ramp[None, :]
        columns = crops.reshape(1, down * right, -1).transpose(1, 2)
        laid = F.fold(columns, ((down + 1) * step, (right + 1) * step), side, stride=step)[0]
        return laid[:, step : step + height, step : step + width]

    def signal_dependence(self, window: int = 16) -> SignalDependence:
        """Fit luma noise variance = a · mean + b over all windows of all patches (least squares).

        A plane is taken out of each window first, so that shading does not count as noise; the variance is
        the unbiased one, Σ residual² / (window² − 3). Rounding to 8 bits alone makes 1/12.
        """
        if not 3 <= window <= self.size:
            raise ValueError(f"window is {window}, expected 3 to {self.size}, the size of the pool's patches")
        grey = _grey(self.patches)
        windows = grey.unfold(1, window, window).unfold(2, window, window).reshape(-1, window, window)
        means = windows.mean((1, 2))
        variances = _without_plane(windows).square().sum((1, 2)) / (window**2 - 3)
        centred_m, centred_v = means - means.mean(), variances - variances.mean()
        spread = float(centred_m.square().sum())
        slope = float(centred_m @ centred_v) / spread if spread > 0 else 0.0
        total = float(centred_v.square().sum())
        left = float((centred_v - slope * centred_m).square().sum())
        intercept = float(variances.mean() - slope * means.mean())
        return SignalDependence(slope, intercept, len(means), 1 - left / total if total > 0 else 0.0)

    def correlation(self, max_lag: int = 3) -> NoiseCorrelation:
        """Spatial correlation of the luma noise at lags 0 to max_lag, and the correlation between channels.

        A plane is taken out of each patch first. Covariances are averaged over the pool, then normalised, so
        noisy patches count more.
        """
        if not 0 <= max_lag < self.size:
            raise ValueError(f"max_lag is {max_lag}, expected 0 to {self.size - 1}, less than a patch")
        grey = _without_plane(_grey(self.patches))
        lags = range(max_lag + 1)
        end = self.size
        spatial = torch.stack(
            [
                torch.stack([(grey[:, : end - y, : end - x] * grey[:, y:, x:]).mean() for x in lags])
                for y in lags
            ]
        )
        noise = _without_plane(self.patches.double().flatten(0, 1)).reshape(len(self), 3, -1)
        covariance = torch.einsum("nap,nbp->ab", noise, noise)
        deviation = covariance.diagonal().sqrt()
        return NoiseCorrelation(spatial / spatial[0, 0], covariance / deviation[:, None] / deviation[None, :])


def collect_noise(
    images: Iterable[ImageSource] | ImageSource,
    rule: str = "otsr",
    patch: int = 64,
    *,
    window: int = 32,
    stride: int | None = None,
    max_variance: float | None = None,
    min_mean: float = 0.0,
    mean_tolerance: float = 0.1,
    variance_tolerance: float = 0.25,
    max_coherence: float = 0.15,
    max_correlation: float = 0.9,
    tags: Sequence[str] | None = None,
) -> NoisePool:
    """Collect the smooth patches of photos into a pool of real noise.

    Luma Y in [0, 255] (BT.601, full range) decides. Both rules ask for variance > 0 and mean > min_mean, and

    - "realsr": variance < max_variance (20; the paper's patch is 256; min_mean is 0 for DF2K, 50 for DPED);
    - "otsr": variance ≤ max_variance (50), and for every window w of the patch
      |mean_w − mean| ≤ mean_tolerance · mean and |variance_w − variance| ≤ variance_tolerance · variance
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
        window: side of a window; "realsr" has none.
        stride: distance of patches, patch // 2 by default; smaller ones find more.
        tags: a label for each image, such as "ISO 382".

    Raises:
        DegradationError: no patch passed; the message says which rule rejected how many and what to relax.
        ImageError: an image cannot be read.
        ValueError: a setting makes no sense.
    """
    single = isinstance(images, (str, os.PathLike, Image.Image, np.ndarray))
    if single or (isinstance(images, Tensor) and images.dim() == 3):
        images = [images]  # type: ignore[list-item]
    photos = list(images)  # type: ignore[arg-type]
    if tags is not None and len(tags) != len(photos):
        raise ValueError(f"tags holds {len(tags)} labels for {len(photos)} images")
    flat = _Flatness(
        rule,
        patch,
        window,
        max(1, patch // 2) if stride is None else stride,
        _MAX_VARIANCE.get(rule, 0.0) if max_variance is None else max_variance,
        min_mean,
        mean_tolerance,
        variance_tolerance,
        max_coherence,
        max_correlation,
    )
    kept: list[np.ndarray] = []
    sources: list[str] = []
    labels: list[str] = []
    verdicts: Counter[str] = Counter()
    for number, photo in enumerate(tqdm(photos, desc="collecting noise", unit="image", delay=2)):
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
    return NoisePool(
        torch.from_numpy(np.stack(kept)).permute(0, 3, 1, 2).contiguous(), sources, labels, notes
    )


@dataclass(frozen=True)
class _Flatness:
    """What counts as a smooth patch; see `collect_noise`."""

    rule: str
    patch: int
    window: int
    stride: int
    max_variance: float
    min_mean: float
    mean_tolerance: float
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
        for name in (
            "max_variance",
            "mean_tolerance",
            "variance_tolerance",
            "max_coherence",
            "max_correlation",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a positive number")

    def judge(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Top rows, left columns, and for each pair the reason why that patch is rejected ("" keeps it)."""
        if min(pixels.shape[:2]) < self.patch:
            return np.zeros(1, int), np.zeros(1, int), np.full((1, 1), "image smaller than a patch", object)
        grey = _grey(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0].numpy()
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
            reasons[mean_off > self.mean_tolerance * mean] = "a window's mean differs"
        too_high = variance > self.max_variance if self.rule == "otsr" else variance >= self.max_variance
        reasons[too_high] = "variance too high"
        reasons[mean <= self.min_mean] = "mean too low"
        reasons[variance < 1e-6] = "no variance"
        return rows, columns, reasons


def _texture(
    grey: np.ndarray, rows: np.ndarray, columns: np.ndarray, side: int, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Coherence of the structure tensor, and correlation of neighbours, of every patch; see `collect_noise`."""
    down, right = np.gradient(gaussian_filter(grey, 1.0))
    yy, xx, xy = (
        _box_mean(_integral(values), rows, columns, side) for values in (down**2, right**2, down * right)
    )
    coherence = np.sqrt((xx - yy) ** 2 + 4 * xy**2) / np.maximum(xx + yy, 1e-12)
    steps = np.diff(grey, axis=0, append=grey[-1:]) ** 2 + np.diff(grey, axis=1, append=grey[:, -1:]) ** 2
    roughness = _box_mean(
        _integral(steps), rows, columns, side
    )  # both directions: 4 variances for white noise
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


def _grey(patches: Tensor) -> Tensor:
    """Luma of (N, 3, H, W) uint8 in [0, 255], full range (0.299 R + 0.587 G + 0.114 B), float64 (N, H, W)."""
    return (luma(patches.double() / 255)[:, 0] * 255 - 16) * (255 / 219)


def _without_plane(windows: Tensor) -> Tensor:
    """Windows (N, h, w) minus the plane c + a·x + b·y that fits each best."""
    height, width = windows.shape[-2:]
    y = torch.arange(height, dtype=windows.dtype)[:, None] - (height - 1) / 2
    x = torch.arange(width, dtype=windows.dtype)[None, :] - (width - 1) / 2
    for basis in (
        torch.ones(height, width, dtype=windows.dtype),
        x.expand(height, width),
        y.expand(height, width),
    ):
        weight = (windows * basis).sum((1, 2), keepdim=True) / basis.square().sum().clamp(min=1e-300)
        windows = windows - weight * basis
    return windows


def _explain_nothing(rule: str, patch: int, images: int, verdicts: Counter[str]) -> str:
    if not images:
        return "no images given to collect noise from"
    reasons = "; ".join(f"{count} × {reason} ({_ADVICE[reason]})" for reason, count in verdicts.most_common())
    return f"no smooth patch of {patch}×{patch} in {images} images under rule {rule!r}: {reasons}"
