"""The upscaler against the plain forward pass of the same network, and on every kind of picture."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from torch import Tensor, nn

from otsr import inference, machine
from otsr.datasets import phone_crops
from otsr.images import open_picture, read, resize
from otsr.inference import Upscaler, back_project, prediction, scaled_size
from otsr.inference.restoration import keep_colours
from otsr.networks.generators import Compact, RRDBNet


def lively(network: nn.Module) -> nn.Module:
    """Random weights large enough that context matters, with answers in [0, 1]."""
    torch.manual_seed(0)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        for convolution in convolutions:
            nn.init.kaiming_normal_(convolution.weight)
            convolution.bias.zero_()
        probe = network(torch.rand(1, 3, 24, 24))
        convolutions[-1].weight *= 0.15 / probe.std()
        probe = network(torch.rand(1, 3, 24, 24))
        convolutions[-1].bias += 0.5 - probe.mean()
    return network.eval()


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


@every_network
def test_tiles_and_blocks_give_what_the_whole_image_gives(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = noise(75, 123)
    expected = plain(network, pixels)
    assert difference(plainly(network, tile=32).upscale(pixels), expected) <= 1
    monkeypatch.setattr(prediction, "_BLOCK", 32)
    assert difference(plainly(network).upscale(pixels), expected) <= 1
    if network.scale == 4 and isinstance(network, RRDBNet):  # it looks far enough that seams would be seen
        assert difference(plainly(network, tile=32, overlap=0).upscale(pixels), expected) > 20


@pytest.mark.parametrize(
    "options", [{}, {"ensemble": True}, {"back_projection": 3}, {"tileable": True}], ids=str
)
@every_network
def test_tiles_do_not_show_with_options_either(network: nn.Module, options: dict[str, int]) -> None:
    pixels = noise(61, 80)
    tiled = Upscaler(network, precision="fp32", tile=32, **options).upscale(pixels)
    whole = Upscaler(network, precision="fp32", tile=512, **options).upscale(pixels)
    assert difference(tiled, whole) <= 1


@pytest.mark.slow
def test_tiles_of_real_weights_differ_by_one_level_at_most() -> None:
    from otsr import weights

    network = weights.load("realsr-df2k")
    pixels = np.asarray(Image.open(phone_crops(iso=1792)[-1]))[300:364, 400:528]
    assert difference(plainly(network, tile=64).upscale(pixels), plain(network, pixels)) <= 1


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
        assert difference(np.asarray(sr)[..., -1], expected.numpy()) <= 1


def test_the_colour_profile_is_kept_and_other_metadata_dropped(tmp_path: Path) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010E] = "a secret"
    Image.fromarray(noise(9, 8)).save(tmp_path / "in.jpg", icc_profile=icc, exif=exif)
    Upscaler(networks()[0]).upscale(tmp_path / "in.jpg").save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as out:
        assert out.info.get("icc_profile") == icc
        assert not out.getexif()


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
    grey = (flat + 0.1 * torch.randn(1, 48, 48, generator=generator)).clamp(0, 1)
    for lr in (
        grey.expand(3, -1, -1),
        (flat + 0.1 * torch.randn(3, 48, 48, generator=generator)).clamp(0, 1),
    ):
        mean = 255 * lr.mean((1, 2))
        shift, plain_shift = (
            float((255 * read(Upscaler(network, colours=on).upscale(lr)).mean((1, 2)) - mean).abs().max())
            for on in (True, False)
        )
        assert shift < 1 < 5 < plain_shift
    sr = np.asarray(Upscaler(network).upscale(grey.expand(3, -1, -1)))
    assert (sr == sr[..., :1]).all()


def test_keeping_the_colours_brings_no_noise_back() -> None:
    """A network that removes all noise: of the input's, little may return."""
    lr = 0.5 + 0.05 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    sr = keep_colours(torch.full((1, 3, 256, 256), 0.5), lr)
    assert float(sr.std() / lr.std()) < 0.15


