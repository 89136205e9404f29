"""Fixtures of the system tests: small weights in a file, and the command line in this process."""

from __future__ import annotations

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
