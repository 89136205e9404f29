"""A checkpoint is there whole or not at all, runs no code, and says what is wrong with it; where a training starts."""

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
PRUNED = "network={name: RRDBNet, nf: 4, nb: 2, gc: 2}"


def state(step: int = 3) -> dict[str, Any]:
    """What a training keeps, in small: tensors, numbers, and an optimiser that has been used."""
    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    numbers = {"recipe": {}, "step": step, "best": {"psnr_y": 20.5}, "critic": None}
    return {**numbers, "generator": network.state_dict(), "optimiser": optimiser.state_dict()}


def config(folder: Path, *overrides: str) -> Config:
    (folder / "recipe.yml").write_text(RECIPE)
    return load_config(folder / "recipe.yml", overrides)


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def leaves(part: Any) -> list[Any]:
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else None
    return [part] if inner is None else [leaf for value in inner for leaf in leaves(value)]


def test_what_is_saved_is_loaded_to_the_last_bit(tmp_path: Path) -> None:
    saved = state()
    checkpoints.save(tmp_path, saved)
    loaded = checkpoints.load(tmp_path)
    assert loaded.pop("kind") == ("otsr training", 2) and loaded.keys() == saved.keys()
    for one, other in zip(leaves(loaded), leaves(saved), strict=True):
        assert torch.equal(one, other) if isinstance(other, torch.Tensor) else one == other
    assert [path.name for path in tmp_path.iterdir()] == [checkpoints.NAME]


@pytest.mark.parametrize(("owner", "name"), [(torch, "save"), (os, "fsync")])
def test_a_disk_that_fills_leaves_the_checkpoint_before_and_nothing_of_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str
) -> None:
    checkpoints.save(tmp_path, state(step=3))
    before = (tmp_path / checkpoints.NAME).read_bytes()
    monkeypatch.setattr(owner, name, full)
    problem = r"last\.state: cannot be written .*No space.*the one before it is intact"
    with pytest.raises(CheckpointError, match=problem):
        checkpoints.save(tmp_path, state(step=6))
    monkeypatch.setattr(os, "fsync", full)
    path, problem = tmp_path / "last.safetensors", r"last\.safetensors: cannot be written .*--resume$"
    with pytest.raises(CheckpointError, match=problem), checkpoints.named(path):
        weights.save(Compact(nf=4, nb=1), path, {})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {checkpoints.NAME: before}


def test_nothing_to_resume_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"last\.state: no checkpoint here .*start without --resume"):
        checkpoints.load(tmp_path)


