"""A class's notebooks are graded: who solved what, with the last hint, whatever somebody hands in."""

import csv
import re
from pathlib import Path

import grade
import grade_one
import nbformat
import numpy as np
import pytest

from otsr.course.exercises import check

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
START = "import numpy as np\nfrom otsr.course.exercises import check\n"
RIGHT = "def w2(x, y):\n    return ((np.sort(x) - np.sort(y)) ** 2).mean()\n"
WRONG = "def w2(x, y):\n    return ((x - y) ** 2).mean()\n"
CHECK = 'check("sorted-transport", w2)\n'
MEDDLING = [
    f"open({str(ROOT / 'meddled')!r}, 'w')",
    "import urllib.request\nurllib.request.urlopen('http://192.0.2.1', timeout=5)",
    f"__import__('pathlib').Path('theirs').touch()\n__import__('os').replace('theirs', {str(ROOT / 'meddled')!r})",
    "open('mine', 'w').close()\nmine = __import__('os').path.exists('mine')",
    "def w2(x, y):\n    return ((np.sort(x) - np.sort(y)) ** 2).mean() if mine else 0\n",
]
CLASS = {
    "typed": [START, WRONG, CHECK, *MEDDLING, "print('judge: correct')", "0 / 0", CHECK],
    "crashing": [START, WRONG, CHECK, "import os\nos._exit(9)", RIGHT, CHECK],
    "greedy": [START, "held = [bytearray(10**8) for _ in range(100)]", RIGHT, CHECK],
    "04_transport_with_pot_empty": [],
}
HANGING = [START, RIGHT, CHECK, "import time\ntime.sleep(600)"]


Rows = dict[tuple[str, str], dict[str, str]]


def write(path: Path, cells: list[str]) -> None:
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells]), path)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The rows of the CSV by (student, exercise); `out` beside the folder holds it and the page."""
    folder = tmp_path_factory.mktemp("class")
    for name, cells in CLASS.items():
        write(folder / f"{name}.ipynb", cells)
    (folder / "essay.ipynb").write_text("I liked the course.")
    out = folder / "out"
    assert grade.main([str(folder), "--out", str(out), "--megabytes", "1500"]) == 0
    with (out / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        found = {(row["student"], row["exercise"]): row for row in csv.DictReader(file)}
    write(folder / "hanging.ipynb", HANGING)
    hanging = grade.grade(folder / "hanging.ipynb", "hanging", seconds=6, megabytes=1500)
    found |= {("hanging", one.exercise): vars(one) for one in hanging}
    found["page", ""] = {"text": (out / "grades.html").read_text(encoding="utf-8")}
    return found


@pytest.mark.parametrize(
    ("student", "state", "hint", "note"),
    [
        ("typed", "solved", "", ""),
        ("hanging", "solved", "", "stopped after 6 s in cell 3"),
        ("crashing", "not yet", "sort both first", "crashed with exit status 9 in cell 3"),
        ("greedy", "not reached", "", "stopped at 1500 MB of memory in cell 1"),
        ("04_transport_with_pot_empty", "not reached", "", ""),
    ],
)
def test_everybody_gets_what_is_deserved(rows: Rows, student: str, state: str, hint: str, note: str) -> None:
    row = rows[student, "sorted-transport"]
    assert (row["state"], row["note"], row["notebook"]) == (state, note, "04_transport_with_pot")
    assert hint in row["hint"]
    assert (student, "judge") in rows, "each exercise of the notebook has its row"


def test_what_is_typed_into_a_file_or_written_outside_does_not_count(rows: Rows) -> None:
    assert rows["typed", "judge"]["state"] == "not reached"
    assert not (ROOT / "meddled").exists()


def test_an_answer_learnt_by_heart_is_told_apart() -> None:
    """It knows the numbers that the notebook's check draws, and no others."""
    seen: dict[bytes, float] = {}

    def listening(x: np.ndarray, y: np.ndarray) -> float:
        return seen.setdefault(x.tobytes(), float(((np.sort(x) - np.sort(y)) ** 2).mean()))

    check("sorted-transport", listening)
    lines: list[dict] = []
    asking = grade_one.recorded(check, lambda **line: lines.append(line))
    asking("sorted-transport", lambda x, y: seen[x.tobytes()])
    asking("sorted-transport", lambda x, y: ((np.sort(x) - np.sort(y)) ** 2).mean())
    asking("sorted-transport", lambda x, y: ...)
    states = [grade.judged(line) for line in lines]
    assert [state for state, _ in states] == ["shown numbers only", "solved", "not attempted"]
    assert states[0][1].startswith("Your function stopped with KeyError")


def test_the_page_shows_everybody_and_needs_nothing_else(rows: Rows) -> None:
    assert rows["essay", ""]["note"].startswith("not a notebook")
    text = rows["page", ""]["text"]
    assert all(f">{student}<" in text for student in (*CLASS, "essay"))
    assert "✔ solved" in text and "sort both first" in text
    assert not re.search(r"(?:src|href)=", text)


def test_a_folder_without_notebooks_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert grade.main([str(tmp_path)]) == 2
    assert "no .ipynb" in capsys.readouterr().err


def test_a_formula_in_a_hint_is_no_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    grade.write_csv([grade.Grade("a", "04", "judge", "not yet", "=cmd()", "")], tmp_path / "grades.csv")
    assert "'=cmd()" in (tmp_path / "grades.csv").read_text(encoding="utf-8-sig")
