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


def test_no_solution_and_no_output_is_handed_out(handout: Path, path: Path) -> None:
    text = (handout / "notebooks" / path.name).read_text()
    assert "<details>" not in text
    assert not any(cell.get("outputs") for cell in nbformat.reads(text, as_version=4).cells)
    for _, solution in exercises(nbformat.read(path, as_version=4)).values():
        assert solution not in "\n".join(sources(handout / "notebooks" / path.name, "markdown"))


def test_the_code_is_the_teachers(handout: Path, path: Path) -> None:
    assert sources(handout / "notebooks" / path.name, "code") == sources(path, "code")


def test_a_student_finds_every_figure(handout: Path, path: Path) -> None:
    for text in sources(handout / "notebooks" / path.name, "markdown"):
        for figure in student.FIGURE.findall(text):
            assert (handout / "notebooks" / figure).is_file()


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.md").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"not empty and holds no hand-out; name"):
        student.build(tmp_path)
    assert (tmp_path / "thesis.md").read_text() == "years of work"


def test_building_twice_gives_the_same_handout(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in student.build(tmp_path / "out")]
    assert [path.read_bytes() for path in student.build(tmp_path / "out")] == first
