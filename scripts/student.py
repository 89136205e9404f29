"""Build the hand-out for students: the notebooks without solutions, thoughts and outputs: `make student`.

    python scripts/student.py [FOLDER]       build/student by default

Derived, never edited: what a student predicts or solves is removed, all else is as in notebooks/. Folded blocks
(solutions, thoughts) become a line that says where they are; outputs go, so that a prediction is one. Figures that the
texts show and the notation page are copied, so that the folder stands alone.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
FOLDED = re.compile(r"<details><summary>(?P<title>[^<]*)</summary>.*?</details>", re.DOTALL)
BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\([^)]*\) · ")  # opens the notebook with its solutions
FIGURE = re.compile(r"\.\./figures/[\w.-]+")


def without_answers(notebook: NotebookNode) -> NotebookNode:
    """The notebook as a student gets it. The same object, changed."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        else:
            cell.source = FOLDED.sub(r"*\g<title>: after class.*", BADGE.sub("", cell.source))
    return notebook


def build(folder: Path, notebooks: Path = ROOT / "notebooks") -> list[Path]:
    """Write the hand-out; returns the notebooks written.

    Raises:
        FileExistsError: `folder` holds something that is no hand-out; nothing is changed.
    """
    mark = folder / "STUDENT.md"
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise FileExistsError(f"{folder} is not empty and holds no hand-out; name an empty or a new folder")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "notebooks").mkdir(parents=True)
    (folder / "figures").mkdir()
    mark.write_text(
        "Hand-out of the OTSR course, built from its notebooks by `make student`. Start with "
        "notebooks/00_start_here.ipynb.\nText and figures: CC BY 4.0. Code: MIT.\n",
        encoding="utf-8",
    )
    written = []
    for path in sorted(notebooks.glob("*.ipynb")):
        notebook = without_answers(nbformat.read(path, as_version=4))
        for figure in FIGURE.findall("\n".join(cell.source for cell in notebook.cells)):
            shutil.copy(notebooks / figure, folder / "figures")
        written.append(folder / "notebooks" / path.name)
        nbformat.write(notebook, written[-1])
    shutil.copy(notebooks / "NOTATION.md", folder / "notebooks")
    return written


def main() -> int:
    """0 when built, 2 when the folder cannot be used."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "student"
    try:
        written = build(folder)
    except FileExistsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{folder}: {len(written)} notebooks without solutions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
