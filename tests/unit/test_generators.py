"""Generators: sizes, shapes, context, precision, and that they are described by what they say of themselves."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from otsr.images import resize
from otsr.networks.generators import Compact, RRDBNet, build, prune

NETWORKS: list[dict[str, Any]] = [
    {"name": "RRDBNet", "nf": 8, "nb": 2, "gc": 4, "scale": 4, "unshuffle": 1},
    {"name": "RRDBNet", "nf": 8, "nb": 1, "gc": 6, "scale": 2, "unshuffle": 1},
    {"name": "RRDBNet", "nf": 8, "nb": 1, "gc": 4, "scale": 2, "unshuffle": 2},
    {"name": "Compact", "nf": 8, "nb": 3, "scale": 4, "base": "bicubic"},
    {"name": "Compact", "nf": 8, "nb": 2, "scale": 2, "base": "nearest"},
]
every_network = pytest.mark.parametrize("architecture", NETWORKS, ids=lambda a: f"{a['name']}x{a['scale']}")


def make(architecture: dict[str, Any], seed: int = 0) -> Any:
    """A network whose layers all matter: the small initialisation would hide mistakes in the dense blocks."""
    network = build(architecture).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 4:
                fan_in = parameter[0].numel()
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan_in**0.5)
    return network


def picture(height: int = 12, width: int = 10, seed: int = 1) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_the_papers_network_has_16_697_987_parameters() -> None:
    with torch.device("meta"):
        network = RRDBNet(64, 23, 32, 4)
    assert sum(parameter.numel() for parameter in network.parameters()) == 16_697_987


def test_a_compact_networks_base_is_bicubic_or_nearest() -> None:
    """All else of both networks is compared with their authors' formulas, layout by layer, in test_layouts."""
    network = make(NETWORKS[3])
    nearest = build({**NETWORKS[3], "base": "nearest"})
    nearest.load_state_dict(network.state_dict())
    detail = nearest(picture()) - picture().repeat_interleave(4, 2).repeat_interleave(4, 3)
    torch.testing.assert_close(network(picture()) - resize(picture(), 4), detail, atol=1e-5, rtol=1e-5)


@every_network
def test_any_size_is_enlarged_exactly_scale_times(architecture: dict[str, Any]) -> None:
    network = build(architecture)
    with torch.no_grad():
        for height, width in ((1, 1), (1, 7), (5, 4), (9, 11)):
            assert network(picture(height, width)).shape[2:] == (
                height * network.scale,
                width * network.scale,
            )
    with torch.device("meta"):  # without memory
        shape = build(architecture)(torch.empty(1, 3, 3000, 2001)).shape
    assert shape == (1, 3, 3000 * network.scale, 2001 * network.scale)


@every_network
def test_architecture_builds_the_same_network_again(architecture: dict[str, Any]) -> None:
    network = make(architecture)
    again = build(network.architecture)
    assert again.architecture == architecture
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.eval()(picture()), network(picture()))


