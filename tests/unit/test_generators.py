"""Generators: sizes, shapes, context, precision, and that they are described by what they say of themselves.

What they compute is compared with their authors' formulas in test_layouts.
"""

import re
from typing import Any

import pytest
import torch
from small_networks import every_network, lively, networks, picture
from torch import nn

from otsr.images import resize
from otsr.networks.generators import Compact, RRDBNet, build, prune


def test_the_papers_network_has_16_697_987_parameters() -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in RRDBNet().parameters()) == 16_697_987


@every_network
def test_any_size_is_enlarged_exactly_scale_times(network: Any) -> None:
    s = network.scale
    for height, width in ((1, 1), (1, 7), (5, 4), (9, 11)):
        assert network(picture(height, width)).shape == (1, 3, height * s, width * s)
    with torch.device("meta"):  # without memory
        large = build(network.architecture)(torch.empty(1, 3, 3000, 2001))
    assert large.shape == (1, 3, 3000 * s, 2001 * s)


@every_network
def test_the_receptive_radius_is_what_gradients_reach(network: Any) -> None:
    radius, s = network.receptive_radius, network.scale
    middle = radius + 4 - radius % 2
    lr = picture(2 * middle + 2, 2 * middle + 2).requires_grad_()
    sr = network(lr)
    reached = 0
    for y in range(2 * s):  # every phase of two neighbouring LR pixels
        pixel = sr[0, :, middle * s + y, middle * s + y].sum()
        (gradient,) = torch.autograd.grad(pixel, lr, retain_graph=True)
        touched = gradient.abs().sum((0, 1)).nonzero().flatten()
        reached = max(reached, int((touched - (middle + y // s)).abs().max()))
    assert reached == radius


@pytest.mark.parametrize("network", networks()[:3], ids=lambda n: f"x{n.scale}-{n.alignment}")
def test_what_follows_the_features_sees_two_lr_pixels_and_no_more(network: Any) -> None:
    s, features = network.scale, network.features(picture(11, 11)).detach().requires_grad_()
    sr = network.reconstruct(features)
    assert features.shape == (1, 8, 11, 11) and torch.equal(sr, network(picture(11, 11)))
    middle = sr[..., 5 * s : 6 * s, 5 * s : 6 * s].sum()
    (gradient,) = torch.autograd.grad(middle, features)
    assert int((gradient.abs().sum((0, 1)).nonzero() - 5).abs().max()) <= 2


def test_dense_blocks_start_small_as_in_esrgan() -> None:
    torch.manual_seed(0)
    for i, convolution in enumerate(RRDBNet(32, 1, 16).trunk[0].blocks[0].convolutions):
        fan_in = (32 + 16 * i) * 9
        assert convolution.weight.std().item() == pytest.approx(0.1 * (2 / fan_in) ** 0.5, rel=0.06)
        assert convolution.bias.abs().max() == 0


def test_a_fresh_compact_network_is_bicubic_and_all_its_layers_learn_from_the_second_step_on() -> None:
    torch.manual_seed(0)
    network, expected = Compact(), resize(picture(), 4)
    for narrow in (False, True):  # in 16 bits too, which must not round the base
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            assert torch.equal(network(picture()), expected)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(2):
        adam.zero_grad()
        (network(picture()) - 1).abs().mean().backward()
        adam.step()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_the_first_layer_of_a_deep_compact_network_feels_the_loss() -> None:
    torch.manual_seed(0)
    network = Compact(nf=32, nb=16)
    nn.init.normal_(network.body[-1].weight, std=1e-3)  # type: ignore[arg-type]
    network(torch.rand(1, 3, 16, 16)).sum().backward()
    first, last = (network.body[i].weight.grad.norm() for i in (0, -3))
    assert first > 0.1 * last


def test_what_cannot_be_built_is_refused_by_name() -> None:
    for architecture, words in (
        ({}, "name is None, expected one of RRDBNet, Compact"),
        ({"name": ["RRDBNet"]}, "name is ['RRDBNet']"),
        ({"name": "RRDBNet", "scale": 3}, "scale is 3, expected one of 2, 4"),
        ({"name": "RRDBNet", "nf": 0}, "nf is 0, expected a whole number from 1"),
        ({"name": "RRDBNet", "nb": 10**9}, "nb is 1000000000"),
        ({"name": "Compact", "nf": True}, "nf is True"),
        ({"name": "RRDBNet", "unshuffle": 2}, "unshuffle is 2 at scale 4"),
        ({"name": "RRDBNet", "depth": 3}, "depth"),
        ({"name": "Compact", "base": "lanczos"}, "base is 'lanczos'"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            build(architecture)


def test_a_pruned_network_is_the_one_built_by_hand_without_the_other_blocks() -> None:
    whole: Any = lively(RRDBNet(nf=8, nb=4, gc=4))
    before, pruned = whole(picture()), prune(whole, [0, 2])
    x = whole.first(picture())
    expected = whole.reconstruct(x + whole.trunk_last(whole.trunk[2](whole.trunk[0](x))))
    assert torch.equal(pruned(picture()), expected)
    assert build(pruned.architecture).load_state_dict(pruned.state_dict())
    pruned.first.weight.data.zero_()
    assert torch.equal(whole(picture()), before)  # nothing is shared
    for blocks in ([], [4], [-1], [1, 0]):
        with pytest.raises(ValueError, match=r"expected some of 0 to 3 in ascending"):
            prune(whole, blocks)
