"""Each author's names for the layers, against that author's network written out with those names."""

import itertools
import re
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import picture
from torch import Tensor
from torch.nn import functional

from otsr import weights
from otsr.weights import WeightsError
from otsr.weights.layouts import network_from

NF, NB, GC = 6, 2, 3
State = dict[str, Tensor]


Names = namedtuple("Names", "first dense trunk_last enlarge hr last")  # what an author calls the layers
REALSR = Names(  # of ESRGAN, RealSR and OTSR
    "conv_first", "RRDB_trunk.{}.RDB{}.conv{}", "trunk_conv", ("upconv1", "upconv2"), "HRconv", "conv_last"
)
BASICSR = Names(  # and Real-ESRGAN
    "conv_first", "body.{}.rdb{}.conv{}", "conv_body", ("conv_up1", "conv_up2"), "conv_hr", "conv_last"
)
OLD = Names(  # ESRGAN 2018: one long `model`, numbered with its activations and enlargements
    "model.0", "model.1.sub.{}.RDB{}.conv{}.0", "model.1.sub.2", ("model.3", "model.6"), "model.8", "model.10"
)


def rrdb_state(names: Names = REALSR, channels: int = 3) -> State:
    """Random weights under an author's names."""
    shapes = dict.fromkeys((names.trunk_last, *names.enlarge, names.hr), (NF, NF))
    shapes |= {names.first: (NF, channels), names.last: (3, NF)}
    for i, j in itertools.product(range(NB), (1, 2, 3)):
        shapes |= {names.dense.format(i, j, k): (GC, NF + (k - 1) * GC) for k in (1, 2, 3, 4)}
        shapes |= {names.dense.format(i, j, 5): (NF, NF + 4 * GC)}
    generator = torch.Generator().manual_seed(0)
    state: State = {}
    for key, (out, into) in shapes.items():
        state[f"{key}.weight"] = torch.randn(out, into, 3, 3, generator=generator) / (9 * into) ** 0.5
        state[f"{key}.bias"] = torch.randn(out, generator=generator) / 10
    return state


def conv(state: State, key: str, x: Tensor) -> Tensor:
    return functional.conv2d(x, state[f"{key}.weight"], state[f"{key}.bias"], padding=1)


def rrdb_forward(state: State, names: Names, x: Tensor) -> Tensor:
    """An author's forward pass, with the weights under the author's names."""

    act = partial(functional.leaky_relu, negative_slope=0.2)
    shallow = x = conv(state, names.first, x)
    for i in range(NB):
        outer = x
        for j in (1, 2, 3):
            seen = [x]
            for k in (1, 2, 3, 4):
                seen.append(act(conv(state, names.dense.format(i, j, k), torch.cat(seen, 1))))
            x = conv(state, names.dense.format(i, j, 5), torch.cat(seen, 1)) * 0.2 + x
        x = x * 0.2 + outer
    x = shallow + conv(state, names.trunk_last, x)
    for key in names.enlarge:
        x = act(conv(state, key, functional.interpolate(x, scale_factor=2, mode="nearest")))
    return conv(state, names.last, act(conv(state, names.hr, x)))


def assert_same(state: Any, expected: Tensor, lr: Tensor, tmp_path: Path) -> Any:
    """The file with this state gives this output."""
    torch.save(state, tmp_path / "a.pth")
    network = weights.load(tmp_path / "a.pth")
    with torch.no_grad():
        torch.testing.assert_close(network(lr), expected, atol=1e-5, rtol=1e-5)
    assert not network.training
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    return network


OLD_X2 = OLD._replace(enlarge=("model.3",), hr="model.5", last="model.7")
REALSR_X2 = REALSR._replace(enlarge=("upconv1",))


@pytest.mark.parametrize("names", [OLD, OLD_X2, REALSR, REALSR_X2, BASICSR])
def test_every_layout_gives_its_authors_output(names: Names, tmp_path: Path) -> None:
    state, lr = rrdb_state(names), picture()
    network = assert_same(state, rrdb_forward(state, names, lr), lr, tmp_path)
    sizes = {"nf": NF, "nb": NB, "gc": GC, "scale": 2 ** len(names.enlarge), "unshuffle": 1}
    assert network.architecture == {"name": "RRDBNet", **sizes}


def test_real_esrgans_x2_network_folds_the_picture_first(tmp_path: Path) -> None:
    state, lr = rrdb_state(BASICSR, channels=12), picture(8, 6)
    folded = torch.cat([lr[:, c : c + 1, i::2, j::2] for c in range(3) for i in (0, 1) for j in (0, 1)], 1)
    network = assert_same(state, rrdb_forward(state, BASICSR, folded), lr, tmp_path)
    assert (network.scale, network.architecture["unshuffle"]) == (2, 2)