@every_network
def test_the_receptive_radius_is_what_gradients_reach(architecture: dict[str, Any]) -> None:
    network = make(architecture)
    radius, s = network.receptive_radius, network.scale
    middle = radius + 4 - radius % 2
    lr = picture(2 * middle + 2, 2 * middle + 2).requires_grad_()
    sr = network(lr)
    reached = 0
    for y in range(2 * s):  # every phase of two neighbouring LR pixels
        (gradient,) = torch.autograd.grad(
            sr[0, :, middle * s + y, middle * s + y].sum(), lr, retain_graph=True
        )
        touched = gradient.abs().sum((0, 1)).nonzero().flatten()
        reached = max(reached, int((touched - (middle + y // s)).abs().max()))
    assert reached == radius


@pytest.mark.parametrize("architecture", NETWORKS[:3], ids=str)
def test_features_and_reconstruct_are_the_two_halves_of_forward(architecture: dict[str, Any]) -> None:
    network = make(architecture)
    for height, width in ((7, 5), (6, 8)):
        lr = picture(height, width)
        features = network.features(lr)
        assert features.shape == (1, 8, height, width)
        assert torch.equal(network.reconstruct(features), network(lr))


def test_reconstruct_sees_two_lr_pixels_and_no_more() -> None:
    for architecture in NETWORKS[:3]:
        network, s = make(architecture), architecture["scale"]
        features = torch.randn(1, 8, 11, 11, requires_grad=True)
        middle = network.reconstruct(features)[..., 5 * s : 6 * s, 5 * s : 6 * s].sum()
        (gradient,) = torch.autograd.grad(middle, features)
        assert int((gradient.abs().sum((0, 1)).nonzero() - 5).abs().max()) <= 2


@every_network
def test_channels_last_and_bf16_give_the_same_picture(architecture: dict[str, Any]) -> None:
    network, lr = make(architecture), picture()
    with torch.no_grad():
        expected = network(lr)
        with torch.autocast("cpu", torch.bfloat16):
            narrow = network(lr).float()
        fast = network.to(memory_format=torch.channels_last)(lr.to(memory_format=torch.channels_last))
    torch.testing.assert_close(fast, expected, atol=1e-5, rtol=1e-5)
    assert 0 < (narrow - expected).abs().max() < 0.05 * expected.abs().max()


def test_autocast_does_not_round_the_bicubic_base() -> None:
    network = Compact(8, 1)  # fresh: nothing but the base
    expected = resize(picture(), 4)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(picture()), expected)


@every_network
def test_every_parameter_gets_a_gradient(architecture: dict[str, Any]) -> None:
    network = make(architecture).train()
    network(picture()).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_dense_blocks_start_small_as_in_esrgan() -> None:
    torch.manual_seed(0)
    network = RRDBNet(32, 1, 16)
    for i, convolution in enumerate(network.trunk[0].blocks[0].convolutions):
        fan_in = (32 + 16 * i) * 9
        assert convolution.weight.std().item() == pytest.approx(0.1 * (2 / fan_in) ** 0.5, rel=0.06)
        assert convolution.bias.abs().max() == 0


def test_a_fresh_compact_network_is_bicubic_and_all_its_layers_learn_from_the_second_step_on() -> None:
    torch.manual_seed(0)
    network = Compact()
    assert torch.equal(network(picture()), resize(picture(), 4))
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(2):
        adam.zero_grad()
        (network(picture()) - 1).abs().mean().backward()
        adam.step()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ({"name": "UNet"}, "'UNet', expected one of RRDBNet, Compact"),
        ({}, "name is None"),
        ({"name": ["RRDBNet"]}, "name is ['RRDBNet']"),
        ({"name": "RRDBNet", "scale": 3}, "scale is 3, expected one of 2, 4"),
        ({"name": "RRDBNet", "nf": 0}, "nf is 0, expected a whole number from 1"),
        ({"name": "RRDBNet", "nb": 10**9}, "nb is 1000000000"),
        ({"name": "RRDBNet", "gc": "32"}, "gc is '32'"),
        ({"name": "RRDBNet", "nf": True}, "nf is True"),
        ({"name": "RRDBNet", "unshuffle": 2}, "unshuffle is 2 at scale 4"),
        ({"name": "RRDBNet", "depth": 3}, "depth"),
        ({"name": "Compact", "base": "lanczos"}, "base is 'lanczos'"),
        ({"name": "Compact", "scale": 8}, "scale is 8"),
    ],
)
def test_an_architecture_that_cannot_be_built_is_refused_by_name(
    architecture: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        build(architecture)


def test_a_pruned_network_is_the_one_built_by_hand_without_the_other_blocks() -> None:
    whole = make({**NETWORKS[0], "nb": 4})
    before, pruned = whole(picture()), prune(whole, [0, 2])
    x = whole.first(picture())
    expected = whole.reconstruct(x + whole.trunk_last(whole.trunk[2](whole.trunk[0](x))))
    assert torch.equal(pruned(picture()), expected)
    assert build(pruned.architecture).load_state_dict(pruned.state_dict())
    assert torch.equal(prune(whole, range(4))(picture()), before)
    with torch.no_grad():
        pruned.first.weight.zero_()
    assert torch.equal(whole(picture()), before)  # nothing is shared


@pytest.mark.parametrize("blocks", [[], [2], [-1], [1, 0], [0, 0]])
def test_blocks_that_cannot_be_kept_are_refused(blocks: list[int]) -> None:
    with pytest.raises(
        ValueError, match=re.escape(f"blocks are {blocks}, expected some of 0 to 1 in ascending")
    ):
        prune(build(NETWORKS[0]), blocks)  # type: ignore[arg-type]


def test_the_first_layer_of_a_deep_compact_network_feels_the_loss() -> None:
    torch.manual_seed(0)
    network = Compact(nf=32, nb=16)
    nn.init.normal_(network.body[-1].weight, std=1e-3)  # type: ignore[arg-type]
    network(torch.rand(1, 3, 16, 16)).sum().backward()
    first, last = (network.body[i].weight.grad.norm() for i in (0, -3))
    assert first > 0.1 * last
