"""Start a notebook with the course's skeleton: python scripts/new_notebook.py 12 "Restore a film"

Writes notebooks/12_restore_a_film.ipynb and says what to do next. Whatever stands in capitals is yours to write;
tests/notebooks/test_style.py says what is still missing.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from notebooks import badge, tidy

ROOT = Path(__file__).resolve().parents[1]
TOP = """\
{badge} · CPU: under 1 minute · GPU: not needed · in class: 60 minutes

# {number} · {title}: WHAT FOR

ONE SENTENCE THAT SAYS WHAT YOU WILL HAVE AT THE END.

## You will

- DO SOMETHING THAT A TEST COULD CHECK;
- PREDICT SOMETHING, AND SEE;
- EXPLAIN SOMETHING TO SOMEBODY ELSE.

**You need** notebook NN. Letters, colours and words: [notation](NOTATION.md)."""
IMPORTS = """\
import numpy as np

from otsr.course.exercises import check
from otsr.course.plots import Panel, pictures, show
from otsr.course.widgets import FrameSlider"""
SECTION = """\
## {number} SECTION WITH A VERB

**Puzzle.** SOMETHING THAT ONE WANTS TO KNOW.

**Predict.** WHAT WILL THE NEXT CELL SHOW?"""
FIGURE = """\
grey = np.full((90, 120, 3), 0.5, np.float32)
print(f"mean {grey.mean():.2f}")
show(
    pictures([Panel(grey, "TITLE", "real")]),
    alt="SAY WHAT IS SEEN, FOR SOMEBODY WHO CANNOT SEE IT.",
)"""
READING = """\
SAY WHAT THE FIGURE SHOWS BEFORE YOU SAY WHAT IT MEANS. NUMBERS IN THE TEXT ARE PRINTED BY A CELL ABOVE. SAY WHAT WE DO
NOT KNOW."""
DEMO = """\
### Demo: MOVE SOMETHING

DRAG THE SLIDER, OR USE THE ARROW KEYS."""
SLIDER = """\
frames = [np.full((90, 120, 3), level, np.uint8) for level in (60, 120, 180)]
captions = [f"SAY WHAT FRAME {number} SHOWS." for number in range(3)]
FrameSlider(frames, ["low", "middle", "high"], captions, title="WHAT")"""
THINK = """\
SAY WHAT CHANGES ALONG THE SLIDER, AND WHERE ONE WOULD STOP. THE FIGURE IS READ HERE, IN TWO OR THREE SENTENCES, LIKE
EVERY OTHER.

### Think!

A QUESTION WITHOUT A NUMBER AS ITS ANSWER.

<details><summary>Our thoughts</summary>

A CLAIM WITH A REASON.

</details>"""
BREAK = """\
## Break it

**Predict.** WHERE DOES IT FAIL, AND HOW WOULD YOU NOTICE?"""
EXERCISE = """\
## Exercise

*10 minutes.* WHAT TO WRITE, WITH SHAPES AND UNITS."""
STUB = """\
def my_answer(x):
    ...


check("NAME", my_answer)"""
END = """\
<details><summary>Solution</summary>

```python
def my_answer(x):
    return x
```

</details>

A QUESTION THAT FOLLOWS FROM IT.

## Recap

- WHAT YOU DID FOR THE FIRST GOAL.
- FOR THE SECOND.
- FOR THE THIRD.

## References

1. AUTHOR, *TITLE*, VENUE YEAR. [doi 10.0000/x](https://doi.org/10.0000/x)
2. AUTHOR, *TITLE*, VENUE YEAR. [arXiv 0000.00000](https://arxiv.org/abs/0000.00000)

Photos: SOURCES. Text and figures of this notebook: CC-BY-4.0; code: MIT."""
NEXT = """\
Wrote {path}. Next:
1. Write it: whatever stands in capitals. The thing being taught stands in the notebook in full.
2. Write the check of its exercise in otsr/course/exercises/, with a hint for each mistake that you expect.
3. Add its row to README.md and notebooks/README.md, its plan to TEACHING.md, and "Next: …" to the recap before it.
4. python scripts/course.py notebooks {number}     runs it and stores its outputs
5. .venv/bin/pytest tests/notebooks -k {number}    says what is missing (Windows: .venv\\Scripts\\pytest)"""


def skeleton(number: str, title: str, name: str) -> NotebookNode:
    """The notebook; its set-up cell is that of notebook 00."""
    first = nbformat.read(ROOT / "notebooks" / "00_start_here.ipynb", as_version=4).cells
    set_up = next(cell for cell in first if "setup" in cell.metadata.get("tags", []))
    set_up.outputs, set_up.execution_count = [], None
    text, code = new_markdown_cell, new_code_cell
    cells = [text(TOP.format(badge=badge(name), number=number, title=title)), set_up, code(IMPORTS)]
    for section in (1, 2, 3):
        cells += [text(SECTION.format(number=section)), code(FIGURE), text(READING)]
    cells += [text(DEMO), code(SLIDER), text(THINK), text(BREAK), code('print("WHAT BROKE")')]
    cells += [text(EXERCISE), code(STUB), text(END)]
    notebook = new_notebook(cells=cells)
    tidy(notebook, name)
    return notebook


def main(arguments: list[str] | None = None, folder: Path = ROOT / "notebooks") -> int:
    """0 when written, 2 when the number is taken or is none."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("number", help="two digits")
    parser.add_argument("title", help="begins with a verb: Restore a film")
    options = parser.parse_args(arguments)
    if not re.fullmatch(r"\d\d", options.number):
        print(f"a notebook's number has two digits, as 12; got {options.number}", file=sys.stderr)
        return 2
    taken = sorted(folder.glob(f"{options.number}_*.ipynb"))
    if taken:
        print(f"{taken[0].name} is there already; choose another number", file=sys.stderr)
        return 2
    words = re.sub(r"[^a-z0-9]+", "_", options.title.lower()).strip("_")
    path = folder / f"{options.number}_{words}.ipynb"
    nbformat.write(skeleton(options.number, options.title, path.name), path)
    print(NEXT.format(path=path, number=options.number))
    return 0


if __name__ == "__main__":
    sys.exit(main())
