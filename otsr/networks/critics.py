"""Critics: a sample in, scores out; a score depends on its own sample alone.

So there is no batch norm: with it the gradient of one score reaches every sample of the batch, and a penalty on the
slope at one sample means nothing. Any number of channels, width and size of sample is accepted.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

NORMS = ("none", "group", "spectral")
_SMALLEST = 4  # side of the map that the last layer of `VGGCritic` sees at least


class PatchCritic(nn.Module):
    """A map of scores, each of a window: (B, channels, H, W) to (B, 1, h, w).

    Stride-2 convolutions of 4×4, then two of 3×3. With `layers` = 2 a score sees 28×28 pixels, with 1 it sees
    14×14, with 0 (for features, or patches of a few pixels) 7×7. What a window holds is judged, not what the picture
    shows.

    Args:
        channels: of a sample.
        nf: of the first convolution; doubled by each of stride 2, up to 8·nf.
        layers: convolutions of stride 2.
        norm: "none", "group" (a sample's own channels), or "spectral" (of the weights).

    Raises:
        ValueError: an unknown norm.

    Reference: Isola et al., CVPR 2017, arXiv 1611.07004; spectral norm: Miyato et al., ICLR 2018, arXiv 1802.05957.
    """

    def __init__(self, channels: int = 3, nf: int = 64, layers: int = 2, norm: str = "none") -> None:
        super().__init__()
        convolve = _convolution(norm)
        parts: list[nn.Module] = [*convolve(channels, nf, 3, 1, plain=True)]
        width = nf
        for _ in range(layers):
            wider = min(2 * width, 8 * nf)
            parts += convolve(width, wider, 4, 2)
            width = wider
        parts += [*convolve(width, width, 3, 1), *convolve(width, 1, 3, 1, plain=True)[:1]]
        self.body = nn.Sequential(*parts)

    def forward(self, samples: Tensor) -> Tensor:
        return self.body(samples)


class VGGCritic(nn.Module):
    """One score a sample: (B, channels, H, W) to (B, 1); RealSR's VGG-128 for any width and size.

    Pairs of convolutions, 3×3 and 4×4 with stride 2, until 4 pixels or a little more are left, then two linear layers.

    Args:
        size: side of a sample, at least 8 pixels.
        channels, nf, norm: as in `PatchCritic`.
    """

    def __init__(self, size: int, channels: int = 3, nf: int = 64, norm: str = "none") -> None:
        super().__init__()
        if size < 2 * _SMALLEST:
            raise ValueError(f"a VGG critic needs samples of {2 * _SMALLEST} pixels or more, got {size}")
        convolve = _convolution(norm)
        parts: list[nn.Module] = [*convolve(channels, nf, 3, 1, plain=True), *convolve(nf, nf, 4, 2)]
        width, side = nf, size // 2
        while side >= 2 * _SMALLEST:
            wider = min(2 * width, 8 * nf)
            parts += [*convolve(width, wider, 3, 1), *convolve(wider, wider, 4, 2)]
            width, side = wider, side // 2
        self.body = nn.Sequential(*parts)
        self.judge = nn.Sequential(
            nn.Flatten(), nn.Linear(width * side**2, 100), nn.LeakyReLU(0.2), nn.Linear(100, 1)
        )

    def forward(self, samples: Tensor) -> Tensor:
        return self.judge(self.body(samples).contiguous())


def _convolution(norm: str) -> Callable[..., list[nn.Module]]:
    """What makes [convolution, norm if any, leaky ReLU]; `plain` leaves out a group norm."""
    if norm not in NORMS:
        raise ValueError(f"norm is {norm!r}, expected one of {', '.join(NORMS)}; never of the batch")

    def make(channels: int, nf: int, size: int, stride: int, *, plain: bool = False) -> list[nn.Module]:
        convolution: nn.Module = nn.Conv2d(channels, nf, size, stride, padding=1)
        if norm == "spectral":
            convolution = nn.utils.parametrizations.spectral_norm(convolution)
        groups = next(count for count in (8, 4, 2, 1) if nf % count == 0)
        normalise = [nn.GroupNorm(groups, nf)] if norm == "group" and not plain else []
        return [convolution, *normalise, nn.LeakyReLU(0.2)]

    return make
