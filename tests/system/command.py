"""Helpers of the system tests: `otsr` in a process of its own, pictures and weights, what lies in a folder."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from typer.testing import Result

from otsr import weights
from otsr.networks.generators import Compact

Run = Callable[..., Result]


def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """`otsr` in a process of its own, which Ctrl-C reaches even where a shell has put the tests in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(
        [sys.executable, "-m", "otsr", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,  # type: ignore[call-overload]
    )


def picture(path: Path, width: int = 12, height: int = 10, mode: str = "RGB") -> Path:
    """Write a picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(sum(path.name.encode()))
    pixels = rng.integers(0, 256, (height, width, len(mode)), dtype=np.uint8)
    Image.fromarray(pixels[..., 0] if mode == "L" else pixels).save(path)
    return path


def write_weights(path: Path, seed: int, std: float, **notes: str) -> Path:
    """Of a ×4 network that answers in milliseconds, and not as bicubic would."""
    torch.manual_seed(seed)
    network = Compact(nf=4, nb=1, scale=4)
    torch.nn.init.normal_(network.body[-1].weight, std=std)  # type: ignore[arg-type]
    weights.save(network, path, notes)
    return path


def files(folder: Path) -> list[str]:
    """All files below a folder, hidden ones too, so that nothing half-written is overlooked."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