@pytest.mark.parametrize("size", [(32, 40), (1, 1)])
def test_a_flat_picture_stays_flat_up_to_its_borders(size: tuple[int, int]) -> None:
    """The network must not see black around it."""
    upscaler = Upscaler.from_pretrained("psnr-small")
    for colour in ((0, 0, 0), (200, 100, 50), (255, 255, 255)):
        sr = upscaler.upscale(np.full((*size, 3), colour, np.uint8))
        assert difference(sr, np.full((4 * size[0], 4 * size[1], 3), colour)) <= 2


@pytest.mark.parametrize("hidden", [0, 255])
def test_the_hidden_colours_of_transparent_pixels_do_not_show(hidden: int) -> None:
    """A disc of one colour, over hidden black or white, seen on a ground of its own colour."""
    y, x = np.mgrid[:64, :64] - 31.5
    alpha = np.clip((20 - np.hypot(x, y)) * 100, 0, 255).astype(np.uint8)
    colour = np.array([250, 240, 20])
    pixels = np.where(alpha[..., None] > 0, colour, hidden)
    rgba = np.dstack([pixels, alpha]).astype(np.uint8)
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
def test_another_scale_is_the_networks_answer_resized_by_the_exact_bicubic(scale: float, deep: bool) -> None:
    upscaler, pixels = Upscaler(networks()[0], precision="fp32", tile=32), noise(41, 70)
    make = upscaler.upscale_deep if deep else upscaler.upscale
    white = 65535 if deep else 255
    whole = torch.from_numpy(np.asarray(make(pixels)).astype(np.float32)).permute(2, 0, 1)
    size = scaled_size(70, 41, scale)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = np.asarray(make(pixels, scale=scale))
    assert made.shape == (size[1], size[0], 3)
    expected = resize(whole, scale / 4, size[::-1]).clamp(0, white).round().permute(1, 2, 0).numpy()
    assert difference(made, expected) <= 1
    assert [str(w.message) for w in caught] == (
        ["×5 is beyond the network's ×4: the rest is bicubic"] if scale > 4 else []
    )


def test_ensemble_is_the_mean_over_eight_orientations() -> None:
    network, pixels = networks()[0], noise(20, 30)
    mean = np.zeros((80, 120, 3))
    for turns in range(4):
        for flip in (False, True):
            turned = np.rot90(pixels, turns)[:, :: -1 if flip else 1].copy()
            sr = answer(network, turned)[:, :: -1 if flip else 1]
            mean += np.rot90(sr, -turns) / 8
    expected = np.rint(mean.clip(0, 1) * 255)
    assert difference(plainly(network, ensemble=True).upscale(pixels), expected) <= 1


def test_back_projection_agrees_with_the_input_better_at_each_step() -> None:
    lr = read(phone_crops()[0])[None, :, 100:140, 100:150]
    sr = (
        resize(lr, 4) + 0.1 * torch.randn(1, 3, 160, 200, generator=torch.Generator().manual_seed(0))
    ).clamp(0, 1)
    errors = [float((resize(back_project(sr, lr, n), 1 / 4) - lr).square().mean()) for n in range(5)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 20


def test_back_projection_never_leaves_the_range_of_a_picture_and_leaves_its_arguments_alone() -> None:
    """The original code clamped and threw the clamped tensor away: it answered 1.5."""
    lr = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (1, 3, 12, 12))).float()
    start = torch.rand(1, 3, 48, 48)
    kept = start.clone()
    for steps in range(1, 6):
        sr = back_project(start, lr, steps)
        assert float(sr.min()) >= 0 and float(sr.max()) <= 1
    assert torch.equal(start, kept)


@every_network
def test_bf16_stays_close_to_fp32(network: nn.Module) -> None:
    pixels = noise(40, 40)
    bf16 = np.asarray(Upscaler(network, precision="bf16", colours=False).upscale(pixels)).astype(float)
    mse = float(np.square(bf16 - plain(network, pixels)).mean())
    assert mse < 1.0, "at least 48 dB of agreement"


def test_the_network_given_is_not_changed() -> None:
    network = networks()[0].train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    Upscaler(network, precision="bf16", colours=False).upscale(noise(8, 8))
    assert network.training
    for name, value in network.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, before[name])


def test_progress_counts_every_tile() -> None:
    calls: list[tuple[int, int]] = []
    Upscaler(networks()[3], tile=32).upscale(noise(70, 90), lambda *call: calls.append(call))
    assert calls == [(i + 1, len(calls)) for i in range(len(calls))]
    assert len(calls) > 3


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


