"""Critics judge each sample alone, and take any width and size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from otsr.networks.critics import PatchCritic, VGGCritic


@pytest.mark.parametrize("norm", ["none", "spectral"])
@pytest.mark.parametrize("critic", [PatchCritic, VGGCritic])
def test_a_score_does_not_depend_on_the_rest_of_the_batch(critic: type[nn.Module], norm: str) -> None:
    """In training, where a batch norm would mix samples; the gradient of one score reaches its own sample alone."""
    network = critic(32, nf=8, norm=norm) if critic is VGGCritic else critic(nf=8, norm=norm)
    network.train()
    samples = torch.rand(4, 3, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(samples)[1].sum(), samples)
    assert (gradient.abs().sum((1, 2, 3)) > 0).tolist() == [False, True, False, False]


@pytest.mark.parametrize(("size", "nf"), [(8, 5), (33, 16), (100, 5)])
def test_a_vgg_critic_takes_any_width_and_size(size: int, nf: int) -> None:
    """It judges the whole sample: each corner has a say."""
    samples = torch.rand(1, 3, size, size, requires_grad=True)
    (gradient,) = torch.autograd.grad(VGGCritic(size, nf=nf)(samples).sum(), samples)
    assert (gradient[..., :: size - size % 2 - 1, :: size - size % 2 - 1].abs().sum(1) > 0).all()


@pytest.mark.parametrize(("layers", "window"), [(0, 7), (1, 14), (2, 28)])
def test_a_patch_critic_sees_the_window_that_it_says(layers: int, window: int) -> None:
    network = PatchCritic(nf=4, layers=layers)
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    scores = network(image)
    middle = scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2]
    (gradient,) = torch.autograd.grad(middle, image)
    rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
    assert int(rows[-1] - rows[0]) + 1 == window


def test_no_layer_is_wider_than_eight_times_the_first() -> None:
    for critic in (PatchCritic(nf=2, layers=5), VGGCritic(256, nf=2)):
        widths = [layer.out_channels for layer in critic.body if isinstance(layer, nn.Conv2d)]
        assert (widths[0], max(widths)) == (2, 16)


def test_a_critic_of_spectral_norm_is_bounded_layer_by_layer() -> None:
    torch.manual_seed(0)
    layers = [layer for layer in PatchCritic(nf=8, norm="spectral").body if isinstance(layer, nn.Conv2d)]
    for layer in layers:
        for _ in range(200):  # each pass improves the estimate of the norm
            weight = layer.weight.detach().flatten(1)
        assert float(torch.linalg.matrix_norm(weight, 2)) == pytest.approx(1, rel=0.02)
    plain = PatchCritic(nf=8).body[0].weight.detach().flatten(1)
    assert float(torch.linalg.matrix_norm(plain, 2)) != pytest.approx(1, rel=0.02)


def test_a_sample_too_small_for_a_vgg_critic_is_refused() -> None:
    with pytest.raises(ValueError, match="samples of 8 pixels or more, got 7"):
        VGGCritic(7)
