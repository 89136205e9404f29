"""Noise: the rules against brute force, sampling against the patches."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image

from otsr.datasets import phone_crops
from otsr.degradation import DegradationError, NoisePool, collect_noise
from otsr.images import open_picture

PUBLISHED = {"max_coherence": 1.0, "max_correlation": 1.0}  # the papers' rules and nothing else


def noisy(shape: tuple[int, int], deviation: float = 3, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: independent noise in all channels."""
    values = np.random.default_rng(seed).normal(120, deviation, (*shape, 3))
    return np.rint(values).clip(0, 255).astype(np.uint8)


def grey_picture(field: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 of a field about middle grey."""
    return np.rint(128 + field)[..., None].repeat(3, 2).astype(np.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def brute_force(image: np.ndarray, rule: str, patch: int, window: int, stride: int) -> list[np.ndarray]:
    """The published rules, one patch and one window at a time, with numpy's own mean and variance."""

    def starts(length: int, side: int, step: int) -> list[int]:
        return sorted({min(place, length - side) for place in range(0, length, step)})

    grey = image.astype(float) @ np.array([0.299, 0.587, 0.114])
    kept = []
    for y, x in product(*(starts(length, patch, stride) for length in grey.shape)):
        part = grey[y : y + patch, x : x + patch]
        mean, var = part.mean(), part.var()
        good = 1e-6 <= var <= (20 if rule == "realsr" else 50)
        for a, b in product(starts(patch, window, window), repeat=2) if rule == "otsr" else ():
            piece = part[a : a + window, b : b + window]
            good &= abs(piece.mean() - mean) <= 0.1 * mean and abs(piece.var() - var) <= 0.25 * var
        if good:
            kept.append(image[y : y + patch, x : x + patch])
    return kept


@pytest.mark.parametrize(
    ("rule", "patch", "window", "stride"),
    [("otsr", 48, 20, 17), ("otsr", 256, 128, 64), ("realsr", 96, 1, 50)],
)
def test_the_rules_keep_what_brute_force_keeps(rule: str, patch: int, window: int, stride: int) -> None:
    crop = open_picture(phone_crops("mixed", 1792)[0]).pixels
    crop = np.concatenate([crop[:400, :500], noisy((400, 300))], 1)
    expected = brute_force(crop, rule, patch, window, stride)
    pool = collect_noise(crop, rule, patch, window=window, stride=stride, **PUBLISHED)
    assert len(pool) == len(expected) > 0
    assert np.array_equal(pool.patches.permute(0, 2, 3, 1).numpy(), np.stack(expected))


WHITE = np.random.default_rng(0).normal(0, 1, (64, 64))


@pytest.mark.parametrize(
    ("field", "refused"),
    [
        (3 * WHITE, ""),
        (scipy.ndimage.gaussian_filter(WHITE, 0.8) * 8, ""),
        (scipy.ndimage.gaussian_filter(WHITE, (0.5, 4)) * 12, "a texture with a direction"),
        (scipy.ndimage.gaussian_filter(WHITE, 6, mode="wrap") * 60, "shading without grain"),
    ],
    ids=["noise", "soft noise", "stripes", "shading"],
)
def test_stripes_and_shading_are_told_from_noise(field: np.ndarray, refused: str) -> None:
    picture = grey_picture(field)
    assert len(collect_noise(picture, "realsr", max_variance=100, **PUBLISHED)) == 1
    with pytest.raises(DegradationError, match=refused) if refused else nullcontext():
        assert len(collect_noise(picture, "realsr", max_variance=100)) == 1


def test_the_phone_gives_noise_at_every_iso_and_the_grain_of_its_wooden_wall_is_left_out() -> None:
    crops = phone_crops()
    pool = collect_noise(crops, tags=[f"ISO {int(path.stem[3:7])}" for path in crops])
    assert set(pool.tags) == {"ISO 100", "ISO 132", "ISO 382", "ISO 1792"}
    assert len(pool) >= 200 and pool.size == 64
    loud, quiet = (float(pool.subset(f"ISO {iso}").sample(200, 32, generator()).std()) for iso in (1792, 132))
    assert loud > 2 * quiet
    wall = collect_noise(phone_crops("mixed", 382), **PUBLISHED)  # every patch shows stripes
    assert pool.tags.count("ISO 382") < 0.1 * len(wall)


def test_an_empty_pool_says_which_rule_rejected_how_many_and_what_to_relax() -> None:
    texture = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    small, black = noisy((20, 90)), np.zeros((64, 64, 3), np.uint8)
    said = r"3 images .*'otsr': 4 × variance too high \(raise.*; 1 × image smaller.*; 1 × no variance"
    with pytest.raises(DegradationError, match=said):
        collect_noise([texture, small, black], stride=64)
    slope = grey_picture(np.linspace(-40, 40, 64)[:, None].repeat(64, 1))
    with pytest.raises(DegradationError, match="1 × a window's mean differs"):
        collect_noise(slope, max_variance=1e4)


@pytest.fixture(scope="module")
def pool() -> NoisePool:
    return collect_noise([noisy((128, 128), 3, 1), noisy((128, 128), 5, 2)], tags=["quiet", "loud"])


def test_each_sample_is_a_crop_of_a_patch_minus_its_mean_per_channel(pool: NoisePool) -> None:
    deviation = 255 * float(pool.subset("quiet").sample(50, 64, generator()).std())
    assert abs(deviation - math.sqrt(9 + 1 / 12)) < 0.02
    noise = pool.sample(20, (24, 30), generator())
    assert noise.shape == (20, 3, 24, 30) and noise.mean((-2, -1)).abs().max() < 1e-7
    rows = pool.patches[:, 0].unfold(1, 24, 1).unfold(2, 30, 1)[..., 0, :].float()  # first rows of red crops
    for field in noise[:3]:
        grain = field[0, 0] * 255  # up to a constant
        assert (rows - rows[..., :1] - (grain - grain[:1])).abs().amax(-1).min() < 1e-3


@pytest.mark.parametrize("size", [32, 100])
def test_the_same_generator_gives_the_same_noise_and_another_seed_another(pool: NoisePool, size: int) -> None:
    first, again, other = (pool.sample(3, size, generator(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other) and not torch.equal(first[0], first[1])


def test_fields_larger_than_a_patch_keep_variance_and_correlation_without_seams() -> None:
    soft = scipy.ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 1, (512, 512)), 0.8, mode="wrap")
    picture = grey_picture(soft / soft.std() * 6)
    pool = collect_noise(picture, max_variance=60, max_correlation=1.0)
    field = pool.sample(12, (320, 352), generator())[:, 0] * 255
    assert abs(float(field.std()) / 6 - 1) < 0.03
    correlation = float((field[:, :, 1:] * field[:, :, :-1]).mean() / field.square().mean())
    original = picture[..., 0] - picture[..., 0].mean()
    assert abs(correlation - (original[:, 1:] * original[:, :-1]).mean() / original.var()) < 0.02
    steps = field.diff().square().mean((0, 1))
    assert abs(float(steps[23::24].mean() / steps.mean()) - 1) < 0.05  # where crops of 48 begin and end


def test_photos_of_one_name_in_two_folders_are_two_sources(tmp_path: Path) -> None:
    places = [tmp_path / folder / "a.png" for folder in ("x", "y")]
    for place in places:
        place.parent.mkdir()
        Image.fromarray(noisy((128, 128))).save(place)
    assert set(collect_noise([*places, places[0]]).sources) == {"a.png", str(places[1])}


def test_a_large_field_is_made_of_one_photo_only(pool: NoisePool) -> None:
    deviations = pool.sample(30, 96, generator())[:, 0].std((-2, -1)) * 255
    assert ((deviations - 3).abs().minimum((deviations - 5).abs()) < 0.4).all()
    assert (deviations < 4).any() and (deviations > 4).any()


@pytest.mark.parametrize("size", [2, 3, 9])
def test_patches_of_any_size_fill_fields_of_any_size(size: int) -> None:
    patches = torch.randint(0, 255, (50, 3, size, size), generator=generator(), dtype=torch.uint8)
    field = NoisePool(patches, ["made"] * 50, [""] * 50).sample(2, (31, 17), generator())
    assert field.shape == (2, 3, 31, 17) and torch.isfinite(field).all()
    assert (field[..., -4:, -4:].std((-2, -1)) > 0.05).all()  # noise up to the last corner


def test_crops_begin_on_the_grid_that_is_asked_for() -> None:
    line = 8 * (torch.arange(64) % 16)  # from every 16th pixel on it looks the same
    periodic = NoisePool((line[:, None] + line).byte().expand(1, 3, 64, 64), ["a"], [""])
    aligned, free = (periodic.sample(9, 32, generator(), grid) for grid in (16, 1))
    assert torch.equal(aligned, aligned[:1].expand_as(aligned)) and not torch.equal(free, aligned)
    large = periodic.sample(1, 96, generator(), 16)[0, 0]  # laid out of crops
    pattern = (line[:16, None] + line[:16]).repeat(6, 6)
    assert np.corrcoef(large.flatten(), pattern.flatten())[0, 1] > 0.95


def test_injection_adds_zero_mean_noise_and_clips(pool: NoisePool) -> None:
    grey = torch.full((4, 3, 32, 32), 0.5)
    assert torch.equal(pool.inject(grey, generator()), grey + pool.sample(4, 32, generator()))
    extremes = torch.stack([pool.inject(torch.full((3, 32, 32), value), generator()) for value in (0.0, 1.0)])
    assert extremes.shape == (2, 3, 32, 32) and 0 <= extremes.min() <= extremes.max() <= 1


WALL, PATCH = noisy((64, 64)), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: collect_noise([]), "no images"),
        (lambda: collect_noise(WALL, "best"), "rule is 'best'"),
        (lambda: collect_noise(WALL, patch=1), "patch is 1"),
        (lambda: collect_noise(WALL, window=65), "window is 65"),
        (lambda: collect_noise(WALL, stride=0), "stride 0"),
        (lambda: collect_noise(WALL, tags=["a", "b"]), "tags holds 2 labels for 1 images"),
        (lambda: NoisePool(PATCH[:0], [], []), "at least one"),
        (lambda: NoisePool(PATCH.float(), ["a"], [""]), "float32"),
        (lambda: NoisePool(PATCH[..., :4], ["a"], [""]), r"\(1, 3, 8, 4\)"),
        (lambda: NoisePool(PATCH, ["a", "b"], [""]), "sources holds 2 labels for 1 patches"),
        (lambda: NoisePool(PATCH, ["a"], ["ISO 100"]).subset("ISO 200"), r"tags are \['ISO 100'\]"),
    ],
)
def test_what_gives_no_noise_is_refused_by_name(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
