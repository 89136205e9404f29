"""The generator that a training starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from otsr.networks.generators import Compact, RRDBNet, build, prune
from otsr.training.schema import Pruned
from otsr.weights import WeightsError, load

if TYPE_CHECKING:
    from otsr.training.schema import Config


def starting_generator(config: Config) -> RRDBNet | Compact:
    """The recipe's network on the CPU, in training mode: with the weights of `start`, or fresh ones drawn by the seed.

    Raises:
        ConfigError: the network cannot be built, `start` cannot be loaded, or it is of another architecture. The
            message names the recipe's line.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        try:
            network = build(config.architecture)
        except ValueError as error:
            raise config.error("network", f"cannot be built: {error}") from None
    if config.start is None:
        return network.train()
    start = _loaded(config, config.start)
    found, expected = start.architecture, network.architecture
    if found != expected:
        keys = [key for key in {**expected, **found} if found.get(key) != expected.get(key)]
        words = ", ".join(
            f"{key} {found.get(key, 'none')} (recipe: {expected.get(key, 'none')})" for key in keys
        )
        raise config.error(
            "start", f"{config.start} is of another architecture: {words}; change network and scale, or start"
        )
    return start.train().requires_grad_(True)


def _loaded(config: Config, start: str | Pruned) -> RRDBNet | Compact:
    key, name = ("start.weights", start.weights) if isinstance(start, Pruned) else ("start", start)
    try:
        network = load(name)
    except WeightsError as error:
        raise config.error(key, f"cannot be loaded: {error}") from None
    if not isinstance(start, Pruned):
        return network
    if not isinstance(network, RRDBNet):
        raise config.error(
            key, f"are {name}, a {network.architecture['name']}; expected an RRDBNet, which has blocks"
        )
    try:
        return prune(network, start.blocks)
    except ValueError as error:
        raise config.error("start.blocks", f"do not fit {name}: {error}") from None
