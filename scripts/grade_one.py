"""Run one handed-in notebook and write down what its checks say; started by scripts/grade.py, in a process of its own.

    python scripts/grade_one.py NOTEBOOK RESULTS        in the folder that the notebook may write to

Each line of RESULTS is JSON: {"cell": 7} when a cell begins, {"exercise": …, "says": …, "hidden": …} after a check.
The walls are Python's audit hooks: no address but this machine's, no change of a file outside the folder. They stop
mistakes and curiosity, not a determined attacker: for that, grade in a container.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import nbformat
import numpy as np
import torch
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from otsr.course import exercises

SHIFTS = (1, 2)  # of the seeds from which the checks draw their numbers
# Which arguments of these events name what is changed.
CHANGES = dict.fromkeys(("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod"), (0,))
CHANGES |= {"os.rename": (0, 1), "os.link": (0, 1), "os.symlink": (1,)}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def build_walls(folders: list[str]) -> None:
    """From now on this process may change files in `folders` only, and speak with this machine only."""
    kept = tuple(os.path.realpath(folder) + os.sep for folder in folders)

    def outside(path: Any) -> bool:
        return not isinstance(path, int) and not (os.path.realpath(os.fsdecode(path)) + os.sep).startswith(kept)

    def wall(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto") and arguments[1][0] not in ("127.0.0.1", "::1"):
            raise PermissionError("no network while this notebook is graded")
        if event == "open" and (arguments[2] or 0) & WRITING and arguments[0] != os.devnull and outside(arguments[0]):
            raise PermissionError(f"{arguments[0]}: only the working folder may be changed while this is graded")
        for path in filter(outside, [arguments[place] for place in CHANGES.get(event, ())]):
            raise PermissionError(f"{path}: only the working folder may be changed while this is graded")

    sys.addaudithook(wall)


@contextlib.contextmanager
def other_numbers(shift: int) -> Iterator[None]:
    """Within, every seeded generator starts from another seed: a check draws other numbers than the notebook shows."""

    class Shifted(torch.Generator):
        def manual_seed(self, seed: int) -> torch.Generator:
            return super().manual_seed(seed + 7919 * shift)

    def shifted_rng(seed: Any = None) -> np.random.Generator:
        return default_rng(seed + 7919 * shift if isinstance(seed, int) else seed)

    default_rng, generator = np.random.default_rng, torch.Generator
    np.random.default_rng, torch.Generator = shifted_rng, Shifted  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        np.random.default_rng, torch.Generator = default_rng, generator  # type: ignore[misc]


def recorded(check: Callable[[str, Any], None], record: Callable[..., None]) -> Callable[[str, Any], None]:
    """`check`, writing down what it says, and for a right answer what it says of other numbers."""

    def said(name: str, answer: Any) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as text:
            check(name, answer)
        return text.getvalue().strip().removeprefix(f"{name}: ")

    def recording(name: str, answer: Any) -> None:
        says = said(name, answer)
        print(f"{name}: {says}")
        hidden = []
        for shift in SHIFTS if says == "correct" else ():
            with other_numbers(shift):
                hidden.append(said(name, answer))
        record(exercise=name, says=says, hidden=next((one for one in hidden if one != "correct"), ""))

    return recording


def run(path: Path, results: TextIO) -> None:
    """Run every code cell in order; a cell that stops does not stop the next."""

    def record(**fields: Any) -> None:
        results.write(json.dumps(fields) + "\n")
        results.flush()

    config = Config({"HistoryManager": {"enabled": False}, "InteractiveShell": {"colors": "nocolor"}})
    shell = InteractiveShell.instance(config=config)
    exercises.check = recorded(exercises.check, record)
    build_walls([str(Path.cwd()), tempfile.gettempdir()])
    for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if cell.cell_type == "code":
            record(cell=number)
            shell.run_cell(cell.source)
    record(finished=True)


if __name__ == "__main__":
    with open(sys.argv[2], "w", encoding="utf-8") as results:  # noqa: PTH123  opened before the walls
        run(Path(sys.argv[1]), results)