class Malicious:
    """Unpickling it would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


DAMAGED = r"last\.state: damaged, or not a checkpoint .*; remove it"
OTHER = r"last\.state: holds .*, this otsr reads \('otsr training', 2\)"


@pytest.mark.parametrize("how", ["zip", "pickle"])
def test_a_checkpoint_that_holds_code_is_refused_and_not_run(tmp_path: Path, how: str) -> None:
    content = {**state(), "kind": ("otsr training", 2), "critic": Malicious(tmp_path / "pwned")}
    if how == "zip":
        torch.save(content, tmp_path / checkpoints.NAME)
    else:
        (tmp_path / checkpoints.NAME).write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError, match=DAMAGED):
        checkpoints.load(tmp_path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"name: tiny\n", [1, 2], {"kind": ("otsr training", 9)}])
def test_a_file_of_another_kind_or_version_is_named(tmp_path: Path, content: object) -> None:
    if isinstance(content, bytes):
        (tmp_path / checkpoints.NAME).write_bytes(content)
    else:
        torch.save(content, tmp_path / checkpoints.NAME)
    with pytest.raises(CheckpointError, match=DAMAGED if isinstance(content, bytes) else OTHER):
        checkpoints.load(tmp_path)


def read_or_refused(folder: Path, content: bytes) -> bool:
    """Whether the file is read; else the error names it."""
    (folder / checkpoints.NAME).write_bytes(content)
    try:
        checkpoints.load(folder)
    except CheckpointError as error:
        assert str(folder / checkpoints.NAME) in str(error)
        return False
    return True


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_checkpoint_is_refused_and_changed_bytes_are_read_or_refused_by_name(
    tmp_path: Path, data: st.DataObject
) -> None:
    checkpoints.save(tmp_path, state())
    content = bytearray((tmp_path / checkpoints.NAME).read_bytes())
    assert not read_or_refused(tmp_path, content[: data.draw(st.integers(0, len(content) - 1))])
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    read_or_refused(tmp_path, content)


# --- the start


def test_a_fresh_generator_depends_on_the_seed_alone(tmp_path: Path) -> None:
    made = []
    for world, seed in ((1, 10), (2, 10), (2, 11)):
        torch.manual_seed(world)
        before = torch.get_rng_state()
        network = starting_generator(config(tmp_path, f"seed={seed}"))
        made.append(torch.nn.utils.parameters_to_vector(network.parameters()))
        assert torch.equal(torch.get_rng_state(), before)  # the world's randomness is left alone
    assert torch.equal(made[0], made[1]) and not torch.equal(made[1], made[2])


def test_a_training_can_start_from_weights_or_from_some_of_their_blocks(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for blocks, start in ((2, str(path)), (3, f"{{weights: {path}, blocks: [0, 2]}}")):
        saved = RRDBNet(nf=4, nb=blocks, gc=2)
        weights.save(saved, path, {})
        network = starting_generator(config(tmp_path, PRUNED, f"start={start}"))
        large, last = saved.state_dict(), f"trunk.{blocks - 1}."
        for name, value in network.state_dict().items():
            assert torch.equal(value, large[name.replace("trunk.1.", last)])
        assert network.training and all(parameter.requires_grad for parameter in network.parameters())


def test_weights_can_be_blended_with_those_that_their_training_started_from(tmp_path: Path) -> None:
    for start in ("psnr", str(tmp_path / "a.safetensors")):
        told = checkpoints.story(config(tmp_path, f"start={start}"), 1, "data", {})
        weights.save(starting_generator(config(tmp_path)), tmp_path / "run.safetensors", told)
        assert weights.partner(tmp_path / "run.safetensors") == start


SOME = "{{weights: {path}, blocks: [0, 2]}}"
OF_ANOTHER = "is of another architecture: "


@pytest.mark.parametrize(
    ("saved", "start", "problem"),
    [
        (None, "{path}", r"start cannot be loaded: .*a\.safetensors"),
        (Compact(nf=4), "{path}", rf"start .*a\.safetensors {OF_ANOTHER}name Compact \(recipe: RRDBNet"),
        (RRDBNet(nf=8, nb=2, gc=2), "{path}", rf"start .*a\.safetensors {OF_ANOTHER}nf 8 \(recipe: 4\)"),
        (
            RRDBNet(nf=4, nb=2, gc=2),
            SOME,
            r"start cannot be loaded: blocks are \[0, 2\], expected some of 0 to 1",
        ),
        (RRDBNet(nf=8, nb=3, gc=2), SOME, f"start .*, blocks 0 2 {OF_ANOTHER}nf 8"),
        (Compact(nf=4), SOME, r"start cannot be loaded: .*a\.safetensors is a Compact; expected an RRDBNet"),
    ],
)
def test_a_start_that_cannot_be_taken_is_refused_with_the_line(
    saved: RRDBNet | Compact | None, start: str, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    if saved is not None:
        weights.save(saved, path, {})
    with pytest.raises(ConfigError, match="^--set start=.*: " + problem):
        starting_generator(config(tmp_path, PRUNED, "start=" + start.format(path=path)))


def test_a_network_that_cannot_be_built_is_named_with_the_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"recipe\.yml:3: network cannot be built: nf"):
        starting_generator(config(tmp_path, "network.nf=5000"))
    with pytest.raises(ConfigError, match=r"network cannot be built: unshuffle is 2 at scale 4"):
        starting_generator(config(tmp_path, PRUNED.replace("gc: 2", "gc: 2, unshuffle: 2")))