def test_overflow_in_16_bits_falls_back_to_fp32() -> None:
    upscaler = Upscaler(Narrow(), precision="bf16", colours=False)
    with pytest.warns(UserWarning, match="float32"):
        sr = upscaler.upscale(noise(20, 20))
    assert difference(sr, np.full((40, 40, 3), 128)) <= 1
    assert upscaler.dtype == torch.float32


def test_a_network_that_answers_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        Upscaler(Narrow(float("nan")), precision="fp32", colours=False).upscale(noise(20, 20))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tile": 5}, "tile is 5"),
        ({"overlap": -1}, "overlap is -1"),
        ({"back_projection": -2}, "back_projection is -2"),
        ({"device": "abacus"}, "abacus.*here: auto, cpu"),
        ({"precision": "fp8"}, "fp8.*fp32"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Upscaler(networks()[3], **options)  # type: ignore[arg-type]


def test_a_picture_whose_result_does_not_fit_is_refused_with_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_memory", lambda: 50_000_000)
    with pytest.raises(
        MemoryError, match=r"2000×1000 becomes 8000×4000.*0\.\d\d GB.*0\.05 GB are free.*shrink"
    ):
        Upscaler(networks()[3]).upscale(np.zeros((1000, 2000, 3), np.uint8))


def test_tiles_become_smaller_when_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler = Upscaler(networks()[0], tile=128, precision="fp32", colours=False)
    needed = upscaler.predict_memory(150, 150, 64)
    assert needed < upscaler.predict_memory(150, 150)
    monkeypatch.setattr(machine, "available_memory", lambda: needed)
    counts: list[int] = []
    sr = upscaler.upscale(noise(150, 150), lambda done, total: counts.append(total))
    assert counts[0] == len(upscaler.tiles(150, 150, 64))
    assert difference(sr, plain(networks()[0], noise(150, 150))) <= 1


_MEASURE = """
import sys, gc, torch, numpy as np
from otsr.inference import Upscaler
from otsr.networks.generators import RRDBNet, Compact
torch.set_num_threads(1)
network = RRDBNet(32, 1, 16) if sys.argv[1] == "RRDBNet" else Compact(48, 4)
upscaler = Upscaler(network, precision=sys.argv[2], tile=int(sys.argv[3]))
upscaler.upscale(np.zeros((64, 64, 3), np.uint8))
side = int(sys.argv[4])
predicted = upscaler.predict_memory(side, side)
pixels = np.zeros((side, side, 3), np.uint8)
gc.collect()
def memory(key):  # not resource.getrusage, whose peak a process inherits from its parent
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) * 1024
before = memory("VmRSS")
upscaler.upscale(pixels)
print(predicted, memory("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to measure memory")
@pytest.mark.parametrize(
    ("network", "precision", "tile", "side"),
    [("RRDBNet", "fp32", 128, 200), ("RRDBNet", "bf16", 512, 300), ("Compact", "fp32", 512, 500)],
)
def test_predicted_memory_is_within_a_factor_of_two(
    network: str, precision: str, tile: int, side: int
) -> None:
    if precision == "bf16" and not machine.fast_bf16():
        pytest.skip("no fast bf16 here")
    arguments = [sys.executable, "-c", _MEASURE, network, precision, str(tile), str(side)]
    answer = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    predicted, measured = map(int, answer.split())
    reused = 64 * 2**20  # memory that the warm-up freed and the allocator kept does not count as growth
    assert measured / 1.1 <= predicted <= 2 * (measured + reused)


def test_seconds_grow_with_the_picture() -> None:
    upscaler = Upscaler(networks()[3], tile=64)
    assert 0 < upscaler.predict_seconds(100, 100) < upscaler.predict_seconds(1000, 1000)


def test_overlap_is_the_receptive_radius_where_that_is_smaller() -> None:
    assert inference.needed_overlap(Compact(nf=8, nb=3)) == 5
    assert inference.needed_overlap(RRDBNet(nf=8, nb=23, gc=4)) == inference.OVERLAP


def pretend_cuda(patch: pytest.MonkeyPatch, free: int) -> None:
    """Upscalers made from now on believe in a CUDA device with so many free bytes; their networks have no data."""
    place = machine.place

    def without_data(network: nn.Module, device: torch.device, dtype: torch.dtype, **_: object) -> nn.Module:
        return place(network, device, dtype, on=torch.device("meta"))

    patch.setattr(machine, "choose_device", lambda name: torch.device("cuda"))
    patch.setattr(machine, "place", without_data)
    patch.setattr(machine, "free_on", lambda device: free)


def test_windows_and_blocks_on_cuda_are_the_largest_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cuda(monkeypatch, free=80 * 10**9)
    upscaler = Upscaler(RRDBNet(nf=32, nb=1, gc=16), precision="fp16")
    width, height = 640, 480
    tile, block = upscaler.plan(width, height)
    assert len(upscaler.tiles(width, height, tile)) == 1
    assert block >= width, "the reconstruction, too, runs in one piece"
    seen = []
    for share in (1.3, 0.8, 0.4, 0.2, 0.1, 0.05):
        free = int(share * upscaler.predict_window_memory(width, height, tile, block))
        monkeypatch.setattr(machine, "free_on", lambda device, free=free: free)
        plan = upscaler.plan(width, height)
        assert upscaler.predict_window_memory(width, height, *plan) <= free
        seen.append((len(upscaler.tiles(width, height, plan[0])), -plan[1]))
    assert seen == sorted(seen), "less memory: smaller blocks first, then more windows"
    assert seen[0] == (1, -block) and seen[2][0] == 1 and seen[-1][0] > 1
    monkeypatch.setattr(machine, "free_on", lambda device: 1000)
    with pytest.raises(MemoryError, match=r"640×480.*cuda has too little free memory; use --device cpu"):
        upscaler.plan(width, height)


def test_a_picture_of_100_megapixels_is_bounded_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cuda(monkeypatch, free=80 * 10**9)
    monkeypatch.setattr(machine, "available_memory", lambda: None)
    upscaler = Upscaler(RRDBNet(nf=64, nb=1, gc=32), precision="fp16")
    tile, block = upscaler.plan(10_000, 10_000)
    largest = upscaler.tiles(10_000, 10_000, tile)[-1]
    assert max(largest.rows.size, largest.columns.size) <= inference.CUDA_TILE + 2 * upscaler.overlap
    assert 64 * (4 * (block + 4)) ** 2 < 2**31, "numbers in one tensor, which CUDA counts with 32 bits"


def test_the_next_window_is_begun_on_cuda_before_the_last_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_cuda(monkeypatch, free=10**9)
    upscaler = Upscaler(networks()[3], tile=32)
    cut = upscaler.tiles(100, 30)[:3]
    events: list[str] = []

    def begin(picture: object, tile: object, block: int, deep: bool) -> object:
        number = cut.index(tile)
        events.append(f"begin {number}")
        return lambda: events.append(f"wait {number}")

    monkeypatch.setattr(upscaler, "_begin", begin)
    assert [tile for tile, _ in upscaler._parts(None, cut, 128)] == cut
    assert events == ["begin 0", "begin 1", "wait 0", "begin 2", "wait 1", "wait 2"]


def pretend_apple(patch: pytest.MonkeyPatch) -> None:
    """Upscalers made from now on believe in an Apple GPU; what is sent there stays on the CPU."""
    place, memory_format = machine.place, machine.memory_format
    patch.setattr(torch.cuda, "is_available", lambda: False)
    patch.setattr(torch.backends.mps, "is_available", lambda: True)
    patch.setattr(machine, "place", lambda *what, on=torch.device("cpu"): place(*what, on=on))
    patch.setattr(machine, "memory_format", lambda device, dtype: memory_format(torch.device("mps"), dtype))
    patch.setattr(machine, "send", lambda tensor, device: tensor)


def test_apples_gpu_is_taken_where_it_is_and_memory_counted_as_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_cpu = Upscaler(networks()[0], device="cpu", precision="fp32")
    pretend_apple(monkeypatch)
    upscaler = Upscaler(networks()[0], tile=32)
    assert (upscaler.device.type, upscaler.dtype, upscaler.tile) == ("mps", torch.float32, 32)
    assert difference(upscaler.upscale(noise(40, 50)), on_cpu.upscale(noise(40, 50))) <= 1
    assert Upscaler(networks()[0]).tile == inference.TILE
    assert upscaler.predict_memory(40, 50, 64) == on_cpu.predict_memory(40, 50, 64)


def test_what_apples_gpu_cannot_do_is_done_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lacking(Narrow):
        def forward(self, lr: Tensor) -> Tensor:
            if upscaler.device.type == "mps":
                raise NotImplementedError("The operator 'aten::_new' is not implemented for the MPS device.")
            return super().forward(lr)

    pretend_apple(monkeypatch)
    upscaler = Upscaler(Lacking(), colours=False)
    with pytest.warns(UserWarning, match=r"mps cannot do this .*aten::_new.*; going on on the CPU"):
        sr = upscaler.upscale(noise(20, 20))
    assert upscaler.device.type == "cpu"
    assert difference(sr, np.full((40, 40, 3), 128)) <= 1


def test_fp32_is_multiplied_in_full_and_the_process_keeps_its_own_choice() -> None:
    """TF32 rounds to 10 bits, and its convolutions take workspace that no prediction counts."""
    seen = []

    class Looking(Narrow):
        def forward(self, lr: Tensor) -> Tensor:
            seen.append(torch.backends.cudnn.allow_tf32)
            return super().forward(lr)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.cudnn, "allow_tf32", True)
        Upscaler(Looking(), precision="fp32").upscale(noise(20, 20))
        assert not seen[-1] and torch.backends.cudnn.allow_tf32


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@needs_cuda
@pytest.mark.parametrize("tile", [32, None])
@every_network
def test_cuda_agrees_with_the_cpu(network: nn.Module, tile: int | None) -> None:
    pixels = noise(61, 80)
    on_cuda = Upscaler(network, device="cuda", precision="fp32", colours=False, tile=tile).upscale(pixels)
    assert difference(on_cuda, plain(network, pixels)) <= 2


@needs_cuda
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@every_network
def test_16_bits_on_cuda_stay_close_to_fp32(network: nn.Module, precision: str) -> None:
    pixels = noise(40, 40)
    half = np.asarray(Upscaler(network, device="cuda", precision=precision).upscale(pixels)).astype(float)
    assert float(np.square(half - plain(network, pixels)).mean()) < 0.65, "at least 50 dB of agreement"


@needs_cuda
@pytest.mark.parametrize("options", [{}, {"ensemble": True}, {"back_projection": 3}], ids=str)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tiles_and_blocks_do_not_show_on_cuda(
    precision: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, pixels = networks()[0], noise(150, 200)
    whole = Upscaler(network, device="cuda", precision=precision, **options).upscale(pixels)
    monkeypatch.setattr(prediction, "_BLOCK", 32)
    monkeypatch.setattr(prediction, "_CUDA_BLOCK", 32)
    tiled = Upscaler(network, device="cuda", precision=precision, tile=48, **options).upscale(pixels)
    assert difference(tiled, whole) <= (1 if precision == "fp32" else 4)


@needs_cuda
@pytest.mark.parametrize("block", [1024, 128])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_predicted_memory_on_cuda_is_within_a_tenth(
    precision: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "_CUDA_BLOCK", block)
    upscaler = Upscaler(RRDBNet(nf=64, nb=2, gc=32), device="cuda", precision=precision)
    pixels = noise(480, 640)
    upscaler.upscale(pixels)  # what the libraries keep for themselves is taken now
    predicted = upscaler.predict_window_memory(640, 480, *upscaler.plan(640, 480))
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    upscaler.upscale(pixels)
    assert predicted == pytest.approx(torch.cuda.max_memory_allocated() - before, rel=0.1)


@needs_cuda
def test_overflow_on_cuda_falls_back_to_fp32_for_the_whole_picture() -> None:
    upscaler = Upscaler(Narrow(), device="cuda", precision="fp16", tile=32)
    with pytest.warns(UserWarning, match="float32"):
        sr = upscaler.upscale(noise(100, 120))
    assert difference(sr, np.full((200, 240, 3), 128)) <= 1
