"""Copy the benchmarks' main tables from benchmarks/results/ into README.md and benchmarks/README.md.

    python scripts/readme.py            # after a benchmark was run with --out

A table goes where a page says `<!-- table: NAME -->`: the first one below the heading that TABLES names, in NAME.md.
NAME/PART is another table of NAME.md; `<!-- table: NAME; rows: a, b -->` takes these rows only. Where NAME.md is not
there yet the page stays as it is. A test fails when the pages and the results differ.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "README.md", ROOT / "benchmarks" / "README.md")
TABLES = {
    "general": "## Three degradations",
    "general/artefacts": "## Artefacts",
    "quality": "## Test photos",
    "full_runs": "# Full runs",
    "training_cuda": "# Trainings on a GPU",
    "recipe_step": "# A step of a recipe",
    "which_transport": "# Which transport?",
    "twins": "## Along the way",
    "twins/gains": "## Details and their twins",
    "kernel_estimation": "**×2, noise 5/255**",
    "kernel_families": "# Families of blur",
    "inference": "## Speed and memory",
    "inference_cuda": "## Speed and memory",
    "training_step": "## RRDBNet 64/23",
    "data_loading": "# Loading training crops",
    "transport": "## Labels",
}
MARK = re.compile(r"<!-- table: (?P<name>[\w/]+)(?:; rows: (?P<rows>[^>]+))? -->")


def first_table(text: str, heading: str) -> list[str]:
    """Lines of the first Markdown table below the line that starts with `heading`."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(heading))
    top = next(i for i in range(start, len(lines)) if lines[i].startswith("|"))
    end = next((i for i in range(top, len(lines)) if not lines[i].startswith("|")), len(lines))
    return lines[top:end]


def table(name: str, rows: str | None) -> list[str] | None:
    """Lines of the table of that name; None if its benchmark has not been run.

    Raises:
        ValueError: a row that was asked for is not in it.
    """
    path = RESULTS / f"{name.partition('/')[0]}.md"
    if not path.exists():
        return None
    head, rule, *body = first_table(path.read_text(encoding="utf-8"), TABLES[name])
    if rows is None:
        return [head, rule, *body]
    by_name = {line.split("|")[1].strip(): line for line in body}
    missing = [row for row in rows.split(", ") if row not in by_name]
    if missing:
        raise ValueError(f"{path}: no row {', '.join(missing)}; it has {', '.join(by_name)}")
    return [head, rule, *(by_name[row] for row in rows.split(", "))]


def with_tables(page: str) -> str:
    """A page with every marked table replaced by that of the results."""
    lines: list[str] = []
    replaced = False
    for line in page.splitlines():
        replaced = replaced and line.startswith("|")
        if replaced:
            continue
        lines.append(line)
        mark = MARK.fullmatch(line)
        found = table(mark["name"], mark["rows"]) if mark else None
        lines += found or []
        replaced = found is not None
    return "\n".join(lines) + "\n"


def main() -> None:
    for path in PAGES:
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
