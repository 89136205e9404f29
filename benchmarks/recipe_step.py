"""How long does a step of a recipe take without its data, and does the GPU wait in it?

    python benchmarks/recipe_step.py general-psnr general --out benchmarks/results/recipe_step.md     # half a minute
    python benchmarks/recipe_step.py tiny --steps 5                                  # on a CPU: milliseconds alone

One batch of course photos again and again, from fresh weights, in the precision that the recipe takes here.
Milliseconds are the mean over steps that nobody waits for. PyTorch's profiler then watches three steps: how many
kernels or graphs Python launches in each, and how long the device is at work; the rest of the time it waits for Python.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from writing import save

from otsr.evaluation import aligned
from otsr.training import load_config
from otsr.training.trainer import Trainer

HEAD = ["recipe", "batch of crops", "ms", "launches", "device at work, ms", "peak memory, MB"]
LAUNCHES = (
    "cudaLaunchKernel",
    "cudaLaunchKernelExC",
    "cuLaunchKernel",
    "cuLaunchKernelEx",
    "cudaGraphLaunch",
)
WATCHED = 3  # steps


def measured(recipe: str, steps: int, settings: list[str]) -> list[str]:
    """A row of the table."""
    here = ["start=null", "data.hr=photos/train", "data.workers=0", "validation.images=0", *settings]
    config = load_config(recipe, here)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, Path(folder) / "run")
        batch = trainer.batches.batch(0)

        def go(first: int, count: int) -> float:
            """Seconds of so many steps."""
            started = time.perf_counter()
            for trainer.step in range(first, first + count):
                trainer.update(batch, check=False)
            if on_cuda:
                torch.cuda.synchronize()
            return time.perf_counter() - started

        on_cuda = trainer.device.type == "cuda"
        go(0, 6)  # CUDA chooses its convolutions
        if on_cuda:
            torch.cuda.reset_peak_memory_stats()
        found = [f"{1e3 * go(6, steps) / steps:.1f}"]
        found += watched(lambda: go(6 + steps, WATCHED)) if on_cuda else ["-"] * 3
    return [recipe, f"{config.data.batch} of {config.data.crop}×{config.data.crop}", *found]


def watched(work: Callable[[], object]) -> list[str]:
    """Launches and milliseconds of the device in a step, and the peak of its memory so far."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        work()
    events = seen.key_averages()
    launches = sum(event.count for event in events if event.key in LAUNCHES) / WATCHED
    kernels = [event for event in events if event.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(event.self_device_time_total for event in kernels) / 1e3 / WATCHED
    return [f"{launches:.0f}", f"{busy:.1f}", f"{torch.cuda.max_memory_allocated() / 1e6:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", help="names or files")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    rows = [measured(recipe, arguments.steps, arguments.settings) for recipe in arguments.recipes]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"
    report = "\n\n".join(
        [
            f"# A step of a recipe on {device}",
            f"torch {torch.__version__}. Made by `python benchmarks/recipe_step.py`.",
            aligned(HEAD, rows),
        ]
    )
    print(report)
    if arguments.out:
        save(arguments.out, report)


if __name__ == "__main__":
    main()
