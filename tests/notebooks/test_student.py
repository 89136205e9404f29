"""The hand-out: no solution in it, nothing else missing, and no other folder harmed."""

from pathlib import Path

import nbformat
import pytest
import student
from test_style import code_cells, markdown

from tests.notebooks.solutions import exercises


@pytest.fixture(scope="module")
def handout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("handout")
    student.build(folder)
    return folder


def test_it_has_the_code_and_the_figures_but_no_solution_and_no_output(
    handout: Path, path: Path, notebook: nbformat.NotebookNode
) -> None:
    given = nbformat.read(handout / "notebooks" / path.name, as_version=4)
    text = markdown(given)
    assert "<details>" not in text and not any(solution in text for _, solution in exercises(notebook).values())
    assert not any(cell.get("outputs") for cell in given.cells)
    assert [cell.source for cell in code_cells(given)] == [cell.source for cell in code_cells(notebook)]
    assert all((handout / "notebooks" / figure).is_file() for figure in student.FIGURE.findall(text))


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.md").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"not empty and holds no hand-out; name"):
        student.build(tmp_path)
    assert (tmp_path / "thesis.md").read_text() == "years of work"


def test_building_twice_gives_the_same_handout(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in student.build(tmp_path / "out")]
    assert [path.read_bytes() for path in student.build(tmp_path / "out")] == first
