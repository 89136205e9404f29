"""Each author's names for the layers, against that author's network written out with those names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from otsr import weights
from otsr.weights import WeightsError
from otsr.weights.layouts import network_from

NF, NB, GC = 6, 2, 3
State = dict[str, Tensor]
Names = Callable[..., str]


ROLES = ("first", "dense", "trunk_last", "up", "hr", "last")
REALSR = ("conv_first", "RRDB_trunk.{}.RDB{}.conv{}", "trunk_conv", "upconv{}", "HRconv", "conv_last")
BASICSR = ("conv_first", "body.{}.rdb{}.conv{}", "conv_body", "conv_up{}", "conv_hr", "conv_last")


def named(layers: tuple[str, ...]) -> Names:
    """ESRGAN, RealSR and OTSR's authors (REALSR); BasicSR and Real-ESRGAN."""
    return lambda role, *at: dict(zip(ROLES, layers, strict=True))[role].format(*at)


def old(stages: int) -> Names:
    """ESRGAN 2018: one long `model`, numbered with its activations and enlargements."""
    dense, last = "model.1.sub.{}.RDB{}.conv{}.0", f"model.1.sub.{NB}"
    tail = (f"model.{3 * stages + 2}", f"model.{3 * stages + 4}")
    return lambda role, *at: (
        f"model.{3 * at[0]}" if role == "up" else named(("model.0", dense, last, "", *tail))(role, *at)
    )


realsr, basicsr = named(REALSR), named(BASICSR)


def rrdb_state(name: Names, stages: int = 2, channels: int = 3) -> State:
    """Random weights under an author's names."""
    generator = torch.Generator().manual_seed(0)
    state: State = {}

    def add(key: str, out: int, into: int) -> None:
        state[f"{key}.weight"] = torch.randn(out, into, 3, 3, generator=generator) / (9 * into) ** 0.5
        state[f"{key}.bias"] = torch.randn(out, generator=generator) / 10

    add(name("first"), NF, channels)
    for i in range(NB):
        for j in (1, 2, 3):
            for k in (1, 2, 3, 4, 5):
                add(name("dense", i, j, k), NF if k == 5 else GC, NF + (k - 1) * GC)
    add(name("trunk_last"), NF, NF)
    for stage in range(1, stages + 1):
        add(name("up", stage), NF, NF)
    add(name("hr"), NF, NF)
    add(name("last"), 3, NF)
    return state


def rrdb_forward(state: State, name: Names, stages: int, x: Tensor) -> Tensor:
    """An author's forward pass, with the weights under the author's names."""

    def conv(x: Tensor, *role: Any) -> Tensor:
        key = name(*role)
        return functional.conv2d(x, state[f"{key}.weight"], state[f"{key}.bias"], padding=1)

    def act(x: Tensor) -> Tensor:
        return functional.leaky_relu(x, 0.2)

    shallow = x = conv(x, "first")
    for i in range(NB):
        outer = x
        for j in (1, 2, 3):
            seen = [x]
            for k in (1, 2, 3, 4):
                seen.append(act(conv(torch.cat(seen, 1), "dense", i, j, k)))
            x = conv(torch.cat(seen, 1), "dense", i, j, 5) * 0.2 + x
        x = x * 0.2 + outer
    x = shallow + conv(x, "trunk_last")
    for stage in range(1, stages + 1):
        x = act(conv(functional.interpolate(x, scale_factor=2, mode="nearest"), "up", stage))
    return conv(act(conv(x, "hr")), "last")


def picture(height: int = 8, width: int = 6) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def assert_same(state: Any, expected: Tensor, lr: Tensor, tmp_path: Path) -> Any:
    """The file with this state gives this output; so does the same as safetensors where it is flat."""
    torch.save(state, tmp_path / "a.pth")
    network = weights.load(tmp_path / "a.pth")
    with torch.no_grad():
        torch.testing.assert_close(network(lr), expected, atol=1e-5, rtol=1e-5)
    assert not network.training
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    return network


@pytest.mark.parametrize(
    ("name", "stages"),
    [(old(2), 2), (old(1), 1), (realsr, 2), (realsr, 1), (basicsr, 2)],
    ids=["old x4", "old x2", "RealSR x4", "RealSR x2", "BasicSR x4"],
)
def test_every_layout_gives_its_authors_output(name: Names, stages: int, tmp_path: Path) -> None:
    state = rrdb_state(name, stages)
    expected = rrdb_forward(state, name, stages, picture())
    network = assert_same(state, expected, picture(), tmp_path)
    assert network.architecture == {
        "name": "RRDBNet", "nf": NF, "nb": NB, "gc": GC, "scale": 2**stages, "unshuffle": 1,
    }  # fmt: skip


def test_real_esrgans_x2_network_folds_the_picture_first(tmp_path: Path) -> None:
    state = rrdb_state(basicsr, 2, channels=12)
    lr = picture()
    folded = torch.cat([lr[:, c : c + 1, i::2, j::2] for c in range(3) for i in (0, 1) for j in (0, 1)], 1)
    network = assert_same(state, rrdb_forward(state, basicsr, 2, folded), lr, tmp_path)
    assert (network.scale, network.architecture["unshuffle"]) == (2, 2)


