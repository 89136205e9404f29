"""The upscaler against the plain forward pass of the same network, and on every kind of picture."""

import copy
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_networks import answer, difference, every_network, networks, noise, plain, plainly
from torch import nn

from otsr import weights
from otsr.datasets import phone_crops, photos
from otsr.images import open_picture, read, resize
from otsr.inference import Upscaler, back_project, keep_colours, restoration, scaled_size, window
from otsr.networks.generators import Compact, DenseBlock, RRDBNet


@every_network
def test_tiles_and_blocks_give_what_the_whole_image_gives(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = noise(75, 123)
    expected = plain(network, pixels)
    assert difference(plainly(network, tile=32).upscale(pixels), expected) <= 1
    monkeypatch.setattr(window, "BLOCKS", (32,))
    monkeypatch.setattr(window, "DENSE", 24)
    assert difference(plainly(network).upscale(pixels), expected) <= 1
    if network.scale == 4 and isinstance(network, RRDBNet):  # it looks far enough that seams would be seen
        assert difference(plainly(network, tile=32, overlap=0).upscale(pixels), expected) > 20


@pytest.mark.slow
def test_the_default_overlap_is_enough_for_the_default_weights_on_a_hard_jpeg(tmp_path: Path) -> None:
    """A trained network looks as far as it has learned to."""
    town = next(path for path in photos("val") if path.stem == "citedeCarcassonne")
    with Image.open(town) as photo:
        photo.convert("RGB").crop((200, 328, 420, 352)).save(tmp_path / "hard.jpg", quality=50)
    pixels, network = np.asarray(Image.open(tmp_path / "hard.jpg")), weights.load(weights.DEFAULT)
    expected = plain(network, pixels)
    assert difference(plainly(network, tile=64).upscale(pixels), expected) <= 2
    assert difference(plainly(network, tile=64, overlap=32).upscale(pixels), expected) > 8


def test_a_dense_block_answers_in_parts_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    block, x = DenseBlock(8, 4), torch.rand(1, 8, 41, 60, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(window, "DENSE", 16)
    with torch.no_grad():
        for weights in block.parameters():
            weights.mul_(10)  # it begins near the identity, where no seam would be seen
        assert torch.allclose(window._in_parts(block, x), block(x), atol=1e-4)


@pytest.mark.parametrize(
    "options", [{}, {"ensemble": True}, {"back_projection": 3, "colours": False}, {"tileable": True}], ids=str
)
@every_network
def test_tiles_do_not_show_with_options_either(network: nn.Module, options: dict[str, int]) -> None:
    pixels = noise(41, 60)
    tiled = Upscaler(network, precision="fp32", tile=32, **options).upscale(pixels)
    whole = Upscaler(network, precision="fp32", tile=512, **options).upscale(pixels)
    assert difference(tiled, whole) <= 1


@pytest.mark.slow
def test_tiles_of_real_weights_differ_by_one_level_at_most() -> None:
    network = weights.load("realsr-df2k")
    pixels = np.asarray(Image.open(phone_crops(iso=1792)[-1]))[300:332, 400:464]
    assert difference(plainly(network, tile=32).upscale(pixels), plain(network, pixels)) <= 1


@every_network
def test_tiny_pictures_work(network: nn.Module) -> None:
    for height, width in ((1, 1), (1, 40), (5, 3), (33, 2)):
        sr = Upscaler(network, tile=32).upscale(noise(height, width))
        assert sr.size == (width * network.scale, height * network.scale)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_channels_stay_and_alpha_is_enlarged_bicubically(channels: int, mode: str) -> None:
    pixels = noise(70, 50, channels)
    sr = Upscaler(networks()[0], tile=32).upscale(pixels)
    assert (sr.mode, sr.size) == (mode, (200, 280))
    if channels in (2, 4):
        expected = resize(torch.from_numpy(pixels[..., -1])[None].float(), 4).clamp(0, 255).round()[0]
        assert difference(np.asarray(sr)[..., -1], expected) <= 1


def test_every_kind_of_input_gives_the_same(tmp_path: Path) -> None:
    pixels, network = noise(20, 24), networks()[0]
    Image.fromarray(pixels).save(tmp_path / "in.png")
    tensor = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    for source in (tmp_path / "in.png", Image.fromarray(pixels), pixels, tensor):
        assert difference(plainly(network).upscale(source), plain(network, pixels)) <= 1


def coloured() -> nn.Module:
    """Shifts all colours, and turns fine structure colourful, as badly trained networks do."""
    torch.manual_seed(0)
    network = Compact(nf=8, nb=3, scale=4)
    network.body[-1].weight.data.normal_(std=0.05, generator=torch.Generator().manual_seed(0))  # type: ignore[operator,union-attr]
    network.body[-1].bias.data[:16] -= 0.08  # type: ignore[index,union-attr]
    return network


@pytest.mark.parametrize("flat", [0.02, 0.98])
def test_colours_of_areas_are_those_of_the_input_and_neutral_stays_neutral(flat: float) -> None:
    network = coloured()
    generator = torch.Generator().manual_seed(0)
    for channels in (1, 3):
        lr = (flat + 0.1 * torch.randn(channels, 48, 48, generator=generator)).clamp(0, 1).expand(3, -1, -1)
        kept, free = (read(Upscaler(network, colours=on).upscale(lr)) for on in (True, False))
        shift, plain_shift = (255 * (sr.mean((1, 2)) - lr.mean((1, 2))).abs().max() for sr in (kept, free))
        assert shift < 1 < 5 < plain_shift
        assert channels == 3 or (kept == kept[:1]).all()


def test_keeping_the_colours_brings_no_noise_back() -> None:
    """A network that removes all noise: of the input's, little may return."""
    lr = 0.5 + 0.05 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    sr = keep_colours(torch.full((1, 3, 256, 256), 0.5), lr)
    assert float(sr.std() / lr.std()) < 0.15


@pytest.mark.parametrize("scale", [2, 4])
def test_colours_are_kept_in_strips_as_in_the_whole(scale: int) -> None:
    generator = torch.Generator().manual_seed(0)
    lr = torch.rand(1, 3, 29, 20, generator=generator)
    sr = torch.rand(1, 3, 29 * scale, 20 * scale, generator=generator)
    whole = keep_colours(sr.clone(), lr)
    in_strips = keep_colours(sr.clone(), lr, strip=60)  # three rows
    assert torch.allclose(in_strips, whole, atol=1e-6)  # old CPUs add up in another order
    bilinear = torch.nn.functional.interpolate(lr, scale_factor=scale, mode="bilinear")
    stretched = restoration._stretched(restoration._stretched(lr, scale, -1), scale, -2)
    assert torch.allclose(stretched, bilinear, atol=1e-6)


@pytest.mark.parametrize("size", [(32, 40), (1, 1)])
def test_a_flat_picture_stays_flat_up_to_its_borders(size: tuple[int, int]) -> None:
    """The network must not see black around it."""
    upscaler = Upscaler.from_pretrained("psnr-small")
    for colour in ((0, 0, 0), (200, 100, 50), (255, 255, 255)):
        expected = np.full((4 * size[0], 4 * size[1], 3), colour, np.uint8)
        assert difference(upscaler.upscale(expected[::4, ::4].copy()), expected) <= 2


@pytest.mark.parametrize("hidden", [0, 255])
def test_the_hidden_colours_of_transparent_pixels_do_not_show(hidden: int) -> None:
    """A disc of one colour, over hidden black or white, seen on a ground of its own colour."""
    y, x = np.mgrid[:64, :64] - 31.5
    alpha = np.clip((20 - np.hypot(x, y)) * 100, 0, 255).astype(np.uint8)
    colour = np.array([250, 240, 20])
    rgba = np.dstack([np.where(alpha[..., None] > 0, colour, hidden), alpha]).astype(np.uint8)
    sr = np.asarray(Upscaler.from_pretrained("psnr-small", tile=32).upscale(rgba)).astype(float)
    share = sr[..., 3:] / 255
    assert np.abs(share * sr[..., :3] + (1 - share) * colour - colour).max() <= 3


def test_a_texture_that_wraps_is_upscaled_as_part_of_an_endless_one() -> None:
    network, texture = networks()[0], noise(40, 50)
    endless = np.asarray(plainly(network).upscale(np.tile(texture, (3, 3, 1))))[160:320, 200:400]
    assert difference(plainly(network, tileable=True, tile=32).upscale(texture), endless) <= 1
    assert difference(plainly(network).upscale(texture), endless) > 20


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_are_the_same_picture_in_finer_steps(channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (40, 70, channels), dtype=np.uint16)
    upscaler = Upscaler(networks()[0], precision="fp32", tile=32)
    deep = upscaler.upscale_deep(values[..., 0] if channels == 1 else values)
    assert deep.dtype == np.uint16 and deep.shape == (160, 280, channels)
    coarse = np.asarray(upscaler.upscale(open_picture(values, deep=True))).reshape(deep.shape)
    assert np.abs(deep / 257 - coarse).max() <= 0.51
    assert len(np.unique(deep)) > 10 * len(np.unique(coarse))


@pytest.mark.parametrize(("scale", "deep"), [(1.5, False), (2, True), (3, True), (5, False)])
def test_another_scale_is_the_networks_answer_resized_by_the_exact_bicubic(
    scale: float, deep: bool, recwarn: pytest.WarningsRecorder
) -> None:
    upscaler, pixels = Upscaler(networks()[0], precision="fp32", tile=32), noise(41, 70)
    make = upscaler.upscale_deep if deep else upscaler.upscale
    white = 65535 if deep else 255
    whole = torch.from_numpy(np.asarray(make(pixels)).astype(np.float32)).permute(2, 0, 1)
    size = scaled_size(70, 41, scale)
    made = np.asarray(make(pixels, scale=scale))
    assert made.shape == (size[1], size[0], 3)
    expected = resize(whole, scale / 4, size[::-1]).clamp(0, white).round().permute(1, 2, 0).numpy()
    assert difference(made, expected) <= 1
    beyond = ["×5 is beyond the network's ×4: the rest is bicubic"]
    assert [str(warning.message) for warning in recwarn] == (beyond if scale > 4 else [])


def test_ensemble_is_the_mean_over_eight_orientations() -> None:
    network, pixels = networks()[0], noise(20, 30)
    mean = np.zeros((80, 120, 3))
    for turns, step in itertools.product(range(4), (1, -1)):
        turned = np.rot90(pixels, turns)[:, ::step].copy()
        mean += np.rot90(answer(network, turned)[:, ::step], -turns) / 8
    expected = np.rint(mean.clip(0, 1) * 255)
    assert difference(plainly(network, ensemble=True).upscale(pixels), expected) <= 1


def test_back_projection_agrees_with_the_input_better_at_each_step() -> None:
    lr = read(phone_crops()[0])[None, :, 100:140, 100:150]
    disturbance = 0.1 * torch.randn(1, 3, 160, 200, generator=torch.Generator().manual_seed(0))
    sr = (resize(lr, 4) + disturbance).clamp(0, 1)
    before = sr.clone()
    errors = [float((resize(back_project(sr, lr, n), 1 / 4) - lr).square().mean()) for n in range(5)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < errors[0] / 20
    assert torch.equal(sr, before)


@every_network
def test_bf16_stays_close_to_fp32_and_the_network_given_is_not_changed(network: nn.Module) -> None:
    pixels = noise(40, 40)
    expected, before = plain(network, pixels), copy.deepcopy(network.train().state_dict())
    bf16 = np.asarray(Upscaler(network, precision="bf16", colours=False).upscale(pixels)).astype(float)
    assert float(np.square(bf16 - expected).mean()) < 1.0, "at least 48 dB of agreement"
    assert network.training and all(value.equal(before[name]) for name, value in network.state_dict().items())
    network.eval()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"tile": 5}, "tile is 5"), ({"overlap": -1}, "overlap is -1"), ({"precision": "fp8"}, "fp8.*fp32"),
     ({"back_projection": -2}, "back_projection is -2"), ({"device": "abacus"}, "abacus.*here: auto, cpu")],
)  # fmt: skip
def test_a_bad_option_is_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Upscaler(networks()[3], **options)  # type: ignore[arg-type]
