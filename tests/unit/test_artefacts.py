"""Rulers of artefacts find what was planted, as much as was planted, and nothing in bicubic's enlargement."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from otsr.images import read, resize, to_pil
from otsr.metrics import block_gain, checkerboard, colour_shift, noise_gain

SCALE = 4


def wall(sigma: float, side: int = 96, seed: int = 0) -> Tensor:
    """A wall lit from one side, with white noise of σ grey levels."""
    slope = torch.linspace(0.4, 0.6, side).expand(3, side, side)
    return slope + sigma / 255 * torch.randn(slope.shape, generator=torch.Generator().manual_seed(seed))


def jpeg(image: Tensor, quality: int) -> Tensor:
    file = io.BytesIO()
    to_pil(image).save(file, "JPEG", quality=quality)
    return read(Image.open(file))


def enlarged(lr: Tensor) -> Tensor:
    return resize(lr, SCALE).clamp(0, 1)


def bricks(lr: Tensor, levels: float) -> Tensor:
    """Steps of ± levels, in turn, at the lines of the JPEG grid (8 LR pixels) of an enlarged picture."""
    signs = torch.tensor([1.0, -1.0]).repeat_interleave(8 * SCALE).repeat(lr.shape[-1] // 16)
    return (levels / 510) * signs[None, :, None] * signs[None, None, :]


def lattice(side: int, row_period: float, column_period: float, levels: float) -> Tensor:
    place = torch.arange(side)
    return levels / 255 * torch.cos(2 * torch.pi * (place[:, None] / row_period + place / column_period))


@pytest.mark.parametrize("lr", [wall(0), wall(4), jpeg(wall(6), 50)], ids=["clean", "noisy", "JPEG"])
def test_bicubic_has_no_artefact(lr: Tensor) -> None:
    sr = enlarged(lr)
    assert float(noise_gain(sr, lr)) == pytest.approx(1)
    assert float(block_gain(sr, lr, SCALE)) == pytest.approx(1)
    assert colour_shift(sr, lr).abs().max() < 0.01


@pytest.mark.parametrize("gain", [0.3, 1.0, 3.0])
def test_noise_gain_is_the_factor_that_noise_was_multiplied_by(gain: float) -> None:
    assert float(noise_gain(enlarged(wall(4 * gain)), wall(4))) == pytest.approx(gain, rel=0.05)


def test_noise_gain_is_that_of_scipy_for_white_noise_on_top() -> None:
    lr = wall(4)
    sr = enlarged(lr) + 3 / 255 * torch.randn(3, 384, 384, generator=torch.Generator().manual_seed(1))

    def deviation(image: Tensor) -> float:
        high = [x - gaussian_filter(x, SCALE, truncate=3) for x in image.double().numpy()]
        return float(np.std(np.stack(high)[:, 32:-32, 32:-32]))

    assert float(noise_gain(sr, lr)) == pytest.approx(deviation(sr) / deviation(enlarged(lr)), rel=0.01)


@pytest.mark.parametrize(("gain", "shift"), [(0.5, 3), (2.0, 0)])
def test_block_gain_is_the_square_of_the_factor_a_grid_was_multiplied_by(gain: float, shift: int) -> None:
    def seen(levels: float) -> Tensor:
        return (wall(1) + resize(bricks(wall(0), levels), 1 / SCALE)).roll((shift, shift), (1, 2))

    measured = block_gain(enlarged(seen(20 * gain)), seen(20), SCALE)
    assert float(measured) == pytest.approx(gain**2, rel=0.05)


def test_blocks_with_sharpened_edges_gain_though_their_steps_are_no_higher() -> None:
    sharp = bricks(wall(0), 20)
    lr = wall(0.5) + sharp[:, ::SCALE, ::SCALE]
    step = resize(torch.tensor([0.0, 1.0]).repeat_interleave(8).expand(1, 16, -1).double(), SCALE)[0, 32]
    gain = 1 / float(step.diff()[29:33].square().sum())  # a step at once, over one that bicubic spreads
    assert float(block_gain(enlarged(wall(0.5)) + sharp, lr, SCALE)) == pytest.approx(gain, rel=0.1)


def test_a_grid_that_is_gone_has_a_gain_below_one_half() -> None:
    assert float(block_gain(enlarged(wall(0)), jpeg(wall(6), 30), SCALE)) < 0.5


@pytest.mark.parametrize(("seed", "gain"), [(0, 0.2), (1, 4.0), (2, 0.2), (3, 4.0)])
def test_noise_alone_is_no_grid(seed: int, gain: float) -> None:
    sr, lr = enlarged(wall(3 * gain, seed=seed)), wall(3, seed=seed)
    assert float(block_gain(sr, lr, SCALE)) == pytest.approx(1)


@pytest.mark.parametrize("periods", [(4, np.inf), (np.inf, 4), (4, 4), (2, np.inf), (2, 2), (4, 2)])
def test_a_lattice_of_a_period_of_upsampling_is_found(periods: tuple[float, float]) -> None:
    ramp = enlarged(wall(0))
    assert float(checkerboard(ramp + lattice(384, *periods, 0.5), SCALE)) > 3


def test_waves_of_other_periods_and_noise_are_no_lattice() -> None:
    ramp = enlarged(wall(0))
    assert float(checkerboard(ramp, SCALE)) == pytest.approx(1, abs=0.01)
    assert float(checkerboard(ramp + lattice(384, 10, 7, 2), SCALE)) < 1.5
    noise = 2 / 255 * torch.randn(3, 384, 384, generator=torch.Generator().manual_seed(0))
    assert float(checkerboard(ramp + noise, SCALE)) < 3


def test_colour_shift_is_the_planted_offset_in_grey_levels() -> None:
    lr = wall(4)
    offset = torch.tensor([3.0, -2.0, 0.5])
    assert torch.allclose(colour_shift(enlarged(lr) + offset[:, None, None] / 255, lr), offset, atol=0.02)


def test_a_batch_gives_one_value_a_picture() -> None:
    lr = torch.stack([wall(4), jpeg(wall(6), 40)])
    sr = enlarged(lr.flip(0))
    blocks, lattices = lambda a, b: block_gain(a, b, SCALE), lambda a, _: checkerboard(a, SCALE)
    for ruler in (noise_gain, blocks, lattices, colour_shift):
        assert torch.allclose(ruler(sr, lr), torch.stack([ruler(a, b) for a, b in zip(sr, lr, strict=True)]))


def test_what_cannot_be_measured_is_refused_with_the_reason() -> None:
    lr = wall(1)
    small = lr[:, :40, :40]
    for measured, reason in (
        (lambda: noise_gain(lr[:, :-1], lr), "whole multiple"),
        (lambda: block_gain(enlarged(lr), lr, 2), "expected 2 times"),
        (lambda: noise_gain(enlarged(small), small), "larger picture"),
        (lambda: block_gain(enlarged(small), small, SCALE), "larger picture"),
        (lambda: checkerboard(lr, 1), "scale is 1"),
    ):
        with pytest.raises(ValueError, match=reason):
            measured()
