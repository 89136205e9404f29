"""What notebook 02 writes from scratch is what the package does."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from test_style import ROOT

from otsr.degradation import kernelgan, kernels

GLOBALS = ("line", "far", "recorded", "relative")


@pytest.fixture(scope="module")
def textured() -> torch.Tensor:
    return torch.rand(3, 80, 96, generator=torch.Generator().manual_seed(2))


def test_its_generator_is_the_package_s_and_one_kernel(written: Any, textured: torch.Tensor) -> None:
    torch.manual_seed(5)
    weights = written.new_generator()
    assert all(weight.requires_grad for weight in weights)
    theirs = kernelgan.LinearGenerator(channels=32, collapsed=False)
    for ours, weight in zip(weights, theirs.weights, strict=True):
        assert weight.shape == ours.shape
        weight.data = ours.data
    torch.testing.assert_close(written.lamp(weights), theirs.kernel().flip(0, 1), atol=1e-5, rtol=1e-4)
    deep = written.deep(textured, weights)
    assert deep.shape == (3, 34, 42)
    torch.testing.assert_close(deep, theirs(textured), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(deep, written.shrink(textured, written.lamp(weights)), atol=1e-4, rtol=1e-4)


def test_its_critic_is_the_package_s_and_sees_patches_of_seven(written: Any, textured: torch.Tensor) -> None:
    ours, theirs = written.new_critic(), kernelgan.patch_critic()
    theirs.load_state_dict(ours.state_dict())  # each layer has its own name and shape
    torch.testing.assert_close(ours.eval()(textured[None]), theirs.eval()(textured[None]))
    changed = textured.clone()
    changed[:, 40, 40] = 1 - changed[:, 40, 40]
    moved = (ours(textured[None]) != ours(changed[None])).nonzero()[:, 2:]
    assert (moved.max(0).values - moved.min(0).values).tolist() == [6, 6]


def test_its_wishes_are_the_package_s(written: Any) -> None:
    kernel = torch.rand(13, 13, generator=torch.Generator().manual_seed(1)) - 0.2
    expected = kernelgan._wishes(kernel) - (1 - kernel.sum()).square()  # the sum stands in `play`
    torch.testing.assert_close(written.wishes(kernel), expected, rtol=1e-4, atol=1e-4)


def test_its_game_begins_by_imitating_bicubic(written: Any) -> None:
    noise = torch.rand(3, 160, 160, generator=torch.Generator().manual_seed(0))
    photo = kernels.downsample(noise, kernels.gaussian(22, 3.0), 2)
    photo = (photo - photo.mean()) * 3 + 0.5
    seen = written.play(photo, seed=1, steps=62, keep=(1, 62))
    assert float(seen[62].sum()) == pytest.approx(1, abs=0.1)
    bicubic = written.resize(photo, 1 / 2)[:, 3:37, 3:37]
    first, last = (float((written.shrink(photo, seen[step]) - bicubic).square().mean()) for step in (1, 62))
    assert last < 0.1 * first


def test_its_patches_are_those_of_the_luma_without_their_means(written: Any, textured: torch.Tensor) -> None:
    rows = written.patches(textured, 7)
    assert rows.shape == (74 * 90, 49)
    assert rows.mean(1).abs().max() < 1e-6
    patch = written.luma(textured)[0, 3:10, 5:12]
    torch.testing.assert_close(rows[3 * 90 + 5], (patch - patch.mean()).flatten())


def test_its_transport_is_the_best_pairing_of_patches(written: Any, textured: torch.Tensor) -> None:
    first, second = textured, textured.flip(1) * 0.5
    a, b = written.draw(first, 40, 1), written.draw(second, 40, 2)
    cost = ((a[:, None] - b[None]) ** 2).sum(-1)
    best = cost[linear_sum_assignment(cost)].mean() * 255**2 / 49
    assert written.patch_transport(first, second, 40) == pytest.approx(best)


def test_matching_two_scales_finds_three_quarters_of_the_lens(written: Any) -> None:
    scene = written.fractal(1)
    narrow, wide = (kernels.downsample(scene, kernels.gaussian(22, v), 2) for v in (2.0, 5.0))
    found = written.matching_variance(wide) - written.matching_variance(narrow)
    assert found / 3 == pytest.approx(0.75, abs=0.02)


def test_a_fractal_s_power_falls_with_the_square_of_frequency(written: Any) -> None:
    frequency, power = written.radial_spectrum(written.fractal(0))
    slope = np.polyfit(np.log(frequency[2:24]), np.log(power[2:24]), 1)[0]
    assert slope == pytest.approx(-2, abs=0.1)


def test_it_describes_a_kernel_by_its_axes(written: Any) -> None:
    found = written.describe(kernels.gaussian(30, 6.0, 1.0, 30))
    np.testing.assert_allclose(found, (6, 1, 30), atol=0.02)


def test_what_it_has_recorded_is_what_the_benchmark_measured(written: Any) -> None:
    stored = json.loads((ROOT / "benchmarks/results/kernel_estimation.json").read_text())
    assert written.recorded == {name: round(value) for name, value in stored["kernelgan_seconds"].items()}
    rows = [row for row in stored["records"] if row["case"].startswith("x2-noise0-")]
    for label, method in ("KernelGAN", "kernelgan"), ("best round", "isotropic"), ("statistics", "spectrum"):
        recorded = next(value for name, value in written.relative.items() if name.startswith(label))
        errors = [row["l2"] for row in rows if row["method"] == method]
        assert recorded == pytest.approx(np.mean(errors), abs=5e-4)
