"""Real noise: patches of smooth areas of photos, kept as a pool, injected into LR images.

In a patch whose scene is flat, whatever varies is the camera's noise: sensor, denoiser, demosaicking and JPEG
together. Nothing is modelled, so nothing is modelled wrongly. `smoothness` finds such patches.

>>> grain = 128 + 3 * torch.randn(5, 1, 32, 32, generator=torch.Generator().manual_seed(0))
>>> pool = NoisePool(grain.round().byte().expand(5, 3, 32, 32), ["wall"] * 5, [""] * 5)
>>> noise = pool.sample(2, 16, torch.Generator().manual_seed(0))
>>> tuple(noise.shape), round(255 * float(noise.std()))
((2, 3, 16, 16), 3)
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    patches: Tensor
    sources: list[str]
    tags: list[str]

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
        return NoisePool(self.patches[keep], [self.sources[i] for i in keep], [tag] * len(keep))

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
