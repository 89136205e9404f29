"""Fixtures of the system tests: small weights, a camera, small disks, and the command line in this process."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from command import Run, write_weights
from typer.testing import CliRunner, Result

from otsr.cli import app
from otsr.degradation import Degradation, NoisePool, kernels


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors", 0, 0.002)


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fidelity.safetensors and transport.safetensors, whose partner is the former."""
    folder = tmp_path_factory.mktemp("pair")
    write_weights(folder / "fidelity.safetensors", 1, 0.2)
    write_weights(folder / "transport.safetensors", 2, 0.2, partner="fidelity.safetensors")
    return folder


@pytest.fixture(scope="session")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A degradation file: two kernels and noise."""
    blur = [kernels.gaussian(16, 3.0, 1.0, angle) for angle in (0.0, 60.0)]
    patches = torch.randint(90, 110, (4, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
    path = tmp_path_factory.mktemp("camera") / "phone.safetensors"
    Degradation(4, blur, NoisePool(patches, ["a.jpg"] * 4, [""] * 4)).save(path)
    return path


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
    """Run `otsr` in this process; the answer has exit_code, stdout and stderr. A `status` is one that it must have."""

    def run(*arguments: object, status: int | None = None) -> Result:
        result = CliRunner().invoke(app, list(map(str, arguments)))
        assert status in (None, result.exit_code), result.output
        return result

    return run


@pytest.fixture
def upscale(otsr: Run, tiny_weights: Path) -> Run:
    """Run `otsr upscale` with small weights."""
    return lambda *arguments, **status: otsr("upscale", *arguments, "--weights", tiny_weights, **status)
