"""The hand-out: no solution in it, nothing else missing, and no other folder harmed."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
import student

from tests.notebooks.solutions import exercises


def sources(path: Path, kind: str) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


@pytest.fixture(scope="module")
def handout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("handout")
    student.build(folder)
    return folder


def test_it_has_the_code_and_the_figures_but_no_solution_and_no_output(handout: Path, path: Path) -> None:
    given = handout / "notebooks" / path.name
    text = "\n".join(sources(given, "markdown"))
    assert "<details>" not in given.read_text()
    assert not any(solution in text for _, solution in exercises(nbformat.read(path, 4)).values())
    assert not any(cell.get("outputs") for cell in nbformat.read(given, 4).cells)
    assert sources(given, "code") == sources(path, "code")
    assert all((given.parent / figure).is_file() for figure in student.FIGURE.findall(text))


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.md").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"not empty and holds no hand-out; name"):
        student.build(tmp_path)
    assert (tmp_path / "thesis.md").read_text() == "years of work"


def test_building_twice_gives_the_same_handout(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in student.build(tmp_path / "out")]
    assert [path.read_bytes() for path in student.build(tmp_path / "out")] == first
