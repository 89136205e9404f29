"""What the notebook tests share: the notebooks, read once, and the script that makes them."""

import ast
import copy
import functools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def notebook(path: Path) -> nbformat.NotebookNode:
    return copy.deepcopy(_read(path))


@pytest.fixture(scope="session")
def definitions() -> Callable[..., ModuleType]:
    return definitions_of


@pytest.fixture(scope="module")
def written(request: pytest.FixtureRequest) -> ModuleType:
    """What the notebook that a test file is named after imports and defines, and its globals in GLOBALS."""
    return definitions_of(request.module.__name__.split("_")[1], *getattr(request.module, "GLOBALS", ()))


def definitions_of(number: str, *variables: str) -> ModuleType:
    """`definitions_of("01", "waves")`: what notebook 01 imports and defines, and its global `waves`; no more is run."""
    path = next(one for one in NOTEBOOKS if one.name.startswith(number))
    cells = (cell for cell in _read(path).cells if cell.cell_type == "code")
    found = ModuleType("__main__")
    for cell in list(cells)[1:]:  # not the set-up
        kept = [statement for statement in ast.parse(cell.source).body if _is_wanted(statement, variables)]
        exec(compile(ast.Module(kept, []), path.name, "exec"), vars(found))
    return found


@functools.cache
def _read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def _is_wanted(statement: ast.stmt, variables: tuple[str, ...]) -> bool:
    if isinstance(statement, (ast.Assign, ast.AugAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
        return bool(names & set(variables))
    return isinstance(statement, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef))
