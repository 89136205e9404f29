"""Small networks and pictures that several tests share."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from otsr.inference import Upscaler
from otsr.networks.generators import Compact, RRDBNet


def lively(network: nn.Module) -> nn.Module:
    """Random weights large enough that context matters, with answers in [0, 1]."""
    torch.manual_seed(0)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        for convolution in convolutions:
            nn.init.kaiming_normal_(convolution.weight)
            convolution.bias.zero_()
        convolutions[-1].weight *= 0.15 / network(torch.rand(1, 3, 24, 24)).std()
        convolutions[-1].bias += 0.5 - network(torch.rand(1, 3, 24, 24)).mean()
    return network.eval()


def rrdbnet(seed: int = 0, **changes: int) -> RRDBNet:
    torch.manual_seed(seed)
    return RRDBNet(**{"nf": 6, "nb": 1, "gc": 3, "scale": 4, **changes}).eval()


def picture(height: int = 6, width: int = 5) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def networks() -> list[nn.Module]:
    return [
        lively(RRDBNet(nf=8, nb=1, gc=4, scale=4)),
        lively(RRDBNet(nf=8, nb=1, gc=4, scale=2)),
        lively(RRDBNet(nf=8, nb=1, gc=4, scale=2, unshuffle=2)),
        lively(Compact(nf=8, nb=3, scale=4)),
        lively(Compact(nf=8, nb=3, scale=2, base="nearest")),
    ]


every_network = pytest.mark.parametrize(
    "network", networks(), ids=lambda n: "-".join(map(str, n.architecture.values()))
)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    array = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return array[..., 0] if channels == 1 else array


def plainly(network: nn.Module, **options: object) -> Upscaler:
    """In float32, with the colours that the network gives."""
    return Upscaler(network, precision="fp32", colours=False, **options)  # type: ignore[arg-type]


def plain(network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """The plain forward pass, rounded to 8 bits."""
    return np.rint(answer(network, pixels).clip(0, 1) * 255).astype(np.uint8)


def answer(network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3), what the network makes of the picture with mirrored borders."""
    pixels = np.pad(pixels, ((8, 8), (8, 8), (0, 0)), mode="symmetric")
    with torch.no_grad():
        sr = network(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)
    margin = 8 * network.scale
    return sr[0, :, margin:-margin, margin:-margin].permute(1, 2, 0).numpy()


def difference(a: object, b: object) -> int:
    """Largest difference in grey levels."""
    return int(np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max())


class Narrow(nn.Module):
    """Overflows in 16 bits."""

    scale = 2

    def __init__(self, answer: float = 0.5) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(3)))
        self.answer = answer

    def forward(self, lr: Tensor) -> Tensor:
        narrow = self.convolutions[1].weight.dtype != torch.float32
        value = torch.inf if narrow else self.answer
        return torch.full((1, 3, 2 * lr.shape[-2], 2 * lr.shape[-1]), value, device=lr.device)
