"""Run the exercise checks over a class's notebooks: who solved what, and which hint each met last.

    python scripts/course.py grade FOLDER        every .ipynb in FOLDER and below; writes build/grades.csv and .html

Each notebook runs in a process of its own, in an empty temporary folder, without network, with a limit on time and
memory (grade_one.py). Only what the checks say there counts, not what is typed into a file; an answer that fits
the numbers in the notebook and no others is told apart.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import html
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil

ROOT = Path(__file__).resolve().parents[1]
CHECK = re.compile(r"^check\(\s*[\"']([\w-]+)[\"']", re.MULTILINE)
STATES = {
    "solved": "✔ solved",
    "shown numbers only": "≈ shown numbers only",
    "not yet": "✘ not yet",
    "not attempted": "– not attempted",
    "not reached": "… not reached",
}


@dataclass(frozen=True)
class Grade:
    """What one hand-in has of one exercise. `note` says how the notebook ended, where it did not end well."""

    student: str
    notebook: str
    exercise: str
    state: str
    hint: str
    note: str


def grade(path: Path, student: str, seconds: float, megabytes: float) -> list[Grade]:
    """Run one notebook; a grade for each exercise of the course's notebook that it is."""
    try:
        cells = nbformat.read(path, as_version=4).cells
    except Exception as error:  # whatever was handed in
        return [Grade(student, path.stem, "", "not reached", "", f"not a notebook: {type(error).__name__}")]
    code = [cell for cell in cells if cell.cell_type == "code"]
    notebook, expected = which_notebook(path, {name for cell in code for name in CHECK.findall(cell.source)})
    if not expected:
        return [Grade(student, path.stem, "", "not reached", "", "no exercise of the course in it")]
    lines, note = sandboxed(path, seconds, megabytes) if code else ([], "")
    says = {line["exercise"]: line for line in lines if "exercise" in line}
    stored = "\n".join(output.get("text", "") for cell in code for output in cell.outputs)
    grades = []
    for exercise in expected:
        state, hint = judged(says.get(exercise))
        if state == "not reached":
            found = re.search(rf"^{re.escape(exercise)}: (.+)$", stored, re.MULTILINE)
            hint = f"stored in the file: {found[1]}" if found else ""
        grades.append(Grade(student, notebook, exercise, state, hint, note))
    return grades


def judged(line: dict[str, str] | None) -> tuple[str, str]:
    """State and hint of what a check has said."""
    if line is None:
        return "not reached", ""
    if line["says"] == "correct":
        return ("shown numbers only", line["hidden"].removeprefix("not yet. ")) if line["hidden"] else ("solved", "")
    if line["says"].startswith("not attempted"):
        return "not attempted", ""
    return "not yet", line["says"].removeprefix("not yet. ")


def which_notebook(path: Path, names: set[str]) -> tuple[str, list[str]]:
    """Name and exercises of the course's notebook that has these exercises, or else that the file is named after."""
    for ours in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = nbformat.read(ours, as_version=4).cells
        exercises = [name for cell in cells if cell.cell_type == "code" for name in CHECK.findall(cell.source)]
        if names & set(exercises) or (not names and ours.stem in path.stem):
            return ours.stem, exercises
    return path.stem, []


