"""AlexNet features that barely move when the picture does, and the perceptual distance ST-LPIPS made of them.

In this AlexNet every stride is a blur followed by a subsampling, so a shift by one pixel changes little.
The weights, trained by Ghildyal and Liu, are in data/weights/; the code is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from otsr.datasets import data_dir

# Mean and deviation of ImageNet's pixels as LPIPS rounds them, for pixels in [-1, 1].
_PIXELS = ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450))
_STRIP = 16  # pixels along the far borders that the first layer computes on their own; even, above 12


class AlexFeatures(nn.Module):
    """The five layers of ST-LPIPS's anti-aliased AlexNet, by name, each after its ReLU.

    A picture of n × n pixels, 21 or more, gives n/2 - 1 pixels in conv1, n/4 in conv2 and n/8 in the others (rounded;
    one more or less). `layers` are those that `forward` returns, at first all.

    Reference: Ghildyal, Liu, "Shift-tolerant perceptual similarity metric", ECCV 2022, arXiv 2207.13686;
    blur before subsampling: Zhang, ICML 2019, arXiv 1904.11486.
    """

    channels: ClassVar[dict[str, int]] = {"conv1": 64, "conv2": 192, "conv3": 384, "conv4": 256, "conv5": 256}
    smallest: ClassVar[int] = 21
    pixels: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers: Sequence[str] = tuple(self.channels)
        self.conv1 = nn.Conv2d(3, 64, 11, padding=2)
        self.conv2 = nn.Conv2d(64, 192, 5, padding=2)
        self.conv3 = nn.Conv2d(192, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 256, 3, padding=1)
        self.conv5 = nn.Conv2d(256, 256, 3, padding=1)
        self.register_buffer("pixels", torch.tensor(_PIXELS).view(2, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Features of (B, 3, H, W) in [0, 1], one (B, C, h, w) a layer."""
        check_size(image, self.smallest, "AlexNet's features")
        mean, deviation = self.pixels
        x = (2 * image - 1 - mean) / deviation
        x = x.contiguous(memory_format=torch.channels_last)  # convolutions and maxima take half the time
        conv1 = F.relu(self._halved_conv1(x))
        conv2 = F.relu(self.conv2(halve(F.max_pool2d(conv1, 3, stride=1))))
        conv3 = F.relu(self.conv3(halve(F.max_pool2d(conv2, 3, stride=1))))
        conv4 = F.relu(self.conv4(conv3))
        conv5 = F.relu(self.conv5(conv4))
        found = {"conv1": conv1, "conv2": conv2, "conv3": conv3, "conv4": conv4, "conv5": conv5}
        return {layer: found[layer] for layer in self.layers}

    def _halved_conv1(self, x: Tensor) -> Tensor:
        """`halve(self.conv1(x))` as one convolution of stride 2: a third of the time, a quarter of the memory.

        Both are linear, so their product is a 13×13 kernel. At the near borders mirroring repeats the first
        value. At the far ones it repeats the last value when the size is odd; when it is even it does not,
        and a strip along the border is computed in two steps.
        """
        weight = self.conv1.weight
        kernel = F.conv2d(weight.flatten(0, 1)[:, None], _blur(x), padding=2)
        inner = F.conv2d(x, kernel.view(*weight.shape[:2], 13, 13), self.conv1.bias, stride=2, padding=2)
        odd_height, odd_width = (side % 2 for side in x.shape[-2:])
        halved = F.pad(inner, (1, odd_width, 1, odd_height), mode="replicate")
        if not odd_height:
            last = halve(self.conv1(x[..., -_STRIP:, :]))[..., -1:, :]
            halved = torch.cat([halved, last[..., : halved.shape[-1]]], dim=-2)
        if not odd_width:
            last = halve(self.conv1(x[..., -_STRIP:]))[..., -1:]
            halved = torch.cat([halved, last], dim=-1)
        return halved


class ShiftTolerantLPIPS(nn.Module):
    """The distance ST-LPIPS (AlexNet) between two pictures: 0 for equal ones, larger for less alike ones.

    d(x, y) = Σ_layers mean_pixels Σ_channels w_c (x̂_c - ŷ_c)², with features scaled to length 1 in each pixel
    and weights w ≥ 0 fitted to human judgements. It has gradients, so it serves as a loss; unlike
    `otsr.metrics.st_lpips` it does not check the range of what it is given.

    Reference: Ghildyal, Liu, ECCV 2022, arXiv 2207.13686; Zhang et al., CVPR 2018, arXiv 1801.03924.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = AlexFeatures()
        counts = AlexFeatures.channels.items()
        self.heads = nn.ParameterDict({layer: torch.full((count,), 1 / count) for layer, count in counts})

    @classmethod
    def pretrained(cls) -> ShiftTolerantLPIPS:
        """The network with the vendored weights, frozen, in eval mode, float32, on the CPU."""
        path, network = data_dir() / "weights" / "st_lpips_alex.safetensors", cls()
        try:
            network.load_state_dict(load_file(path))  # which are fp16, and widened as they are copied
        except (OSError, SafetensorError, RuntimeError) as error:
            words = f"missing, damaged, or not ST-LPIPS's AlexNet ({error}); restore it from the repository"
            raise ValueError(f"{path}: {words}") from None
        return network.to(memory_format=torch.channels_last).requires_grad_(False).eval()  # type: ignore[call-overload]

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Distances (B,) between two batches (B, 3, H, W) in [0, 1] of one size."""
        total = sr.new_zeros(sr.shape[0])
        of_sr, of_hr = self.features(sr), self.features(hr)
        for layer, weights in self.heads.items():
            difference = (_direction(of_sr[layer]) - _direction(of_hr[layer])).square()
            total = total + torch.einsum("bchw,c->b", difference, weights) / of_sr[layer][0, 0].numel()
        return total


def check_size(image: Tensor, smallest: int, what: str) -> None:
    """Refuse what is not (B, 3, H, W) with sides of `smallest` pixels or more."""
    if image.dim() != 4 or image.shape[1] != 3 or min(image.shape[-2:]) < smallest:
        need = f"{what} need (B, 3, H, W) with sides of {smallest} pixels or more"
        raise ValueError(f"{need}, got {tuple(image.shape)}; use a larger crop, or layers that need less")


def _direction(x: Tensor) -> Tensor:
    return x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10)


def _blur(like: Tensor, channels: int = 1) -> Tensor:
    taps = torch.tensor([0.25, 0.5, 0.25])
    kernel = torch.outer(taps, taps).expand(channels, 1, 3, 3)
    return kernel.to(like, non_blocking=True)  # otherwise its way to CUDA waits for all that was begun before


def halve(x: Tensor, border: int = 2) -> Tensor:
    """Every second pixel of x blurred by (1 2 1)/4 along both axes; borders mirrored by `border` pixels."""
    return F.conv2d(_mirrored(x, border), _blur(x, x.shape[1]), stride=2, groups=x.shape[1])


def _mirrored(x: Tensor, border: int) -> Tensor:
    if not torch.are_deterministic_algorithms_enabled():
        return F.pad(x, (border,) * 4, mode="reflect")
    for axis in (-2, -1):  # by indices: on CUDA the gradients of a reflection are added in any order
        last = x.shape[axis] - 1
        places = torch.arange(-border, last + border + 1, device=x.device)
        x = x.index_select(axis, last - (last - places.abs()).abs())
    return x
