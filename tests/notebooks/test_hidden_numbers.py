"""The solutions also solve the exercises with the numbers that `make grade` asks."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from test_exercises import exercises  # type: ignore[import-not-found]

import grade_one
from otsr.course.exercises import check


def test_a_right_answer_is_right_for_other_numbers(
    path: Path, notebook: NotebookNode, definitions: Callable[..., dict[str, Any]]
) -> None:
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    constants = re.findall(r"^([A-Z_]{3,}) =", code, re.MULTILINE)
    names = definitions(path.name[:2], *constants)
    for name, (cell, solution) in exercises(notebook).items():
        exec(solution, names)
        answer = re.search(rf'^check\("{name}", (\w+)', cell.source, re.MULTILINE)
        assert answer, cell.source
        said = io.StringIO()
        for shift in grade_one.SHIFTS:
            with contextlib.redirect_stdout(said), grade_one.other_numbers(shift):
                check(name, names[answer[1]])
        assert said.getvalue() == f"{name}: correct\n" * len(grade_one.SHIFTS)
