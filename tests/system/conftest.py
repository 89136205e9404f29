"""Fixtures of the system tests: small weights, small disks, and the command line in this process."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from command import Run
from typer.testing import CliRunner, Result


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ×4 network that answers in milliseconds."""
    from otsr import weights
    from otsr.networks.generators import Compact

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    network = Compact(nf=4, nb=1, scale=4)
    torch.nn.init.normal_(network.body[-1].weight, std=0.002)  # type: ignore[arg-type]  # not bicubic itself
    weights.save(network, path, {})
    return path


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fidelity.safetensors and transport.safetensors, whose partner is the former."""
    from otsr import weights
    from otsr.networks.generators import Compact

    folder = tmp_path_factory.mktemp("pair")
    for seed, name, notes in ((1, "fidelity", {}), (2, "transport", {"partner": "fidelity.safetensors"})):
        torch.manual_seed(seed)
        network = Compact(nf=4, nb=1, scale=4)
        torch.nn.init.normal_(network.body[-1].weight, std=0.2)  # type: ignore[arg-type]
        weights.save(network, folder / f"{name}.safetensors", notes)
    return folder


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A disk of as many kilobytes as the test module says in DISK."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.module.DISK}k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def otsr() -> Run:
    """Run `otsr` in this process; the answer has exit_code, stdout and stderr."""
    from otsr.cli import app

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def upscale(otsr: Run, tiny_weights: Path) -> Run:
    """Run `otsr upscale` with small weights."""

    def run(*arguments: object) -> Result:
        return otsr("upscale", *arguments, "--weights", tiny_weights)

    return run
