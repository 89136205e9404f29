"""Slides of the notebooks, to present without a network: build/slides.

    python scripts/course.py slides          all of them
    python scripts/course.py slides 04 06    these

Arrow right goes to the next section, arrow down through it; S opens the speaker's view. A figure has a slide of its
own, with its code folded; long texts are cut between paragraphs. Sliders and alternative texts are as on the site.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path

import vendored
from nbconvert.exporters import SlidesExporter
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from readable import readable, short_title

ROOT = Path(__file__).resolve().parents[1]
CHARACTERS = 700  # of text on one slide
LINES = 12  # of code that may follow a text on its slide
WHOLE = re.compile(
    r"<details>.*?</details>|^```.*?^```|\$\$.*?\$\$|(?:(?!\n\n|<details>|^```).)+", re.DOTALL | re.MULTILINE
)


def as_slides(notebook: NotebookNode) -> NotebookNode:
    """The notebook with its texts cut, and each cell marked as where a slide begins. The same object, changed."""
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cells += [new_markdown_cell(text) for text in pieces(cell.source)]
        else:
            cells.append(cell)
    room = 0  # characters that still fit on the slide
    for cell in cells:
        size = len(cell.source)
        kind = "subslide"
        if cell.cell_type == "markdown":
            kind = "slide" if re.match(r"##? ", cell.source) else kind
        elif any("text/html" in output.get("data", {}) for output in cell.outputs):
            cell.metadata.folded = True
        elif cell.source.count("\n") < LINES and size < room:
            kind = "-"
        room = CHARACTERS - size if kind != "-" else 0
        cell.metadata.slideshow = {"slide_type": kind}
    notebook.cells = cells
    return notebook


def pieces(text: str) -> list[str]:
    """`text` cut before headings, and between paragraphs where it is long; formulas, code, folded blocks stay whole."""
    found: list[str] = []
    for part in WHOLE.findall(text):
        part = part.strip("\n")
        if not part:
            continue
        lonely = bool(found) and found[-1].startswith("#") and "\n" not in found[-1]  # a heading without text
        fits = bool(found) and len(found[-1]) + len(part) < CHARACTERS
        if not part.startswith("#") and (lonely or fits):
            found[-1] += "\n\n" + part
        else:
            found.append(part)
    return found


def build(folder: Path, beginnings: list[str]) -> list[Path]:
    """Write slides, and beside them all that they load; returns their paths."""
    vendored.copy("reveal", folder / "reveal")
    vendored.copy("mathjax", folder / "mathjax")
    figures = folder / "figures"
    shutil.copytree(ROOT / "figures", figures, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.py", "__*"))
    exporter = SlidesExporter(
        template_file=str(ROOT / "docs" / "slides.html.j2"), reveal_url_prefix="reveal", reveal_theme="white"
    )
    written = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if path.name.startswith(tuple(beginnings) or ("",)):
            notebook = as_slides(readable(path, folder / "outputs", "outputs"))
            for cell in notebook.cells:
                cell.source = cell.source.replace("](../figures/", "](figures/")
            page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": short_title(notebook)}})
            written.append(folder / f"{path.stem}.html")
            written[-1].write_text(page, encoding="utf-8")
    return written


def main() -> int:
    """0 when written, 2 when no notebook is named so."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="beginnings of file names, as 04; all when none is given")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "slides")
    options = parser.parse_args()
    written = build(options.out.resolve(), options.names)
    if not written:
        print(f"no notebook begins with {' or '.join(options.names)}", file=sys.stderr)
        return 2
    print(f"{len(written)} pages of slides in {options.out}; open one of them in a browser")
    return 0


if __name__ == "__main__":
    sys.exit(main())
