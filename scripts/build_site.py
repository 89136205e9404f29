"""Build the course as a web site that needs no network: build/site, from the stored outputs of the notebooks.

    python scripts/course.py site          then open build/site/index.html

Nothing is executed. Sphinx reads a copy of the pages, laid out as in the repository, so links between them work in
both; a link to a file that is not a page leads to the repository.
"""

from __future__ import annotations

import argparse
import os
import pkgutil
import posixpath
import re
import shutil
import sys
import tempfile
from importlib import import_module
from pathlib import Path, PurePosixPath

import nbformat
import vendored
from readable import readable, short_title
from sphinx.cmd.build import main as sphinx

from notebooks import repository

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "TEACHING.md", "CONTRIBUTING.md", "CHANGELOG.md")
FOLDERS = ("docs", "notebooks", "benchmarks", "benchmarks/results", "data", "figures")
ROOMS = {
    "images": "Pictures in, pictures out",
    "inference": "Upscale a picture",
    "degradation": "Estimate and apply degradations",
    "transport": "Optimal transport",
    "networks": "Networks",
    "weights": "Weights",
    "metrics": "Metrics",
    "evaluation": "Evaluation",
    "training": "Training",
    "course": "For the notebooks",
}
LINK = re.compile(r"(?P<open>\]\()(?P<target>[^)#\s:]+)(?P<anchor>#[\w-]+)?\)")


def stage(folder: Path) -> None:
    """Lay out below `folder` all that Sphinx reads."""
    shutil.rmtree(folder, ignore_errors=True)
    found = [ROOT / name for name in PAGES]
    for room in FOLDERS:
        found += (ROOT / room).glob("*.md")
    staged = {path.relative_to(ROOT).as_posix() for path in found}
    staged |= {f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    for path in found:
        write_page(folder, path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"), staged)
    entries = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = readable(path, folder / "extra" / "outputs", "../outputs")
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = with_links(cell.source, PurePosixPath("notebooks"), staged)
        nbformat.write(notebook, folder / "notebooks" / path.name)
        entries.append(f"{short_title(notebook)} </notebooks/{path.stem}>")
    for path in (ROOT / "figures").rglob("*"):
        if path.suffix in (".svg", ".png", ".webp"):
            copy = folder / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    index = (folder / "docs" / "index.md").read_text(encoding="utf-8")
    (folder / "docs" / "index.md").unlink()
    index = re.sub(r"\]\((?!http)(?:\.\./)?", lambda link: "](" + ("" if "../" in link[0] else "docs/"), index)
    index = index.replace("NOTEBOOKS", "\n".join(entries))
    (folder / "index.md").write_text(index.replace("ROOMS", "\n".join(write_api(folder / "api"))), encoding="utf-8")
    vendored.copy("mathjax", folder / "extra" / "mathjax")


def write_page(folder: Path, name: str, text: str, staged: set[str]) -> None:
    copy = folder / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    apart = "---\norphan: true\n---\n" if "/results/" in name else ""  # reached by links, not in the contents
    text = with_links(text, PurePosixPath(name).parent, staged)
    copy.write_text(apart + text, encoding="utf-8")


def with_links(text: str, folder: PurePosixPath, staged: set[str]) -> str:
    """`text` of a page in `folder` whose links to files that are no pages lead to the repository."""

    def replaced(link: re.Match[str]) -> str:
        target = posixpath.normpath(folder / link["target"])
        if target in staged or target.startswith("figures/") or not (ROOT / target).exists():
            return link[0]
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"{link['open']}{repository()}/{kind}/main/{target}{link['anchor'] or ''})"

    return LINK.sub(replaced, text)


def write_api(folder: Path) -> list[str]:
    """A page for each room of the package; returns their entries in the table of contents."""
    folder.mkdir(parents=True)
    for room, title in ROOMS.items():
        module = import_module(f"otsr.{room}")
        parts = [("", f"otsr.{room}")]
        if hasattr(module, "__path__") and not hasattr(module, "__all__"):
            inside = sorted(part.name for part in pkgutil.iter_modules(module.__path__) if part.name[0] != "_")
            parts += [(f"## {name}\n\n", f"otsr.{room}.{name}") for name in inside]
        text = "\n".join(f"{heading}{automodule(name)}" for heading, name in parts)
        (folder / f"{room}.md").write_text(f"# {title}: `otsr.{room}`\n\n{text}", encoding="utf-8")
    return [f"otsr.{room} </api/{room}>" for room in ROOMS]


def automodule(name: str) -> str:
    """The directive that documents a module: what its __all__ names, else what is defined in it."""
    imported = "   :imported-members:\n" if hasattr(import_module(name), "__all__") else ""
    return f"```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n{imported}```\n"


def build(out: Path) -> int:
    """Exit status of Sphinx, whose warnings are errors.

    Raises:
        FileExistsError: the folder holds something else than a site.
    """
    if out.exists() and any(out.iterdir()) and not (out / ".buildinfo").is_file():
        raise FileExistsError(f"{out} is not empty and holds no site; name an empty or a new folder")
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        stage(source)
        os.environ["OTSR_SITE_SOURCE"] = str(source)
        flags = [
            "-q",
            "-W",
            "--keep-going",
            "-b",
            "html",
            "-c",
            str(ROOT / "docs"),
            "-d",
            str(source / ".doctrees"),
        ]
        return sphinx([*flags, str(source), str(out)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "build" / "site")
    out = parser.parse_args().out.resolve()
    try:
        status = build(out)
    except FileExistsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if status == 0:
        print(f"Open {out / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