def sandboxed(path: Path, seconds: float, megabytes: float) -> tuple[list[dict], str]:
    """What grade_one.py wrote down, and how it ended: "" if well."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        work, results = Path(folder) / "work", Path(folder) / "results"
        work.mkdir()
        results.touch()
        nowhere = "http://127.0.0.1:9"  # for the processes that a notebook starts
        environment = {
            **os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "IPYTHONDIR": str(work), "TMPDIR": str(work),
            "TEMP": str(work), "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), "PYTHONUTF8": "1",
        }  # fmt: skip
        command = [sys.executable, str(ROOT / "scripts" / "grade_one.py"), str(path.resolve()), str(results)]
        silent = subprocess.DEVNULL
        process = subprocess.Popen(command, cwd=work, env=environment, stdin=silent, stdout=silent, stderr=silent)
        ended = watched(process, results, seconds, megabytes)
        lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines() if line[-1:] == "}"]
    if lines and "finished" in lines[-1]:
        return lines, ""
    cell = next((line["cell"] for line in reversed(lines) if "cell" in line), None)
    return lines, ended + (f" in cell {cell}" if cell is not None else "")


def watched(process: subprocess.Popen, results: Path, seconds: float, megabytes: float) -> str:
    """Wait for the end of a process, or bring it about; in words. Time runs from the first cell on."""
    began = None
    while process.poll() is None:
        if began is None and results.stat().st_size:
            began = time.monotonic()
        family = relatives(process.pid)
        late, large = began and time.monotonic() - began > seconds, sum(map(memory, family)) > megabytes * 1e6
        if late or large:
            for one in reversed(family):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            process.wait()
            return f"stopped after {seconds:g} s" if late else f"stopped at {megabytes:g} MB of memory"
        time.sleep(0.1)
    return f"crashed with exit status {process.returncode}"


def relatives(number: int) -> list[psutil.Process]:
    """A process and all that it started."""
    try:
        process = psutil.Process(number)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory(process: psutil.Process) -> int:
    """Bytes in use."""
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def write_csv(grades: list[Grade], path: Path) -> None:
    """One row an exercise; a text that a spreadsheet would take for a formula is marked as text."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.writer(file)
        table.writerow(Grade.__annotations__)
        for one in grades:
            table.writerow([f"'{cell}" if cell[:1] in tuple("=+-@") else cell for cell in vars(one).values()])


STYLE = """
:root { color-scheme: light dark; font-family: sans-serif; }
body { margin: 1.5rem; }
div { overflow-x: auto; }
table { border-collapse: collapse; margin-bottom: 2rem; }
th, td { border: 1px solid #8888; padding: 0.4rem 0.6rem; text-align: left; vertical-align: top; max-width: 22rem; }
.solved { background: #009e7355; } .not-yet { background: #d55e0055; } .shown-numbers-only { background: #f0e44255; }
small { display: block; margin-top: 0.3rem; }
"""


def page(grades: list[Grade]) -> str:
    """A table for each notebook: a row a student, a column an exercise, the last hint in the cell."""
    parts = []
    for notebook in sorted({one.notebook for one in grades}):
        own = [one for one in grades if one.notebook == notebook]
        exercises = list(dict.fromkeys(one.exercise for one in own))
        head = "".join(f'<th scope="col">{html.escape(name or "exercises")}</th>' for name in exercises)
        rows = []
        for student in dict.fromkeys(one.student for one in own):
            theirs = {one.exercise: one for one in own if one.student == student}
            note = next(iter(theirs.values())).note
            cells = "".join(cell(theirs[name]) if name in theirs else "<td></td>" for name in exercises)
            rows.append(
                f'<tr><th scope="row">{html.escape(student)}<small>{html.escape(note)}</small></th>{cells}</tr>'
            )
        head = f'<thead><tr><th scope="col">hand-in</th>{head}</tr></thead>'
        table = f"<table>{head}<tbody>{''.join(rows)}</tbody></table>"
        parts.append(f"<h2>{html.escape(notebook)}</h2><div>{table}</div>")
    top = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    return f"{top}<title>Grades</title><style>{STYLE}</style><h1>Grades</h1>{''.join(parts)}</html>\n"


def cell(one: Grade) -> str:
    hint = f"<small>{html.escape(one.hint)}</small>" if one.hint else ""
    return f'<td class="{one.state.replace(" ", "-")}">{STATES[one.state]}{hint}</td>'


def main(arguments: list[str] | None = None) -> int:
    """0 when every file was run, 2 when there is none."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the class's notebooks")
    parser.add_argument("--out", type=Path, default=ROOT / "build", help="where grades.csv and grades.html go")
    parser.add_argument("--seconds", type=float, default=300, help="for one notebook (%(default)g)")
    parser.add_argument("--megabytes", type=float, default=4000, help="for one notebook (%(default)g)")
    options = parser.parse_args(arguments)
    found = sorted(path for path in options.folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    if not found:
        print(f"no .ipynb in {options.folder}", file=sys.stderr)
        return 2
    grades: list[Grade] = []
    for path in found:
        student = path.relative_to(options.folder).with_suffix("").as_posix()
        grades += grade(path, student, options.seconds, options.megabytes)
        solved = sum(one.state == "solved" for one in grades if one.student == student)
        print(f"{student}: {solved} solved{', ' + grades[-1].note if grades[-1].note else ''}", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    write_csv(grades, options.out / "grades.csv")
    (options.out / "grades.html").write_text(page(grades), encoding="utf-8")
    print(f"Open {options.out / 'grades.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
