"""A training on disk: the weights it starts from, and all that the next step depends on, in one file.

Batches are functions of the step and learning rates too, so what remains is small: weights, their running
average, the critic's weights, both optimisers, the step. Loaded again, the training goes on bit for bit. The recipe
is there too, so that another one is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from otsr import weights
from otsr.images import atomic_path
from otsr.networks.generators import Compact, RRDBNet, build, prune
from otsr.training.schema import Config, flat

NAME = "last.state"
_KIND = "otsr training", 2  # what the file is, and the version of its content


class CheckpointError(RuntimeError):
    """A file of a training that cannot be written, read, or used."""


@contextmanager
def named(path: Path) -> Iterator[None]:
    """A block that writes a file. Raises CheckpointError: the disk is full or cannot be written; names the file."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # torch calls a full disk a RuntimeError
        kept = "; the one before it is intact" if path.is_file() else ""
        words = f"cannot be written ({_reason(error)}); make room and go on with --resume{kept}"
        raise CheckpointError(f"{path}: {words}") from None


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep `folder` for one training. Raises CheckpointError: another one is at work there."""
    held = FileLock(folder / ".lock", timeout=0)
    try:
        held.acquire()
    except Timeout:
        words = "another training is at work here; wait for it, or choose another folder with -o"
        raise CheckpointError(f"{folder}: {words}") from None
    except (OSError, NotImplementedError):
        pass  # a network drive without locks; a disk without room is named by what is written next
    try:
        yield
    finally:
        held.release()


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write `folder`/last.state. Until the last byte is on disk the checkpoint before it stays."""
    path = folder / NAME
    with named(path), atomic_path(path) as temporary:
        torch.save({"kind": _KIND, **state}, temporary)


def load(folder: Path, config: Config | None = None) -> dict[str, Any]:
    """What `save` wrote, on the CPU; reading it runs no code.

    Raises CheckpointError: there is none, it is damaged or something else, or made by another recipe than `config`.
    """
    path = folder / NAME
    if not path.is_file():
        raise CheckpointError(f"{path}: no checkpoint here to resume from; start without --resume")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes may mean anything to the unpickler
        raise CheckpointError(
            f"{path}: damaged, or not a checkpoint ({_reason(error)}); remove it and start again from the weights "
            "beside it (start: …/last.safetensors)"
        ) from None
    found = state.get("kind") if isinstance(state, dict) else None
    if found != _KIND:
        words = "use the one that wrote it, or start from the weights beside it (start: …/last.safetensors)"
        raise CheckpointError(f"{path}: holds {found}, this otsr reads {_KIND}; {words}")
    if config is not None and (changes := differences(state["recipe"], config)):
        raise CheckpointError(
            f"{folder}: the checkpoint is of another recipe: {'; '.join(changes)}. "
            "Resume with the recipe in its config.yml, or start in another folder"
        )
    return state


def _reason(error: Exception) -> str:
    """The first line of what went wrong; its kind, if it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def story(config: Config, step: int, data: str, scores: dict[str, float]) -> dict[str, str]:
    """How weights were trained, for their metadata."""
    told = {
        "recipe": config.name, "fingerprint": config.fingerprint(), "seed": str(config.seed), "steps": str(step),
        "data": data, "scores": " ".join(f"{key}={value:.5g}" for key, value in scores.items()),
    }  # fmt: skip
    if config.start is not None:
        told["start"] = str(config.start)
    if isinstance(config.start, str):  # of the same architecture: --ot-weight leads from there to here
        told["partner"] = config.start if weights.find(config.start) else str(Path(config.start).resolve())
    return told


def differences(old: dict[str, Any], config: Config) -> list[str]:
    """Which decisive values a recipe changes, so that it cannot resume a training: "data.crop: 96, now 128" each."""
    before, now = flat(old), flat(config.decisive())
    pairs = {key: (before.get(key, "not set"), now.get(key, "not set")) for key in {**before, **now}}
    return [f"{key}: {value}, now {other}" for key, (value, other) in pairs.items() if value != other]


def starting_generator(config: Config) -> RRDBNet | Compact:
    """The recipe's network on the CPU, in training mode: with the weights of `start`, or fresh ones drawn by the seed.

    Raises ConfigError, with the recipe's line: the network cannot be built, `start` cannot be loaded, or does not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        try:
            network = build(config.architecture)
        except ValueError as error:
            raise config.error("network", f"cannot be built: {error}") from None
    if config.start is None:
        return network.train()
    expected = network.architecture
    try:
        if isinstance(config.start, str):
            network = weights.load(config.start)
        elif isinstance(larger := weights.load(config.start.weights), Compact):
            raise ValueError(f"{config.start.weights} is a Compact; expected an RRDBNet, which has blocks")
        else:
            network = prune(larger, config.start.blocks)
    except ValueError as error:
        raise config.error("start", f"cannot be loaded: {error}") from None
    found = network.architecture
    if changed := [key for key in expected if found.get(key) != expected[key]]:
        what = ", ".join(f"{key} {found.get(key)} (recipe: {expected[key]})" for key in changed)
        advice = "change network and scale, or start"
        raise config.error("start", f"{config.start} is of another architecture: {what}; {advice}")
    return network.train()
