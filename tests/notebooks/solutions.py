"""Exercises are solved where they stand: after each stub, its solution runs in the same kernel.

So one run of a notebook compares its outputs, shows that every solution is accepted with the names that a student has
at that point, and that the cells below print the same once an exercise is solved.
"""

import copy
import re
from collections.abc import Iterator

import nbval.plugin
import pytest
from nbformat import NotebookNode

_SOLUTION = re.compile(r"<details><summary>Solution</summary>\s*```python\n(.*?)```\s*</details>", re.DOTALL)
_CHECK = re.compile(r"^check\(\"([\w-]+)\", .+\)$", re.MULTILINE)


def exercises(notebook: NotebookNode) -> dict[str, tuple[NotebookNode, str]]:
    """Name to (stub cell, solution). The solution stands in the next text cell that holds one."""
    found = {}
    for number, cell in enumerate(notebook.cells):
        name = cell.cell_type == "code" and _CHECK.search(cell.source)
        if name:
            solution = next((_SOLUTION.search(after.source) for after in notebook.cells[number + 1 :]), None)
            assert solution, f"no folded solution follows the exercise {name[1]}"
            found[name[1]] = (cell, solution[1])
    return found


def solved(cell: NotebookNode, solution: str) -> NotebookNode:
    """The stub with its solution in place, and what its check must then print."""
    done, check = copy.deepcopy(cell), _CHECK.search(cell.source)
    assert check and len(done.outputs) == 1
    done.source = solution + "\n" + cell.source[check.start() :]
    done.outputs[0].text = f"{check[1]}: correct\n"
    return done


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the solution of each exercise after its stub."""
    items[:] = [one for item in items for one in (item, *_solutions(item))]


def _solutions(item: pytest.Item) -> Iterator[pytest.Item]:
    if isinstance(item, nbval.plugin.IPyNbCell):
        for name, (cell, solution) in exercises(item.parent.nb).items():
            if cell is item.cell:
                yield nbval.plugin.IPyNbCell.from_parent(
                    item.parent, name=f"{item.name} solved: {name}", cell_num=item.cell_num,
                    cell=solved(cell, solution), options=item.options,
                )  # fmt: skip
