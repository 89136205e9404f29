"""What critics see. That they judge each sample alone, and take any width and size: test_defects, 5 and 12."""

import pytest
import torch
from torch import nn

from otsr.networks.critics import PatchCritic, VGGCritic


@pytest.mark.parametrize("size", [8, 33, 100])
def test_a_vgg_critic_judges_the_whole_sample(size: int) -> None:
    """Each corner has a say."""
    samples = torch.rand(1, 3, size, size, requires_grad=True)
    (gradient,) = torch.autograd.grad(VGGCritic(size, nf=5)(samples).sum(), samples)
    assert (gradient[..., :: size - size % 2 - 1, :: size - size % 2 - 1].abs().sum(1) > 0).all()
    with pytest.raises(ValueError, match="samples of 8 pixels or more, got 7"):
        VGGCritic(7)


@pytest.mark.parametrize(("layers", "window"), [(0, 7), (1, 14), (2, 28)])
def test_a_patch_critic_sees_the_window_that_it_says(layers: int, window: int) -> None:
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    scores = PatchCritic(nf=4, layers=layers)(image)
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
