"""TEACHING.md speaks of the notebooks that are there: each has its section, its parts, its exercises."""

import re
from pathlib import Path

import pytest
from nbformat import NotebookNode
from test_style import markdown

from tests.notebooks.solutions import exercises

TEACHING = (Path(__file__).parents[2] / "TEACHING.md").read_text(encoding="utf-8")


def plan(number: str) -> str:
    """The section of one notebook."""
    found = re.search(rf"^### {number} · .*?(?=^### |\Z)", TEACHING, re.MULTILINE | re.DOTALL)
    assert found, f"TEACHING.md has no section '### {number} · …'"
    return found[0]


def test_every_notebook_has_its_plan_with_what_a_lecturer_needs(path: Path, notebook: NotebookNode) -> None:
    title = re.search(r"^# (\d\d · [^:\n]+)", markdown(notebook), re.MULTILINE)
    assert title and plan(path.name[:2]).startswith(f"### {title[1]}\n")
    for part in ("**Goals.**", "**In class: ", "**Students get wrong.**", "**Discuss.**", "**Mark.**"):
        assert part in plan(path.name[:2]), f"TEACHING.md, notebook {path.name[:2]}: no {part}"


def test_every_exercise_is_named(path: Path, notebook: NotebookNode) -> None:
    missing = sorted(name for name in exercises(notebook) if f"`{name}`" not in plan(path.name[:2]))
    assert not missing, f"TEACHING.md, notebook {path.name[:2]}: say how to mark {', '.join(missing)}"


def test_the_timetable_has_the_sections_of_the_notebook(path: Path, notebook: NotebookNode) -> None:
    sections = re.findall(r"^## (\d .+)$", markdown(notebook), re.MULTILINE)
    rows = re.findall(r"^\| (\d [^|]+?) \|", plan(path.name[:2]), re.MULTILINE)
    assert rows == sections


@pytest.mark.parametrize("number", re.findall(r"^### (\d\d) · ", TEACHING, re.MULTILINE))
def test_minutes_add_up(number: str) -> None:
    total = re.search(r"\*\*In class: (\d+) min[.;]\*\*", plan(number))
    minutes = re.findall(r"^\| [^|]+ \| (\d+) \|", plan(number), re.MULTILINE)
    assert total and sum(map(int, minutes)) == int(total[1])
