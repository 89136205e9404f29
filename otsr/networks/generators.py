"""Generators: an LR picture in, an SR picture out.

`RRDBNet` is the network of ESRGAN, RealSR and OTSR: nearly all of its work is done at LR size, by residual blocks in
residual blocks without batch norm, then it is enlarged by nearest neighbour and convolution.

    lr ── first ──┬── trunk (nb × [3 dense blocks]) ── trunk_last ── + ──┬── enlarge ×2 … ── hr ── last ── sr
                  └─────────────────────────────────────────────────┘  features │ reconstruct

`Compact` is small enough to train on a laptop: plain convolutions at LR size predict what is added to the
enlarged input.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from otsr.images import resize

_LARGEST = 1024  # channels, blocks: far above any network in use; a file that asks for more is not believed


class DenseBlock(nn.Module):
    """Five convolutions; each sees the input and all outputs before it: x + 0.2·f(x). (B, nf, h, w), same out."""

    receptive_radius = 5

    def __init__(self, nf: int, gc: int) -> None:
        super().__init__()
        widths = [(nf + i * gc, gc if i < 4 else nf) for i in range(5)]
        self.convolutions = nn.ModuleList(nn.Conv2d(into, out, 3, padding=1) for into, out in widths)
        for convolution in self.convolutions:
            _initialise(convolution, 0.1)  # ESRGAN, section 3.1: starts near the identity

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for convolution in self.convolutions[:4]:
            seen = torch.cat([seen, leaky(convolution(seen))], dim=1)
        return torch.add(x, self.convolutions[4](seen), alpha=0.2)


class ResidualInResidual(nn.Module):
    """Three dense blocks in a row: x + 0.2·f(x). (B, nf, h, w), same out.

    Where the blocks have 16-bit weights, x may be float32: the sum over all blocks then keeps its precision.
    """

    def __init__(self, nf: int, gc: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(DenseBlock(nf, gc) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        dtype = self.blocks[0].convolutions[0].weight.dtype  # type: ignore[union-attr,index]
        return torch.add(x, self.blocks(x.to(dtype)), alpha=0.2)


class RRDBNet(nn.Module):
    """Generator of ESRGAN, RealSR and OTSR: (B, 3, h, w) to (B, 3, s·h, s·w), sRGB in [0, 1], not clipped.

    Args:
        nf: channels of the trunk.
        nb: residual-in-residual blocks.
        gc: channels that each convolution in a dense block adds.
        scale: 2 or 4.
        unshuffle: 2 in the ×2 networks of Real-ESRGAN: the input is folded to half size and 12 channels first, and
            the network enlarges ×4. Odd sizes are padded by repetition. 1 otherwise.

    Attributes:
        scale: enlargement.
        architecture: the arguments, as `build` takes them.
        alignment: LR pixels at whose multiples a window must start to see what the whole picture shows.
        receptive_radius: LR pixels around an output pixel's own that can change it; far ones change it little.

    Reference: Wang et al., ESRGAN, ECCV workshops 2018, arXiv 1809.00219.
    """

    def __init__(self, nf: int = 64, nb: int = 23, gc: int = 32, scale: int = 4, unshuffle: int = 1) -> None:
        super().__init__()
        _check(scale, nf=nf, nb=nb, gc=gc)
        if unshuffle not in (1, 2) or (unshuffle == 2 and scale != 2):
            raise ValueError(f"unshuffle is {unshuffle!r} at scale {scale}, expected 1, or 2 at scale 2")
        self.scale, self.alignment = scale, unshuffle
        sizes = {"nf": nf, "nb": nb, "gc": gc, "scale": scale, "unshuffle": unshuffle}
        self.architecture: dict[str, Any] = {"name": "RRDBNet", **sizes}
        self.first = nn.Conv2d(3 * unshuffle**2, nf, 3, padding=1)
        self.trunk = nn.Sequential(*(ResidualInResidual(nf, gc) for _ in range(nb)))
        self.trunk_last = nn.Conv2d(nf, nf, 3, padding=1)
        stages = 2 if scale * unshuffle == 4 else 1
        self.enlarge = nn.ModuleList(nn.Conv2d(nf, nf, 3, padding=1) for _ in range(stages))
        self.hr = nn.Conv2d(nf, nf, 3, padding=1)
        self.last = nn.Conv2d(nf, 3, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        return self.reconstruct(self.features(lr))

    def features(self, lr: Tensor) -> Tensor:
        """(B, nf, h, w) of (B, 3, h, w): the part at LR size, nearly all of the work and of the context."""
        if self.alignment == 1:
            return self._trunk(lr)
        height, width = lr.shape[-2:]
        even = functional.pad(lr, (0, width % 2, 0, height % 2), mode="replicate")
        half = self._trunk(functional.pixel_unshuffle(even, 2))
        return self._enlarge(half, 0)[..., :height, :width]

    def reconstruct(self, features: Tensor) -> Tensor:
        """(B, 3, s·h, s·w) of (B, nf, h, w): enlarges; an output sees 2 LR pixels around it, no more."""
        for stage in range(self.alignment - 1, len(self.enlarge)):
            features = self._enlarge(features, stage)
        return self.last(leaky(self.hr(features)))

    def _trunk(self, x: Tensor) -> Tensor:
        shallow = self.first(x.to(self.first.weight.dtype))
        return shallow + self.trunk_last(self.trunk(shallow))

    def _enlarge(self, x: Tensor, stage: int) -> Tensor:
        return leaky(self.enlarge[stage](functional.interpolate(x, scale_factor=2.0, mode="nearest")))

    @property
    def receptive_radius(self) -> int:
        # `reconstruct` sees 2 pixels, first and trunk_last see one each, a block's 15 convolutions 15.
        return self.alignment * (4 + 15 * len(self.trunk))


class Compact(nn.Module):
    """Small generator: (B, 3, h, w) to (B, 3, s·h, s·w), sRGB in [0, 1], not clipped.

    3×3 convolutions and PReLU at LR size, rearranged into pixels and added to the enlarged input. The last one begins
    with zeros, so a fresh network is that enlargement exactly: each channel is one place in a square of s×s pixels, and
    random weights would begin with a grid. With base "nearest" it holds the weights of Real-ESRGAN's compact networks.

    Args:
        nf: channels.
        nb: convolutions nf → nf.
        scale: 2 or 4.
        base: how the input is enlarged, "bicubic" (MATLAB's, see `otsr.images.resize`) or "nearest".

    Its attributes are those of `RRDBNet`.

    Reference: Shi et al., CVPR 2016, arXiv 1609.05158 (pixel shuffle); Wang et al., Real-ESRGAN, arXiv 2107.10833.
    """

    def __init__(self, nf: int = 32, nb: int = 8, scale: int = 4, base: str = "bicubic") -> None:
        super().__init__()
        _check(scale, nf=nf, nb=nb)
        if base not in ("bicubic", "nearest"):
            raise ValueError(f"base is {base!r}, expected bicubic or nearest")
        self.scale, self.alignment, self.base = scale, 1, base
        sizes = {"nf": nf, "nb": nb, "scale": scale, "base": base}
        self.architecture: dict[str, Any] = {"name": "Compact", **sizes}
        layers: list[nn.Module] = []
        for channels in (3, *[nf] * nb):
            layers += [nn.Conv2d(channels, nf, 3, padding=1), nn.PReLU(nf)]
        self.body = nn.Sequential(*layers, nn.Conv2d(nf, 3 * scale**2, 3, padding=1))
        for layer in layers:  # torch's default halves a signal at each: 16 leave the first without a gradient
            _initialise(layer, 1.0)
        _initialise(self.body[-1], 0.0)  # the others get gradients as soon as it has moved

    def forward(self, lr: Tensor) -> Tensor:
        first: nn.Conv2d = self.body[0]  # type: ignore[assignment]
        detail = functional.pixel_shuffle(self.body(lr.to(first.weight.dtype)), self.scale)
        if self.base == "nearest":
            return functional.interpolate(lr, scale_factor=float(self.scale), mode="nearest") + detail
        device = "cuda" if lr.is_cuda else "cpu"  # others are in no autocast
        with torch.autocast(device, enabled=False):  # 16-bit products would cost the input its last bits
            return resize(lr.float(), self.scale) + detail

    @property
    def receptive_radius(self) -> int:
        return sum(isinstance(layer, nn.Conv2d) for layer in self.body)


GENERATORS: dict[str, type[RRDBNet] | type[Compact]] = {"RRDBNet": RRDBNet, "Compact": Compact}


def build(architecture: dict[str, Any]) -> RRDBNet | Compact:
    """The network that an `architecture` describes, with fresh weights; a ValueError names what cannot be built."""
    arguments = dict(architecture)
    name = arguments.pop("name", None)
    if not isinstance(name, str) or name not in GENERATORS:
        raise ValueError(f"architecture name is {name!r}, expected one of {', '.join(GENERATORS)}")
    try:
        return GENERATORS[name](**arguments)
    except TypeError as error:
        raise ValueError(f"architecture {architecture!r}: {error}") from None


def prune(network: RRDBNet, blocks: Sequence[int]) -> RRDBNet:
    """A copy with only these blocks of the trunk, all other layers as they are: a small network's head start.

    Each block adds a small correction to what it reads, so the rest still works when some are left out.

    Raises ValueError: no blocks, one that the trunk lacks, or not in ascending order.

    Reference: Veit et al., Residual networks behave like ensembles of relatively shallow networks, NeurIPS 2016.
    """
    depth = len(network.trunk)
    if not blocks or list(blocks) != sorted(set(blocks) & set(range(depth))):
        raise ValueError(f"blocks are {list(blocks)}, expected some of 0 to {depth - 1} in ascending order")
    pruned = copy.deepcopy(network)
    pruned.trunk = nn.Sequential(*(pruned.trunk[block] for block in blocks))
    pruned.architecture["nb"] = len(blocks)
    return pruned


def leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.2, inplace=True)


def _initialise(layer: nn.Module, factor: float) -> None:
    """A convolution gets He's initialisation × factor and no bias."""
    if isinstance(layer, nn.Conv2d) and not layer.weight.is_meta:
        nn.init.kaiming_normal_(layer.weight)
        with torch.no_grad():
            layer.weight *= factor
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def _check(scale: int, **counts: int) -> None:
    if scale not in (2, 4):
        raise ValueError(f"scale is {scale!r}, expected one of 2, 4")
    for name, value in counts.items():
        if type(value) is not int or not 1 <= value <= _LARGEST:
            raise ValueError(f"{name} is {value!r}, expected a whole number from 1 to {_LARGEST}")
