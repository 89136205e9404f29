"""Stubs say that they were not attempted; solutions also hold for the numbers that `make grade` asks.

That each solution is accepted where it stands shows when the notebook runs: see solutions.py.
"""

import re
from collections.abc import Callable
from pathlib import Path

import grade_one
import pytest
from nbformat import NotebookNode
from test_style import code_cells

from otsr.course.exercises import check
from tests.notebooks.solutions import exercises


def test_every_notebook_has_an_exercise_that_runs_as_it_is(notebook: NotebookNode) -> None:
    found = exercises(notebook)
    assert found
    for name, (cell, _) in found.items():
        assert [output.text for output in cell.outputs] == [f"{name}: not attempted yet\n"]


def test_a_right_answer_is_right_for_other_numbers(
    path: Path, notebook: NotebookNode, definitions: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "\n".join(cell.source for cell in code_cells(notebook))
    constants = re.findall(r"^([A-Z_]{3,}) =", code, re.MULTILINE)
    names = vars(definitions(path.name[:2], *constants))
    for name, (cell, solution) in exercises(notebook).items():
        exec(solution, names)
        answer = re.search(rf'^check\("{name}", (\w+)', cell.source, re.MULTILINE)
        for shift in grade_one.SHIFTS:
            with grade_one.other_numbers(shift):
                check(name, names[answer[1]])
            assert capsys.readouterr().out == f"{name}: correct\n"
