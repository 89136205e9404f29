"""The solutions in the folded blocks solve the exercises, and the stubs say that they were not attempted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from nbformat import NotebookNode

import notebooks

SOLUTION = re.compile(r"<details><summary>Solution</summary>\s*```python\n(.*?)```\s*</details>", re.DOTALL)
CHECK = re.compile(r"^check\(\"([\w-]+)\", .+\)$", re.MULTILINE)


def exercises(notebook: NotebookNode) -> dict[str, tuple[NotebookNode, str]]:
    """Name to (stub cell, solution). The solution stands in the next text cell that holds one."""
    found = {}
    for number, cell in enumerate(notebook.cells):
        name = cell.cell_type == "code" and CHECK.search(cell.source)
        if name:
            solution = next((SOLUTION.search(after.source) for after in notebook.cells[number + 1 :]), None)
            assert solution, f"no folded solution follows the exercise {name[1]}"
            found[name[1]] = (cell, solution[1])
    return found


def test_every_notebook_has_an_exercise_that_runs_as_it_is(notebook: NotebookNode) -> None:
    found = exercises(notebook)
    assert found
    for name, (cell, _) in found.items():
        assert [output.text for output in cell.outputs] == [f"{name}: not attempted yet\n"]


@pytest.mark.slow
def test_the_solutions_solve_the_exercises(path: Path, notebook: NotebookNode) -> None:
    found = exercises(notebook)
    for cell, solution in found.values():
        cell.source = solution + "\n" + cell.source[CHECK.search(cell.source).start() :]
    notebooks.run(notebook, path.parent)
    for name, (cell, _) in found.items():
        assert [output.text for output in cell.outputs] == [f"{name}: correct\n"]