def compact_state(nf: int = 5, nb: int = 3, scale: int = 4) -> State:
    generator = torch.Generator().manual_seed(0)
    state: State = {}
    for n, into in enumerate([3, *[nf] * nb]):
        state[f"body.{2 * n}.weight"] = torch.randn(nf, into, 3, 3, generator=generator) / (9 * into) ** 0.5
        state[f"body.{2 * n}.bias"] = torch.randn(nf, generator=generator)
        state[f"body.{2 * n + 1}.weight"] = torch.rand(nf, generator=generator)
    state[f"body.{2 * nb + 2}.weight"] = torch.randn(3 * scale**2, nf, 3, 3, generator=generator) / 7
    state[f"body.{2 * nb + 2}.bias"] = torch.randn(3 * scale**2, generator=generator)
    return state


@pytest.mark.parametrize("scale", [2, 4])
def test_real_esrgans_compact_network_is_held_exactly(scale: int, tmp_path: Path) -> None:
    state, lr = compact_state(scale=scale), picture()
    x = lr
    for n in range(4):
        x = functional.conv2d(x, state[f"body.{2 * n}.weight"], state[f"body.{2 * n}.bias"], padding=1)
        x = functional.prelu(x, state[f"body.{2 * n + 1}.weight"])
    x = functional.conv2d(x, state["body.8.weight"], state["body.8.bias"], padding=1)
    expected = functional.pixel_shuffle(x, scale)
    expected = expected + functional.interpolate(lr, scale_factor=scale, mode="nearest")
    network = assert_same({"params": state}, expected, lr, tmp_path)
    assert network.architecture == {"name": "Compact", "nf": 5, "nb": 3, "scale": scale, "base": "nearest"}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"params_ema": s, "params": {key: value + 1 for key, value in s.items()}},
        lambda s: {"state_dict": {f"generator.{key}": value for key, value in s.items()}, "meta": {}},
        lambda s: {f"module.{key}": value for key, value in s.items()},
        lambda s: {"generator": {f"module.{key}": value for key, value in s.items()}, "epoch": 3},
        lambda s: {
            **{f"generator.{key}": value for key, value in s.items()},
            "discriminator.conv0_0.weight": torch.zeros(1),
        },
        lambda s: {"model": {"params": s}},
        lambda s: {key: value.half() for key, value in s.items()},
        lambda s: {key: value.double() for key, value in s.items()},
    ],
    ids=["ema first", "lightning", "parallel", "both", "gan", "nested", "fp16", "fp64"],
)
def test_wrappers_and_prefixes_are_taken_off(wrap: Callable[[State], Any], tmp_path: Path) -> None:
    state = {key: value.half().float() for key, value in rrdb_state(realsr).items()}
    assert_same(wrap(state), rrdb_forward(state, realsr, 2, picture()), picture(), tmp_path)


def test_our_own_names_without_metadata_are_read() -> None:
    network = network_from(rrdb_state(realsr))
    again = network_from(network.state_dict())
    assert again.architecture == network.architecture
    assert torch.equal(again(picture()), network(picture()))


def test_a_loaded_network_can_be_trained_and_owns_its_memory() -> None:
    state = rrdb_state(realsr)
    network = network_from(state)
    network(picture()).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    state["conv_first.weight"].zero_()
    assert network.first.weight.abs().sum() > 0  # type: ignore[union-attr,operator]


def change(**changes: Tensor | None) -> Callable[[], State]:
    """RealSR's names with some tensors replaced, or left out (None)."""

    def make() -> State:
        state = rrdb_state(realsr)
        for key, value in changes.items():
            state.pop(key.replace("__", "."), None)
            if value is not None:
                state[key.replace("__", ".")] = value
        return state

    return make


def within_itself() -> dict[str, Any]:
    state: dict[str, Any] = {}
    state["params"] = state
    return state


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (change(HRconv__weight=None), "lacks hr.weight"),
        (change(HRconv__bias=torch.zeros(NF + 1)), "in another shape hr.bias"),
        (change(extra__weight=torch.zeros(3)), "also has extra.weight"),
        (change(HRconv__bias=torch.full((NF,), torch.nan)), "hr.bias holds NaN"),
        (change(HRconv__bias=torch.zeros(NF, dtype=torch.int64)), "hr.bias holds torch.int64"),
        (lambda: rrdb_state(basicsr, 3), "an RRDBNet that enlarges ×8; expected"),
        (lambda: rrdb_state(basicsr, 2, channels=48), "enlarges ×1; expected"),
        (lambda: rrdb_state(realsr, 2, channels=1), "an RRDBNet for 1 channels, not for colour"),
        (lambda: compact_state(scale=3), "scale is 3, expected one of 2, 4"),
        (lambda: {"epoch": 1, "iter": 2, "optimizers": []}, "holds no tensors but epoch, iter, optimizers"),
        (
            lambda: {"features.0.weight": torch.zeros(64, 3, 3, 3), "classifier.0.weight": torch.zeros(4)},
            "2 tensors (features.0.weight, classifier.0.weight); expected",
        ),
        (lambda: torch.zeros(3), "holds one Tensor, expected tensors by name"),
        (lambda: [1, 2], "holds one list"),
        (dict, "holds no tensors"),
        (within_itself, "holds no tensors but params"),
    ],
)
def test_another_network_is_refused_with_what_it_is(
    make: Callable[[], Any], words: str, tmp_path: Path
) -> None:
    torch.save(make(), tmp_path / "other.pth")
    with pytest.raises(WeightsError) as caught:
        weights.load(tmp_path / "other.pth")
    message = str(caught.value)
    assert words in message
    assert "other.pth" in message and "expected" in message


def test_a_tensor_that_claims_more_memory_than_it_has_is_refused_before_it_is_made() -> None:
    state = rrdb_state(realsr)
    state["HRconv.bias"] = torch.zeros(1).expand(1 << 40)
    with pytest.raises(WeightsError, match="more than 2 GiB"):
        network_from(state)
