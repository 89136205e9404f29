"""Degradation: from a clean photo to the LR image that a given camera would have taken of it.

    clean-up → blur → downsample → noise → JPEG

Each step has a measured part (kernels, a noise pool) and is drawn anew for every sample, so that a network trained
on the pairs meets the whole camera. The parts and settings live in one file.

>>> clean, lr = Degradation(scale=4, jpeg=(80, 95)).pair(torch.full((3, 65, 64), 0.5), seed=0)
>>> tuple(clean.shape), tuple(lr.shape), round(float(lr.mean()), 1)
((3, 64, 64), (3, 16, 16), 0.5)
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from otsr.degradation.kernels import check_kernel, downsample, same_size, without_dust
from otsr.degradation.noise import DegradationError, NoisePool
from otsr.images import as_batch, atomic_path, crop_to_multiple, resize, suggestion, to_pil

GRID = 16  # pixels: JPEG's blocks of 8, of the colours at half resolution
_FORMAT, _VERSION = "otsr degradation", "1"


class Degradation:
    """y = JPEG( clip( (x' * k)↓s + n ) ), x' = the clean photo x shrunk by `cleanup` and cropped to multiples of s.

    k is drawn from `kernels`, n from `noise`, the JPEG quality from its range, once for each sample. RealSR (Ji et
    al., CVPRW 2020) has cleanup 2, scale 4, a noise pool, no JPEG.

    Args:
        scale: s, whole, at least 1.
        kernels: (k, k), (N, k, k), or a list of (k, k) of any sizes; each sums to 1, k of the parity of s (see
            `kernels.centre`); None for MATLAB's bicubic.
        jpeg: (low, high), range of qualities from 1 to 100, both included; None for no compression.
        cleanup: factor ≥ 1 by which the photo is shrunk first, so that its own noise, blur and compression go.
    """

    def __init__(
        self, scale: int, kernels: Tensor | Sequence[Tensor] | None = None, noise: NoisePool | None = None,
        jpeg: tuple[int, int] | None = None, cleanup: float = 1.0,
    ) -> None:  # fmt: skip
        if not isinstance(scale, int) or scale < 1:
            raise ValueError(f"scale is {scale!r}, expected a whole number, at least 1")
        if not 1 <= cleanup < math.inf:
            raise ValueError(f"cleanup is {cleanup!r}, expected a number, at least 1 (1 leaves the photo)")
        if jpeg is not None:
            low, high = jpeg
            if not (isinstance(low, int) and isinstance(high, int) and 1 <= low <= high <= 100):
                raise ValueError(f"jpeg is ({low}, {high}), expected whole numbers, 1 <= low <= high <= 100")
        self.scale = scale
        self.kernels = None if kernels is None else _stack(kernels, scale)
        self.noise = noise
        self.jpeg = None if jpeg is None else (low, high)
        self.cleanup = float(cleanup)

    @staticmethod
    def general(scale: int = 4, cleanup: float = 1.0) -> Degradation:
        """A degradation for photos of any camera, to train weights that must serve everybody.

        Each sample gets one of 1500 kernels, noise, JPEG, a third of them a second round in another size; about 11 %
        stay clean. Real noise is that of the course's phone. See `otsr.degradation.general`.
        """
        from otsr.degradation.general import GeneralDegradation  # which is a Degradation itself

        return GeneralDegradation(scale, cleanup)

    def __repr__(self) -> str:
        blur, pool = self.kernels, self.noise
        kernels = "bicubic" if blur is None else f"{len(blur)} of {blur.shape[-1]} taps"
        noise = "none" if pool is None else f"{len(pool)} patches of {pool.size} pixels"
        parts = f"scale={self.scale}, kernels: {kernels}, noise: {noise}"
        return f"Degradation({parts}, jpeg={self.jpeg}, cleanup={self.cleanup:g})"

    def apply(self, hr: Tensor, seed: int | None = None) -> Tensor:
        """The LR image or images of `hr`, as `pair` makes them."""
        return self.pair(hr, seed)[1]

    def pair(self, hr: Tensor, seed: int | None = None) -> tuple[Tensor, Tensor]:
        """The cleaned HR images and their LR images, aligned: LR pixel i shows the middle of HR block i.

        From (3, H, W) or (B, 3, H, W) in [0, 1] to (…, 3, s·h, s·w) and (…, 3, h, w) in [0, 1], on hr's device. The
        same seed gives the same images; without one every call differs.
        """
        generator = torch.Generator()
        generator.seed() if seed is None else generator.manual_seed(seed)
        clean = self._clean(as_batch(hr, "hr"))
        drawn = [0] * len(clean)
        if self.kernels is None:
            lr = resize(clean, 1 / self.scale)
        else:
            drawn = torch.randint(len(self.kernels), (len(clean),), generator=generator).tolist()
            lr = downsample(clean, self.kernels[drawn], self.scale)
        lr = self.disturb(lr, drawn, generator)
        return (clean, lr) if hr.dim() == 4 else (clean[0], lr[0])

    def disturb(self, lr: Tensor, drawn: Sequence[int], generator: torch.Generator) -> Tensor:
        """Clip to [0, 1], add noise, JPEG, for each sample of (B, 3, h, w), made with the `drawn` kernels."""
        lr = lr.clamp(0, 1)
        if self.noise is not None:
            lr = self.noise.inject(lr, generator, 1 if self.jpeg is None else GRID)
        if self.jpeg is not None:
            low, high = self.jpeg
            qualities = torch.randint(low, high + 1, (len(lr),), generator=generator).tolist()
            lr = torch.stack([compress(image, quality) for image, quality in zip(lr, qualities, strict=True)])
        return lr

    def _clean(self, hr: Tensor) -> Tensor:
        shrunk = hr if self.cleanup == 1 else resize(hr, 1 / self.cleanup).clamp(0, 1)
        height, width = shrunk.shape[-2:]
        needed = max(self.scale, 0 if self.kernels is None else self.kernels.shape[-1])
        if min(height, width) < needed:
            found = f"hr is {hr.shape[-1]}×{hr.shape[-2]}, after clean-up {width}×{height}"
            least = f"scale and kernels need at least {needed}×{needed}"
            raise ValueError(f"{found}; {least}: give a larger image")
        return crop_to_multiple(shrunk, self.scale)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write kernels, noise pool and settings as one safetensors file, atomically."""
        tensors = {} if self.kernels is None else {"kernels": self.kernels.contiguous()}
        noise = (pool := self.noise) and {"sources": pool.sources, "tags": pool.tags}
        if pool:
            tensors["noise"] = pool.patches.contiguous()
        notes = {"scale": self.scale, "jpeg": self.jpeg, "cleanup": self.cleanup, "noise": noise}
        told = {"format": _FORMAT, "version": _VERSION, "notes": json.dumps(notes, ensure_ascii=False)}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, told)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Degradation:
        """Read what `save` wrote: the same seed then gives bitwise the same images. No pickle: a file runs nothing."""
        tensors, told = _read(Path(path))
        try:
            notes = json.loads(told["notes"])
            if noise := notes["noise"]:
                noise = NoisePool(tensors["noise"], noise["sources"], noise["tags"])
            return cls(notes["scale"], tensors.get("kernels"), noise, notes["jpeg"], notes["cleanup"])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            damage = f"{path}: this {_FORMAT} file is damaged ({error}); make it again"
            raise DegradationError(damage) from None


def compress(image: Tensor, quality: int, subsampling: str = "4:2:0") -> Tensor:
    """(3, H, W) through JPEG in memory, with colours at half resolution (4:2:0, as phones do) or full (4:4:4)."""
    file = io.BytesIO()
    to_pil(image).save(file, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(file) as decoded:
        pixels = torch.from_numpy(np.array(decoded.convert("RGB")))
    return pixels.permute(2, 0, 1).to(image).div(255)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a degradation's file."""
    if not path.is_file():
        raise DegradationError(f"{path}: no such file; expected an {_FORMAT} file{suggestion(path)}")
    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
    except (SafetensorError, OSError) as error:
        found = f"not an intact safetensors file ({error})"
        raise DegradationError(f"{path}: {found}; expected an {_FORMAT} file") from None
    if told.get("format") != _FORMAT:
        held = told.get("format") or ", ".join(sorted(tensors)[:4]) or "nothing"
        raise DegradationError(f"{path}: holds {held}; expected an {_FORMAT} file")
    if told.get("version") != _VERSION:
        found = f"{_FORMAT} version {told.get('version')}, this program reads version {_VERSION}"
        raise DegradationError(f"{path}: {found}; update otsr, or make the file again")
    return tensors, told


def _stack(kernels: Tensor | Sequence[Tensor], scale: int) -> Tensor:
    """(N, k, k) float32 of one or many kernels, padded with zeros to the largest."""
    many = list(kernels[None] if isinstance(kernels, Tensor) and kernels.dim() == 2 else kernels)
    if not many:
        raise ValueError("kernels is empty; give at least one, or None for bicubic")
    for number, kernel in enumerate(many):
        check_kernel(kernel, scale, f"kernels[{number}]")
        total = float(kernel.double().sum())
        if not abs(total - 1) < 1e-3:
            raise ValueError(f"kernels[{number}] sums to {total:.4g}, expected 1; divide it by its sum")
    return without_dust(same_size([kernel.detach().float().cpu() for kernel in many]))
