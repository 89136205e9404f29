"""The generator that a training starts from: fresh by the seed, or given weights of the same architecture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from otsr import weights
from otsr.networks.generators import Compact, RRDBNet
from otsr.training import Config, ConfigError, load_config
from otsr.training.start import starting_generator

RECIPE = """\
name: tiny
steps: 1
network: {name: Compact, nf: 4, nb: 1}
data: {hr: photos/train, batch: 1}
losses: {pixel: {weight: 1}}
"""


def config(folder: Path, *overrides: str) -> Config:
    (folder / "recipe.yml").write_text(RECIPE)
    return load_config(folder / "recipe.yml", overrides)


def test_a_fresh_generator_depends_on_the_seed_alone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = starting_generator(config(tmp_path)).state_dict()
    torch.manual_seed(2)
    expected = torch.rand(3)
    torch.manual_seed(2)
    again = starting_generator(config(tmp_path)).state_dict()
    assert torch.equal(torch.rand(3), expected)  # the world's randomness is left alone
    other = starting_generator(config(tmp_path, "seed=11")).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["body.0.weight"], other["body.0.weight"])


def test_given_weights_are_started_from_and_can_learn(tmp_path: Path) -> None:
    saved = Compact(nf=4, nb=1)
    weights.save(saved, tmp_path / "a.safetensors", {})
    network = starting_generator(config(tmp_path, f"start={tmp_path / 'a.safetensors'}"))
    assert torch.equal(network.body[0].weight, saved.body[0].weight)
    assert network.training and all(parameter.requires_grad for parameter in network.parameters())


def test_weights_of_another_architecture_are_refused_with_the_differences(tmp_path: Path) -> None:
    weights.save(Compact(nf=8, nb=1, scale=2), tmp_path / "a.safetensors", {})
    with pytest.raises(ConfigError) as caught:
        starting_generator(config(tmp_path, f"start={tmp_path / 'a.safetensors'}"))
    message = str(caught.value)
    assert message.startswith("--set start=") and "nf 8 (recipe: 4), scale 2 (recipe: 4)" in message


PRUNED = "network={name: RRDBNet, nf: 4, nb: 2, gc: 2}"


def test_a_training_can_start_from_some_blocks_of_another_network(tmp_path: Path) -> None:
    saved = RRDBNet(nf=4, nb=3, gc=2)
    weights.save(saved, tmp_path / "a.safetensors", {})
    start = f"start={{weights: {tmp_path / 'a.safetensors'}, blocks: [0, 2]}}"
    network = starting_generator(config(tmp_path, PRUNED, start))
    found, large = network.state_dict(), saved.state_dict()
    assert all(torch.equal(found[name], large[name.replace("trunk.1.", "trunk.2.")]) for name in found)
    assert network.training and all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    ("saved", "problem"),
    [
        (
            RRDBNet(nf=4, nb=2, gc=2),
            r"start\.blocks do not fit .*blocks are \[0, 2\], expected some of 0 to 1",
        ),
        (RRDBNet(nf=8, nb=3, gc=2), r"start .*a\.safetensors, blocks 0 2 is of another architecture: nf 8"),
        (Compact(nf=4, nb=1), r"start\.weights are .*a\.safetensors, a Compact; expected an RRDBNet"),
        (None, r"start\.weights cannot be loaded: .*a\.safetensors"),
    ],
)
def test_blocks_that_cannot_be_taken_are_refused_with_the_line(
    saved: RRDBNet | Compact | None, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    if saved is not None:
        weights.save(saved, path, {})
    start = f"start={{weights: {path}, blocks: [0, 2]}}"
    with pytest.raises(ConfigError, match="^--set start=.*: " + problem):
        starting_generator(config(tmp_path, PRUNED, start))


def test_weights_that_are_not_there_are_named_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "recipe.yml").write_text(RECIPE + "start: none.safetensors\n")
    with pytest.raises(ConfigError, match=r"recipe\.yml:6: start cannot be loaded: .*none\.safetensors"):
        starting_generator(load_config(tmp_path / "recipe.yml"))


def test_a_network_that_cannot_be_built_is_named_with_the_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"recipe\.yml:3: network cannot be built: nf"):
        starting_generator(config(tmp_path, "network.nf=5000"))
