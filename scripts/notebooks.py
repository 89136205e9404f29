"""Run notebooks and store their outputs, ready to be committed: `make notebooks`.

    python scripts/notebooks.py              all notebooks
    python scripts/notebooks.py 00           those whose names begin so
    python scripts/notebooks.py --no-run     only tidy: badges, cell ids, metadata

Each runs from top to bottom in a fresh kernel with one thread. Stored are outputs and execution counts; removed is
what differs between machines: widget state, times, versions, paths. The Colab badges, here and in the README,
are written from the repository's address in pyproject.toml, the one place that holds it.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path

import nbformat
import sliders
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from otsr.images import atomic_path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
COLAB = "https://colab.research.google.com"
LIVE_WIDGET = "application/vnd.jupyter.widget-view+json"
SECONDS_A_CELL = 300


def repository() -> str:
    """The address of the repository, from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["urls"]["Repository"]).removesuffix("/")


def badge(name: str) -> str:
    """Markdown of the badge that opens notebook `name` (a file name) in Colab."""
    path = repository().removeprefix("https://github.com/")
    link = f"{COLAB}/github/{path}/blob/main/notebooks/{name}"
    return f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({link})"


def write_addresses(text: str, name: str) -> str:
    """`text` with its Colab badges and pip addresses made anew from the repository's address.

    Args:
        text: Markdown or code.
        name: notebook that a badge without a target of its own opens.
    """
    pattern = r"\[!\[Open in Colab\]\([^)]*\)\]\((?:[^)]*/(?P<name>[\w.-]+\.ipynb))?[^)]*\)"
    text = re.sub(pattern, lambda found: badge(found["name"] or name), text)
    return re.sub(r"git\+https://[^\s\"'@]+", f"git+{repository()}", text)


def run(notebook: NotebookNode, folder: Path) -> None:
    """Execute every cell in a fresh kernel whose working directory is `folder`, with one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    client = NotebookClient(
        notebook,
        timeout=SECONDS_A_CELL,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        store_widget_state=True,  # for the sliders; then it goes
    )
    client.execute(env=environment)


def tidy(notebook: NotebookNode, name: str) -> None:
    """Give cells fixed ids, write the addresses, and remove what differs between machines."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{name[:2]}-{number:02d}"
        cell.source = write_addresses(cell.source, name)
        kept = ("tags", "jupyter", "cellView")
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in kept}
        if cell.cell_type == "code":
            cell.outputs = joined_streams(cell.outputs)
            for output in cell.outputs:
                tidy_output(output)


def joined_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs with neighbouring pieces of one stream as one: how a text is cut depends on the machine's speed."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def tidy_output(output: NotebookNode) -> None:
    """Remove the live widget, whose state is not stored (its static twin stays), and host paths in texts."""
    if "text" in output:
        output.text = without_paths(output.text)
    data = output.get("data", {})
    data.pop(LIVE_WIDGET, None)
    for mime, content in data.items():
        if mime.startswith("text/"):
            data[mime] = without_paths(content)


def without_paths(text: str) -> str:
    """`text` with the folders of this machine replaced; tests/notebooks/sanitize.cfg does the same."""
    for folder, mark in ((str(ROOT), "<otsr>"), (sys.prefix, "<python>"), (str(Path.home()), "~")):
        text = text.replace(folder, mark)
    return text


def main() -> int:
    """Run and tidy the notebooks named on the command line; 0 if all ran, 1 if one stopped, 2 if none is named so."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="beginnings of file names, as 00; all when none is given")
    parser.add_argument("--no-run", action="store_true", help="only tidy, keep the stored outputs")
    options = parser.parse_args()
    found = [path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if path.name.startswith(tuple(options.names) or ("",))]
    if not found:
        print(f"no notebook in {NOTEBOOKS} begins with {' or '.join(options.names)}", file=sys.stderr)
        return 2
    stopped = [path.name for path in found if not make(path, execute=not options.no_run)]
    for page in (ROOT / "README.md", NOTEBOOKS / "README.md"):
        text = page.read_text(encoding="utf-8")
        written = write_addresses(text, "00_start_here.ipynb")
        if written != text:
            page.write_text(written, encoding="utf-8")
    if stopped:
        print(f"stopped, and left as they were: {', '.join(stopped)}", file=sys.stderr)
    return 1 if stopped else 0


def make(path: Path, *, execute: bool) -> bool:
    """Run (if asked) and tidy one notebook in place; False, and the file as it was, when a cell stops."""
    notebook = nbformat.read(path, as_version=4)
    began = time.monotonic()
    if execute:
        tidy(notebook, path.name)  # first: the run must see the cells that will be stored
        try:
            run(notebook, path.parent)
        except CellExecutionError as error:
            print(f"{path.name}: a cell stopped\n{error}", file=sys.stderr)
            return False
        sliders.store(notebook)
    tidy(notebook, path.name)
    with atomic_path(path) as temporary:
        nbformat.write(notebook, temporary)
    print(f"{path.name}: {time.monotonic() - began:.0f} s, {path.stat().st_size / 1e3:.0f} kB")
    return True


if __name__ == "__main__":
    sys.exit(main())
