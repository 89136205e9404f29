"""A stored notebook made ready to be read without Jupyter, for the site and the slides.

Pictures become files with their alternative text, sliders come alive where their frames were kept, the badge becomes a
link in words, and the set-up cell goes.
"""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path

import nbformat
import sliders
from nbformat import NotebookNode

SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/svg+xml": ".svg"}
BADGE = re.compile(r"\[!\[(?P<words>[^\]]*)\]\([^)]*\)\]\((?P<target>[^)]*)\)")
TITLE = re.compile(r"\A(?P<line>.+)\n+(?P<title># .+)$", re.MULTILINE)


def readable(path: Path, pictures: Path, address: str) -> NotebookNode:
    """The notebook at `path`, changed for reading.

    Args:
        path: of a notebook with outputs.
        pictures: folder that the pictures of its outputs are written to.
        address: of that folder, as the page will name it.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if "setup" not in cell.metadata.get("tags", [])]
    first = notebook.cells[0]
    first.source = TITLE.sub(r"\g<title>\n\n\g<line>", BADGE.sub(r"[\g<words>](\g<target>)", first.source))
    for number, cell in enumerate(notebook.cells):
        for place, output in enumerate(cell.get("outputs", [])):
            data = output.get("data", {})
            is_slider = data.get("text/plain", "").startswith("[slider]")
            slider = sliders.live(cell) if is_slider else None
            if is_slider and not slider:
                print(f"{path.name}: a slider stays still until the notebook runs again (course.py notebooks)")
            mime = next((mime for mime in SUFFIXES if mime in data), None)
            if slider:
                output.data = NotebookNode({"text/html": slider})
            elif mime:
                file = pictures / f"{path.stem}-{number:02d}-{place}{SUFFIXES[mime]}"
                write(file, mime, data[mime])
                alt = html.escape(output.metadata.get(mime, {}).get("alt", ""))
                image = f'<img class="output-picture" loading="lazy" src="{address}/{file.name}" alt="{alt}">'
                output.data = NotebookNode({"text/html": image})
    return notebook


def write(file: Path, mime: str, content: str) -> None:
    """Write the picture of an output: text for SVG, else base64."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if mime == "image/svg+xml" else base64.b64decode(content))


def short_title(notebook: NotebookNode) -> str:
    """Of "# 04 · Transport with POT: carry one photo's light …" the part before the colon."""
    found = re.search(r"^# ([^:\n]+)", notebook.cells[0].source, re.MULTILINE)
    return found[1].strip() if found else "untitled"