def compact_state(nf: int = 5, nb: int = 3, scale: int = 4) -> State:
    generator = torch.Generator().manual_seed(0)
    state: State = {}
    for n, (out, into) in enumerate([(nf, 3), *[(nf, nf)] * nb, (3 * scale**2, nf)]):
        state[f"body.{2 * n}.weight"] = torch.randn(out, into, 3, 3, generator=generator) / (9 * into) ** 0.5
        state[f"body.{2 * n}.bias"] = torch.randn(out, generator=generator)
        state[f"body.{2 * n + 1}.weight"] = torch.rand(nf, generator=generator)
    del state[f"body.{2 * nb + 3}.weight"]  # no activation is last
    return state


@pytest.mark.parametrize("scale", [2, 4])
def test_real_esrgans_compact_network_is_held_exactly(scale: int, tmp_path: Path) -> None:
    state, lr = compact_state(scale=scale), picture()
    x = lr
    for n in range(4):
        x = functional.prelu(conv(state, f"body.{2 * n}", x), state[f"body.{2 * n + 1}.weight"])
    expected = functional.pixel_shuffle(conv(state, "body.8", x), scale)
    expected = expected + functional.interpolate(lr, scale_factor=scale, mode="nearest")
    network = assert_same({"params": state}, expected, lr, tmp_path)
    assert network.architecture == {"name": "Compact", "nf": 5, "nb": 3, "scale": scale, "base": "nearest"}


def prefixed(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"params_ema": s, "params": {key: value + 1 for key, value in s.items()}},
        lambda s: {"state_dict": prefixed("generator.", s), "meta": {}},
        lambda s: {"generator": prefixed("module.", s), "epoch": 3},
        lambda s: {**prefixed("generator.", s), "discriminator.conv0_0.weight": torch.zeros(1)},
        lambda s: {"model": {"params": s}},
        lambda s: {key: value.half() for key, value in s.items()},
        lambda s: {key: value.double() for key, value in s.items()},
    ],
    ids=["ema first", "lightning", "parallel", "gan", "nested", "fp16", "fp64"],
)
def test_wrappers_and_prefixes_are_taken_off(wrap: Callable[[State], Any], tmp_path: Path) -> None:
    state = {key: value.half().float() for key, value in rrdb_state().items()}
    assert_same(wrap(state), rrdb_forward(state, REALSR, picture()), picture(), tmp_path)


def test_a_loaded_network_owns_its_memory_and_can_be_trained() -> None:
    state = rrdb_state()
    network = network_from(state)
    state["conv_first.weight"].zero_()
    assert network.first.weight.abs().sum() > 0  # type: ignore[union-attr,operator]
    assert all(parameter.requires_grad for parameter in network.parameters())


def within_itself() -> dict[str, Any]:
    state: dict[str, Any] = {}
    state["params"] = state
    return state


def test_the_error_says_what_another_network_is(tmp_path: Path) -> None:
    for make, words in (
        (lambda: {k: v for k, v in rrdb_state().items() if k != "HRconv.weight"}, "lacks hr.weight"),
        (lambda: {**rrdb_state(), "HRconv.bias": torch.zeros(NF + 1)}, "in another shape hr.bias"),
        (lambda: {**rrdb_state(), "extra.weight": torch.zeros(3)}, "also has extra.weight"),
        (lambda: {**rrdb_state(), "HRconv.bias": torch.full((NF,), torch.nan)}, "hr.bias holds NaN"),
        (lambda: {**rrdb_state(), "HRconv.bias": torch.zeros(NF).long()}, "hr.bias holds torch.int64"),
        (lambda: rrdb_state(BASICSR._replace(enlarge=("conv_up1", "conv_up2", "conv_up3"))), "enlarges ×8"),
        (lambda: rrdb_state(BASICSR, channels=48), "enlarges ×1"),
        (lambda: rrdb_state(channels=1), "an RRDBNet for 1 channels, not for colour"),
        (lambda: compact_state(scale=3), "scale is 3, expected one of 2, 4"),
        (lambda: {"epoch": 1, "iter": 2, "optimizers": []}, "holds no tensors but epoch, iter, optimizers"),
        (lambda: {"features.0.weight": torch.zeros(8, 3, 3, 3)}, "1 tensors (features.0.weight)"),
        (lambda: torch.zeros(3), "holds one Tensor, expected tensors by name"),
        (lambda: [1, 2], "holds one list"),
        (within_itself, "holds no tensors but params"),
        # It claims more memory than it has, and is refused before a network is made.
        (lambda: {**rrdb_state(), "HRconv.bias": torch.zeros(1).expand(1 << 40)}, "more than 2 GiB"),
    ):
        torch.save(make(), tmp_path / "other.pth")
        with pytest.raises(WeightsError, match=rf"other\.pth: .*{re.escape(words)}.*expected"):
            weights.load(tmp_path / "other.pth")
