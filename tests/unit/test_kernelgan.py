"""KernelGAN: the collapsed generator is the deep one, the training is what the paper says, the result is a kernel."""

import math

import numpy as np
import pytest
import torch
from pytest import MonkeyPatch

from otsr.datasets import photos
from otsr.degradation import kernelgan, kernels
from otsr.images import read, resize


def test_one_kernel_equals_six_layers_and_so_do_the_gradients() -> None:
    torch.manual_seed(0)
    deep, collapsed = (kernelgan.LinearGenerator(16, collapsed).double() for collapsed in (False, True))
    collapsed.load_state_dict(deep.state_dict())
    image = torch.rand(3, 41, 38, dtype=torch.float64)
    outputs = [g(image) for g in (deep, collapsed)]
    assert outputs[0].shape == (3, 15, 13)
    assert torch.allclose(*outputs, atol=1e-12)
    for output in outputs:
        output.pow(3).sum().backward()
    for one, other in zip(deep.parameters(), collapsed.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-12)  # type: ignore[arg-type]


def test_training_is_decided_by_the_seed_alone_collapsed_or_deep(monkeypatch: MonkeyPatch) -> None:
    photo = resize(read(photos("train")[0]).double(), 0.25).clamp(0, 1)
    monkeypatch.setattr(kernelgan, "_start", lambda generator: None)  # takes a second
    state = torch.get_rng_state()
    deep, collapsed = (kernelgan.train_kernel(photo, 3, collapsed=c) for c in (False, True))
    assert deep.abs().max() > 1e-3 and (deep - collapsed).abs().max() < 1e-10
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is left alone
    assert torch.equal(collapsed, kernelgan.train_kernel(photo, 3))
    assert not torch.equal(collapsed, kernelgan.train_kernel(photo, 3, seed=1))


def test_crops_are_drawn_where_the_gradients_are() -> None:
    torch.manual_seed(0)
    image = torch.full((3, 100, 300), 0.5)
    image[:, :, 200:] = torch.rand(3, 100, 100)
    crops = torch.tensor(kernelgan._crops(image, 64, 500))
    assert crops[:, 1].min() >= 200 - 64
    assert crops.max(0).values.tolist() <= [36, 236]
    assert (crops[:, 1] > 190).float().mean() > 0.3


def test_wishes_are_the_formula_written_out() -> None:
    kernel = torch.rand(13, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 100
    total = boundary = x = y = 0.0
    for (row, column), tap in np.ndenumerate(kernel.numpy()):
        total += tap
        boundary += tap * (math.exp(math.hypot(row - 6, column - 6) / 2) - 1) / 169
        x, y = x + tap * (column - 6), y + tap * (row - 6)
    centre = ((x / total) ** 2 + (y / total) ** 2) / 2
    assert float(kernelgan._wishes(kernel)) == pytest.approx((1 - total) ** 2 + 0.5 * boundary + centre)


@pytest.mark.parametrize("seed", [0, 1])
def test_every_seed_starts_from_the_same_small_blur(seed: int) -> None:
    torch.manual_seed(seed)
    generator = kernelgan.LinearGenerator()
    kernelgan._start(generator)
    assert kernels.l2_distance(generator.kernel().detach(), kernels.gaussian(13, 1.0)) < 0.05


@pytest.mark.parametrize(("scale", "factor"), [(2, 1), (4, 5)])
def test_a_finished_kernel_is_pruned_centred_and_composed(scale: int, factor: int) -> None:
    raw = kernels.gaussian(13, 1.5).roll((-1, 1), (0, 1))
    raw[0, 0] = 0.01 * raw.max()
    raw[12, 3] = -0.02
    kernel = kernelgan.finish_kernel(raw, scale)
    mean, covariance = kernels.moments(kernel)
    assert kernel.shape[0] % 2 == 0 and kernel.min() >= 0
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-6)
    assert mean.abs().max() < 0.02 * scale
    assert torch.allclose(covariance, factor * 1.35 * torch.eye(2, dtype=torch.float64), atol=0.15 * factor)


@pytest.mark.slow
def test_a_blurrier_image_gets_a_wider_kernel() -> None:
    hr = resize(read(photos("train")[0]), 0.5).clamp(0, 1)
    sizes = []
    for variance in (0.5, 5.0):
        lr = kernels.downsample(hr, kernels.gaussian(14, variance), 2)
        kernel = kernelgan.finish_kernel(kernelgan.train_kernel(lr, 300), 2)
        sizes.append(float(kernels.moments(kernel)[1].trace()))
    assert sizes[1] > 1.5 * sizes[0]  # 2.1 to 7.1 for seeds 0 to 9; the truth is 10
