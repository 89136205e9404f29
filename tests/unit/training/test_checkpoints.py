"""A checkpoint is there whole or not at all, runs no code, and says what is wrong with it; where a training starts."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otsr import weights
from otsr.networks.generators import Compact, RRDBNet
from otsr.training import Config, ConfigError, checkpoints, load_config
from otsr.training.checkpoints import CheckpointError, starting_generator

RECIPE = """\
name: tiny
steps: 8
network: {name: Compact, nf: 4, nb: 1}
data: {hr: photos/train, batch: 1}
losses: {pixel: {weight: 1}}
"""


def state(step: int = 3) -> dict[str, Any]:
    """What a training keeps, in small: tensors, numbers, and an optimiser that has been used."""
    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    return {
        "recipe": {},
        "step": step,
        "best": {"psnr_y": 20.5},
        "generator": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "critic": None,
    }


def config(folder: Path, *overrides: str) -> Config:
    (folder / "recipe.yml").write_text(RECIPE)
    return load_config(folder / "recipe.yml", overrides)


def test_what_is_saved_is_loaded_to_the_last_bit(tmp_path: Path) -> None:
    saved = state()
    checkpoints.save(tmp_path, saved)
    loaded = checkpoints.load(tmp_path)
    assert (loaded["step"], loaded["best"], loaded["critic"]) == (3, {"psnr_y": 20.5}, None)
    for name, value in saved["generator"].items():
        assert torch.equal(loaded["generator"][name], value)
    for key, value in saved["optimiser"]["state"][0].items():
        assert torch.equal(loaded["optimiser"]["state"][0][key], value)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoints.NAME]


@pytest.mark.parametrize("moment", ["while it is written", "while it is flushed"])
def test_a_disk_that_fills_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    checkpoints.save(tmp_path, state(step=3))
    before = (tmp_path / checkpoints.NAME).read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    owner, name = (torch, "save") if moment == "while it is written" else (os, "fsync")
    monkeypatch.setattr(owner, name, full)
    with pytest.raises(
        CheckpointError, match=r"last\.state: cannot be written .*No space.*the one before it is intact"
    ):
        checkpoints.save(tmp_path, state(step=6))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {checkpoints.NAME: before}
    assert checkpoints.load(tmp_path)["step"] == 3


def test_weights_that_cannot_be_written_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "last.safetensors"
    with (
        pytest.raises(CheckpointError, match=r"last\.safetensors: cannot be written .*--resume$"),
        checkpoints.named(path),
    ):
        weights.save(Compact(nf=4, nb=1), path, {})
    assert not list(tmp_path.iterdir())


def test_nothing_to_resume_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"last\.state: no checkpoint here .*start without --resume"):
        checkpoints.load(tmp_path)


class Malicious:
    """Unpickling it would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("how", ["zip", "pickle"])
def test_a_checkpoint_that_holds_code_is_refused_and_not_run(tmp_path: Path, how: str) -> None:
    content = {**state(), "kind": ("otsr training", 2), "critic": Malicious(tmp_path / "pwned")}
    if how == "zip":
        torch.save(content, tmp_path / checkpoints.NAME)
    else:
        (tmp_path / checkpoints.NAME).write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError, match=r"last\.state: damaged, or not a checkpoint"):
        checkpoints.load(tmp_path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"PK\x03\x04", bytes(1000), b"\x80\x04.", b"name: tiny\n"])
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / checkpoints.NAME).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.state: damaged, or not a checkpoint .*; remove it"):
        checkpoints.load(tmp_path)


@pytest.mark.parametrize(
    "content", [{}, [1, 2], {"kind": "another"}, torch.zeros(3), None, {"kind": ("otsr training", 9)}]
)
def test_a_torch_file_that_is_not_a_checkpoint_or_of_another_version_is_named(
    tmp_path: Path, content: object
) -> None:
    torch.save(content, tmp_path / checkpoints.NAME)
    with pytest.raises(
        CheckpointError, match=r"last\.state: holds .*, this otsr reads \('otsr training', 2\)"
    ):
        checkpoints.load(tmp_path)


@given(kept=st.floats(0, 1, exclude_max=True))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_checkpoint_is_refused_wherever_it_ends(tmp_path: Path, kept: float) -> None:
    checkpoints.save(tmp_path, state())
    whole = (tmp_path / checkpoints.NAME).read_bytes()
    (tmp_path / checkpoints.NAME).write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoints.load(tmp_path)


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changed_bytes_are_read_or_refused_by_name(tmp_path: Path, data: st.DataObject) -> None:
    checkpoints.save(tmp_path, state())
    content = bytearray((tmp_path / checkpoints.NAME).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / checkpoints.NAME).write_bytes(content)
    try:
        checkpoints.load(tmp_path)
    except CheckpointError as error:
        assert str(tmp_path / checkpoints.NAME) in str(error)


def test_a_recipe_that_differs_is_told_key_by_key(tmp_path: Path) -> None:
    old = config(tmp_path).decisive()
    found = checkpoints.differences(old, config(tmp_path, "network.nf=8", "seed=3"))
    assert found == ["seed: 10, now 3", "network.nf: 4, now 8"]


# --- the start


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


def test_weights_can_be_blended_with_those_that_their_training_started_from(tmp_path: Path) -> None:
    for start, expected in (
        ("psnr", "psnr"),
        (f"{tmp_path / 'a.safetensors'}", str(tmp_path / "a.safetensors")),
    ):
        told = checkpoints.story(config(tmp_path, f"start={start}"), 1, "data", {})
        weights.save(starting_generator(config(tmp_path)), tmp_path / "run.safetensors", told)
        assert weights.partner(tmp_path / "run.safetensors") == expected


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
        (RRDBNet(nf=4, nb=2, gc=2), r"start cannot be loaded: blocks are \[0, 2\], expected some of 0 to 1"),
        (RRDBNet(nf=8, nb=3, gc=2), r"start .*a\.safetensors, blocks 0 2 is of another architecture: nf 8"),
        (Compact(nf=4, nb=1), r"start cannot be loaded: .*a\.safetensors is a Compact; expected an RRDBNet"),
        (None, r"start cannot be loaded: .*a\.safetensors"),
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
    with pytest.raises(ConfigError, match=r"network cannot be built: unshuffle is 2 at scale 4"):
        starting_generator(config(tmp_path, PRUNED.replace("gc: 2", "gc: 2, unshuffle: 2")))
