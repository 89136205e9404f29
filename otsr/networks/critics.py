"""Critics: a sample in, scores out; a score depends on its own sample alone.

So there is no batch norm: with it the gradient of one score reaches every sample of the batch, and a penalty on the
slope at one sample means nothing. Any number of channels, width and size of sample is accepted.
"""

from torch import Tensor, nn

_SMALLEST = 8  # side of a map that `VGGCritic` halves


class PatchCritic(nn.Module):
    """A map of scores, each of a window: (B, channels, H, W) to (B, 1, h, w).

    Stride-2 convolutions of 4×4, then two of 3×3. With `layers` = 2 a score sees 28×28 pixels, with 1 it sees
    14×14, with 0 (for features, or patches of a few pixels) 7×7. What a window holds is judged, not what the picture
    shows.

    Args:
        channels: of a sample.
        nf: of the first convolution; doubled by each of stride 2, up to 8·nf.
        layers: convolutions of stride 2.
        norm: "none" or "spectral" (of the weights: each layer stretches nothing by more than 1).

    Reference: Isola et al., CVPR 2017, arXiv 1611.07004; spectral norm: Miyato et al., ICLR 2018, arXiv 1802.05957.
    """

    def __init__(self, channels: int = 3, nf: int = 64, layers: int = 2, norm: str = "none") -> None:
        super().__init__()
        parts, width = _convolution(norm, channels, nf, 3, 1), nf
        for _ in range(layers):
            wider = min(2 * width, 8 * nf)
            parts += _convolution(norm, width, wider, 4, 2)
            width = wider
        parts += [*_convolution(norm, width, width, 3, 1), *_convolution(norm, width, 1, 3, 1)[:1]]
        self.body = nn.Sequential(*parts)

    def forward(self, samples: Tensor) -> Tensor:
        return self.body(samples)


class VGGCritic(nn.Module):
    """One score a sample: (B, channels, H, W) to (B, 1); RealSR's VGG-128 for any width and size.

    Pairs of convolutions, 3×3 and 4×4 with stride 2, until 4 pixels or a little more are left, then two linear layers.
    `size` is a sample's side, at least 8 pixels; the other arguments are those of `PatchCritic`.
    """

    def __init__(self, size: int, channels: int = 3, nf: int = 64, norm: str = "none") -> None:
        super().__init__()
        if size < _SMALLEST:
            raise ValueError(f"a VGG critic needs samples of {_SMALLEST} pixels or more, got {size}")
        parts, width, wider, side = list[nn.Module](), channels, nf, size
        while side >= _SMALLEST:
            parts += [*_convolution(norm, width, wider, 3, 1), *_convolution(norm, wider, wider, 4, 2)]
            width, wider, side = wider, min(2 * wider, 8 * nf), side // 2
        self.body = nn.Sequential(*parts)
        first = nn.Linear(width * side**2, 100)
        self.judge = nn.Sequential(nn.Flatten(), first, nn.LeakyReLU(0.2), nn.Linear(100, 1))

    def forward(self, samples: Tensor) -> Tensor:
        return self.judge(self.body(samples).contiguous())


def _convolution(norm: str, channels: int, nf: int, size: int, stride: int) -> list[nn.Module]:
    convolution: nn.Module = nn.Conv2d(channels, nf, size, stride, padding=1)
    if norm == "spectral":
        convolution = nn.utils.parametrizations.spectral_norm(convolution)
    return [convolution, nn.LeakyReLU(0.2)]
