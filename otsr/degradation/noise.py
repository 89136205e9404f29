"""Real noise: patches of smooth areas of photos, kept as a pool, injected into LR images, measured.

In a patch whose scene is flat, whatever varies is the camera's noise: sensor, denoiser, demosaicking and JPEG
together. Nothing is modelled, so nothing is modelled wrongly. `smoothness` finds such patches.

>>> grain = 128 + 3 * torch.randn(5, 1, 32, 32, generator=torch.Generator().manual_seed(0))
>>> pool = NoisePool(grain.round().byte().expand(5, 3, 32, 32), ["wall"] * 5, [""] * 5)
>>> noise = pool.sample(2, 16, torch.Generator().manual_seed(0))
>>> tuple(noise.shape), round(255 * float(noise.std()))
((2, 3, 16, 16), 3)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = np.array([0.299, 0.587, 0.114])  # of R, G and B in [0, 255]: BT.601, full range


class DegradationError(ValueError):
    """A degradation, noise pool or file of one that cannot be used; the message says what to do."""


@dataclass(eq=False)
class NoisePool:
    """Patches of real noise and where they come from.

    Attributes:
        patches: (N, 3, p, p) uint8, as cut from the photos, scene brightness included.
        sources: N names of the photos.
        tags: N labels, such as "ISO 382"; "" where none was given.
        notes: how the pool was collected, and what was rejected why.
    """

    patches: Tensor
    sources: list[str]
    tags: list[str]
    notes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = tuple(self.patches.shape)
        if self.patches.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
            raise DegradationError(f"patches are {shape} {self.patches.dtype}, expected (N, 3, p, p) uint8")
        if shape[0] < 1 or shape[2] < 2:
            raise DegradationError(f"patches are {shape}; a noise pool needs at least one, of 2×2 or more")
        for name, labels in (("sources", self.sources), ("tags", self.tags)):
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
        return NoisePool(self.patches[keep], [self.sources[i] for i in keep], [tag] * len(keep), self.notes)

    def sample(
        self, n: int, size: int | tuple[int, int], generator: torch.Generator | None = None, grid: int = 1
    ) -> Tensor:
        """n independent fields of noise, each channel of each with mean 0.

        Up to the size of a patch a field is a random crop of a random patch, minus its mean per channel.
        Larger ones are laid out of random crops of one photo's patches, overlapping by half; the weights of
        the overlap are sines whose squares sum to 1, which keeps the variance and leaves no seams.

        Args:
            size: side, or (height, width), in pixels.
            grid: crops start at multiples of it: JPEG's blocks must stay in line.

        Returns:
            (n, 3, height, width) float32 in units of [0, 1] images: add it to an LR image and clip.
        """
        height, width = (size, size) if isinstance(size, int) else size
        if n < 1 or height < 1 or width < 1:
            raise ValueError(f"n is {n} and size {size}, expected at least 1")
        first = torch.randint(len(self), (n,), generator=generator)
        if max(height, width) <= self.size:
            noise = self._crops(first, height, width, generator, grid)
        else:
            noise = torch.stack([self._field(int(i), height, width, generator, grid) for i in first])
        return noise - noise.mean((-2, -1), keepdim=True)

    def inject(self, lr: Tensor, generator: torch.Generator | None = None, grid: int = 1) -> Tensor:
        """LR ← clip(LR + noise, 0, 1), a `sample` for each image of (3, H, W) or (B, 3, H, W) in [0, 1]."""
        size = (lr.shape[-2], lr.shape[-1])
        noise = self.sample(1 if lr.dim() == 3 else len(lr), size, generator, grid)
        return (lr + noise.reshape(lr.shape).to(lr)).clamp(0, 1)

    def _crops(
        self, index: Tensor, height: int, width: int, generator: torch.Generator | None, grid: int
    ) -> Tensor:
        places = [(self.size - side) // grid + 1 for side in (height, width)]
        top, left = (grid * torch.randint(n, index.shape, generator=generator) for n in places)
        rows = (top[:, None] + torch.arange(height))[:, None, :, None]
        columns = (left[:, None] + torch.arange(width))[:, None, None, :]
        channels = torch.arange(3)[None, :, None, None]
        return self.patches[index[:, None, None, None], channels, rows, columns].float() / 255

    def _field(
        self, first: int, height: int, width: int, generator: torch.Generator | None, grid: int
    ) -> Tensor:
        """Overlapping windowed patches of the photo that patch `first` was cut from, (3, height, width)."""
        same = torch.tensor([i for i, name in enumerate(self.sources) if name == self.sources[first]])
        step = max(1, 3 * self.size // 8)
        step = step // grid * grid or step
        side = 2 * step  # smaller than a patch: at random places neighbours rarely show the same noise twice
        down, right = -(-height // step) + 1, -(-width // step) + 1
        index = same[torch.randint(len(same), (down * right,), generator=generator)]
        crops = self._crops(index, side, side, generator, grid)
        crops = crops - crops.mean((-2, -1), keepdim=True)
        ramp = torch.sin(torch.pi * (torch.arange(side) + 0.5) / side)
        crops = crops * ramp[:, None] * ramp[None, :]
        columns = crops.reshape(1, down * right, -1).transpose(1, 2)
        laid = F.fold(columns, ((down + 1) * step, (right + 1) * step), side, stride=step)[0]
        return laid[:, step : step + height, step : step + width]

    def signal_dependence(self) -> tuple[float, float]:
        """Slope and intercept of luma noise variance against mean, in grey levels of 0 to 255, by least squares.

        Over all windows of 16 pixels of all patches. Photon noise has a positive slope; a denoiser or a tone curve may
        reverse it. A plane is taken out of each window first, so that shading does not count as noise; the
        variance is the unbiased one, Σ residual² / (window² − 3). Rounding to 8 bits alone makes 1/12.
        """
        window = min(16, self.size)
        windows = self._grey().unfold(1, window, window).unfold(2, window, window).reshape(-1, window, window)
        means = windows.mean((1, 2))
        variances = _without_plane(windows).square().sum((1, 2)) / (window**2 - 3)
        centred_m, centred_v = means - means.mean(), variances - variances.mean()
        spread = float(centred_m.square().sum())
        slope = float(centred_m @ centred_v) / spread if spread > 0 else 0.0
        return slope, float(variances.mean() - slope * means.mean())

    def _grey(self) -> Tensor:
        """(N, p, p) float64, luma of the patches."""
        return self.patches.double().movedim(1, -1) @ torch.from_numpy(LUMA)

    def correlation(self, max_lag: int = 3) -> Tensor:
        """(L+1, L+1): of the luma noise of pixels that lie [dy, dx] apart, up to L = max_lag; [0, 0] is 1.

        A plane is taken out of each patch first. Covariances are averaged over the pool, then normalised, so noisy
        patches count more.
        """
        if not 0 <= max_lag < self.size:
            raise ValueError(f"max_lag is {max_lag}, expected 0 to {self.size - 1}, less than a patch")
        grey = _without_plane(self._grey())
        lags = range(max_lag + 1)
        end = self.size
        products = [[(grey[:, : end - y, : end - x] * grey[:, y:, x:]).mean() for x in lags] for y in lags]
        covariance = torch.tensor(products, dtype=grey.dtype)
        return covariance / covariance[0, 0]


def _without_plane(windows: Tensor) -> Tensor:
    """Windows (N, h, w) minus the plane c + a·x + b·y that fits each best."""
    height, width = windows.shape[-2:]
    y = torch.arange(height, dtype=windows.dtype)[:, None] - (height - 1) / 2
    x = torch.arange(width, dtype=windows.dtype)[None, :] - (width - 1) / 2
    flat = torch.ones(height, width, dtype=windows.dtype)
    for basis in (flat, flat * x, flat * y):  # orthogonal, so one after the other
        weight = (windows * basis).sum((1, 2), keepdim=True) / basis.square().sum().clamp(min=1e-300)
        windows = windows - weight * basis
    return windows
