"""The general degradation draws what it says, in the shares that it says, and moves nothing."""

from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytest import MonkeyPatch
from torch import Tensor
from torch.nn import functional as F
from typer.testing import CliRunner

from otsr.cli import app
from otsr.degradation import Degradation, DegradationError, families, general, kernels
from otsr.images import read, resize, write
from otsr.training.synthesis import Synthesis

DRAWS = 600


@pytest.fixture(scope="module")
def anyone() -> Degradation:
    return Degradation.general(4)


@pytest.fixture(scope="module")
def scene() -> Tensor:
    """Coloured blobs of all sizes, (3, 128, 128), away from black and white."""
    generator = seeded(0)
    octaves = [resize(torch.rand(3, 128 // n, 128 // n, generator=generator), n) for n in (32, 8, 2)]
    return (0.5 + 0.4 * (sum(octaves) / 3 - 0.5)).clamp(0, 1)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_near(found: Tensor, expected: Tensor, within: float) -> None:
    torch.testing.assert_close(found, expected, atol=within, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_kernel_sums_to_1_is_centred_and_symmetric(scale: int) -> None:
    made = families.bank(scale, 300, 30)
    assert made.shape == (300, 7 * scale - 2, 7 * scale - 2)
    torch.testing.assert_close(made.sum((1, 2)), torch.ones(300))
    assert_near(made, made.flip(1, 2), 1e-6)  # so its centre of mass is its middle
    blurs = [kernel for kernel in made if kernel.min() >= 0]  # the others have negative lobes
    assert 0.2 < 1 - len(blurs) / 300 < 0.6 and made.abs().sum((1, 2)).max() < 3
    width = torch.stack([(kernels.moments(kernel)[1].trace() / 2).sqrt() for kernel in blurs]) / scale
    assert width.min() < 0.3 and 1 < width.max() < 1.35  # in LR pixels


def test_kernels_are_those_of_other_programs(scene: Tensor) -> None:
    picture = scene[:1]
    assert_near(kernels.downsample(picture, families.box(26, 4), 4), F.avg_pool2d(picture, 4), 1e-6)
    pillow = Image.fromarray(picture[0].numpy(), "F").resize((32, 32), Image.Resampling.LANCZOS)
    ours = kernels.downsample(picture, families.lanczos(26, 4, 3), 4)[0]
    np.testing.assert_allclose(ours[4:-4, 4:-4], np.array(pillow)[4:-4, 4:-4], atol=1e-5)
    # A disc of radius r has the variance r²/4 along each axis.
    assert_near(kernels.moments(families.disc(26, 6.0))[1], 9 * torch.eye(2, dtype=torch.float64), 0.05)


def test_a_fifth_of_the_kernels_is_bicubic(anyone: Degradation) -> None:
    plain = F.pad(kernels.bicubic(4), [5] * 4)
    same = (anyone.kernels - plain).abs().amax((1, 2)) < 1e-6
    assert same[: general.CLEAN].all() and 0.17 < same.float().mean() < 0.23


def test_pixels_are_float32_in_0_1_for_any_picture(anyone: Degradation) -> None:
    noise = torch.rand(3, 70, 45, generator=seeded(1)).round()
    for picture in (torch.zeros(3, 64, 64), torch.ones(3, 64, 64), noise, torch.full((3, 26, 27), 0.5)):
        lr = torch.stack([anyone.apply(picture, seed=seed) for seed in range(30)])
        assert lr.dtype == torch.float32 and 0 <= lr.min() <= lr.max() <= 1
        assert lr.shape[-2:] == (picture.shape[-2] // 4, picture.shape[-1] // 4)


def test_a_ramp_stays_where_it_is(anyone: Degradation, monkeypatch: MonkeyPatch) -> None:
    """LR pixel i shows the middle of its block, through every kernel and through the second round."""
    monkeypatch.setattr(general, "_NOISE", {"none": 1.0})
    monkeypatch.setattr(general, "_SECOND", 1.0)
    monkeypatch.setattr(general, "_jpeg", lambda image, *_: image)
    ramp = torch.linspace(0.1, 0.9, 192)
    for picture, seed in product((ramp.expand(3, 192, 192), ramp[:, None].expand(3, 192, 192)), range(60)):
        off = (anyone.apply(picture, seed=seed) - F.avg_pool2d(picture, 4)) / (4 * 0.8 / 191)  # in LR pixels
        inner = off[:, 10:-10, 10:-10]
        assert abs(inner.mean()) < 0.02 and inner.abs().max() < 0.15, seed


@pytest.mark.parametrize("mode", ["area", "bilinear", "bicubic"])
def test_a_spot_resized_there_and_back_keeps_its_centre_of_mass(mode: str, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(general, "_RESIZED", (mode,))
    place = torch.arange(48.0)
    spot = torch.exp(-((place[:, None] - 21.3).square() + (place - 26.6).square()) / 18).expand(3, 48, 48)
    for size in ((31, 40), (53, 70), (48, 48)):
        back = general._resized(general._resized(spot, size, seeded(0)), (48, 48), seeded(0))[0]
        centre = torch.stack([back.sum(1) @ place, back.sum(0) @ place]) / back.sum()
        assert_near(centre, torch.tensor([21.3, 26.6]), 0.02)


def test_the_same_seed_gives_the_same_picture_and_another_another(anyone: Degradation, scene: Tensor) -> None:
    first, again = ([anyone.apply(scene, seed=seed).numpy().tobytes() for seed in range(8)] for _ in range(2))
    assert first == again and len(set(first)) == 8
    assert torch.equal(*(families.bank(2, 40, 5) for _ in range(2)))


def test_a_sample_depends_on_no_neighbour(anyone: Degradation) -> None:
    regions = torch.randint(256, (20, 3, 86, 86), generator=seeded(2), dtype=torch.uint8)
    synthesis = Synthesis(anyone)
    together = synthesis.degrade(regions, [seeded(seed) for seed in range(20)])
    for i in (0, 7, 19):
        assert torch.equal(synthesis.degrade(regions[i : i + 1], [seeded(i)])[0], together[i])


def test_shares_are_as_documented(anyone: Degradation, scene: Tensor, monkeypatch: MonkeyPatch) -> None:
    """Over 600 draws each share lies within three standard deviations of its own."""
    seen: Counter[str] = Counter()
    now: Counter[str] = Counter()
    phases: set[int] = set()
    compress, resized = general.compress, general._resized

    def compressed(image: Tensor, quality: int, subsampling: str) -> Tensor:
        now.update({"JPEG": 1, "low": quality < 95})
        if not now["second"]:  # a second round compresses other sizes
            phases.add(image.shape[-1] - 32)
        return compress(image, quality, subsampling)

    monkeypatch.setattr(general, "compress", compressed)
    monkeypatch.setattr(general, "_resized", lambda *of: now.update(["second"]) or resized(*of))
    bicubic = resize(scene, 0.25).clamp(0, 1)
    shift = torch.zeros(3)
    for seed in range(DRAWS):
        now.clear()
        lr = anyone.apply(scene, seed=seed)
        shift += (lr - bicubic).mean((1, 2)) / DRAWS
        once = not now["second"]
        close = float((lr - bicubic).square().mean().sqrt()) * 255 < 2
        seen.update(clean=close and once and not now["low"], once=once)
        seen.update(plain=once and now["JPEG"] == 0, twice=once and now["JPEG"] == 2)
    assert 255 * shift.abs().max() < 0.5  # no colour is added
    for what, share, of in (
        ("clean", 0.125, DRAWS),  # 11 %, and what happens to be clean beside
        ("once", 0.65, DRAWS),
        ("plain", 0.17, seen["once"]),
        ("twice", 0.15, seen["once"]),
    ):
        assert abs(seen[what] / of - share) < 3 * (share * (1 - share) / of) ** 0.5, (what, seen[what] / of)
    assert phases == set(range(16)), "the grid of JPEG lies anywhere"


@pytest.mark.parametrize(
    ("kind", "colours", "neighbours", "brighter"),
    [
        ("white", (-0.1, 0.1), (-0.1, 0.1), (0.8, 1.25)),
        ("grey", (0.99, 1.01), (-0.1, 0.1), (0.8, 1.25)),
        ("smoothed", (0.1, 1.0), (0.1, 0.95), (0.7, 1.4)),
        ("signal", (0.1, 1.0), (-0.1, 0.1), (1.2, 3.0)),
    ],
)
def test_noise_is_of_its_kind(
    kind: str, colours: tuple[float, float], neighbours: tuple[float, float], brighter: tuple[float, float],
    anyone: Degradation, monkeypatch: MonkeyPatch,
) -> None:  # fmt: skip
    """Correlation of R and G, of neighbours in a row, and the variance at 0.7 over that at 0.3."""
    monkeypatch.setattr(general, "_NOISE", {kind: 1.0})
    assert isinstance(anyone, general.GeneralDegradation)
    half = torch.cat([torch.full((3, 64, 64), 0.3), torch.full((3, 64, 64), 0.7)], dim=2)
    drawn, log_uniform = [], general.log_uniform
    monkeypatch.setattr(general, "log_uniform", lambda *of: drawn.append(log_uniform(*of)) or drawn[-1])
    for seed in range(40):
        noise = (anyone._noisy(half, 20, seeded(seed)) - half).double() * 255
        dark, bright = noise[..., :60], noise[..., 68:]
        pairs = dark[:2].flatten(1), torch.stack([dark[0, :, 1:], dark[0, :, :-1]]).flatten(1)
        found = [*(torch.corrcoef(pair)[0, 1] for pair in pairs), bright.var() / dark.var()]
        for value, (low, high) in zip(found, (colours, neighbours, brighter), strict=True):
            assert low < value < high, (seed, found)
        assert float(noise.std()) == pytest.approx(drawn[-1], rel=0.06)
    largest = 12 if kind == "smoothed" else 20
    assert 1 <= min(drawn) < 2.5 and 0.6 * largest < max(drawn) <= largest


def test_the_command_line_takes_it_by_name_and_it_cannot_be_saved(
    anyone: Degradation, scene: Tensor, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    assert repr(anyone).startswith("Degradation.general(scale=4, kernels: 1500 of 26")
    with pytest.raises(DegradationError, match=r"g\.safetensors: .* cannot be saved; give its name, general"):
        anyone.save(tmp_path / "g.safetensors")
    monkeypatch.setattr(general, "bank", lambda *_: anyone.kernels)  # takes a second
    write(tmp_path / "a.png", scene)
    command = ["degrade", str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), "--degradation"]
    made = CliRunner().invoke(app, [*command, "general"])
    assert made.exit_code == 0, made.output
    assert read(tmp_path / "out" / "LR" / "a.png").shape == (3, 32, 32)
    assert CliRunner().invoke(app, [*command, "generel"]).exit_code == 2
