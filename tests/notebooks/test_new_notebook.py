"""scripts/new_notebook.py starts a notebook that has all the parts the house rules ask for."""

from pathlib import Path

import nbformat
import new_notebook
import pytest
import test_style as style  # type: ignore[import-not-found]
from nbformat import NotebookNode


@pytest.fixture
def started(tmp_path: Path) -> tuple[Path, NotebookNode]:
    assert new_notebook.main(["42", "Restore a film"], tmp_path) == 0
    path = tmp_path / "42_restore_a_film.ipynb"
    return path, nbformat.read(path, as_version=4)


def test_it_has_every_part_of_the_skeleton(started: tuple[Path, NotebookNode]) -> None:
    path, notebook = started
    style.test_format_is_valid_and_the_file_is_small(path, notebook)
    style.test_nothing_differs_between_machines(path, notebook)
    style.test_first_line_opens_it_in_colab_and_names_the_time(path, notebook)
    style.test_headings_follow_the_skeleton(path, notebook)
    style.test_the_recap_mirrors_the_goals(notebook)
    style.test_the_first_code_cell_sets_up_colab_and_nothing_else(notebook)
    style.test_code_is_short_fits_the_screen_and_survives_a_strict_comparison(notebook)
    style.test_references_can_be_found(notebook)


def test_its_code_runs_up_to_the_exercise(started: tuple[Path, NotebookNode]) -> None:
    *cells, stub = [cell.source for cell in started[1].cells if cell.cell_type == "code"][1:]
    names: dict = {"show": None}
    for cell in cells:
        exec(cell, names)
    with pytest.raises(KeyError, match="no exercise 'NAME'"):
        exec(stub, names)


def test_it_says_what_to_do_next_and_overwrites_nothing(
    capsys: pytest.CaptureFixture[str], started: tuple[Path, NotebookNode], tmp_path: Path
) -> None:
    said = capsys.readouterr().out  # by `started`, which is made after capsys
    assert all(words in said for words in ("42_restore_a_film.ipynb", "TEACHING.md", "notebooks 42"))
    assert new_notebook.main(["42", "Another"], tmp_path) == 2
    assert "choose another number" in capsys.readouterr().err
    assert new_notebook.main(["7", "Another"], tmp_path) == 2
