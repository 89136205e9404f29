"""Copy the benchmarks' main tables from benchmarks/results/ into README.md, at its `<!-- table: NAME -->` marks.

    python scripts/readme.py            # after a benchmark was run with --out

A table is the first one below the heading that TABLES names, in NAME.md; NAME/PART is another table of NAME.md. A test
fails when README and the results differ.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLES = {
    "full_runs": "# Full runs",
    "quality": "## Test photos",
    "which_transport": "# Which transport?",
    "twins": "## Along the way",
    "twins/gains": "## Details and their twins",
    "kernel_estimation": "**×2, noise 5/255**",
    "inference": "## Speed and memory",
    "training_step": "## RRDBNet 64/23",
    "data_loading": "# Loading training crops",
    "transport": "## Labels",
}


def first_table(text: str, heading: str) -> list[str]:
    """Lines of the first Markdown table below the line that starts with `heading`."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(heading))
    top = next(i for i in range(start, len(lines)) if lines[i].startswith("|"))
    end = next((i for i in range(top, len(lines)) if not lines[i].startswith("|")), len(lines))
    return lines[top:end]


def with_tables(readme: str) -> str:
    """README with every marked table replaced by that of the results."""
    lines: list[str] = []
    inside = False
    for line in readme.splitlines():
        inside = inside and line.startswith("|")
        if inside:
            continue
        lines.append(line)
        if line.startswith("<!-- table: "):
            name = line.removeprefix("<!-- table: ").removesuffix(" -->")
            file = ROOT / "benchmarks" / "results" / f"{name.partition('/')[0]}.md"
            lines += first_table(file.read_text(encoding="utf-8"), TABLES[name])
            inside = True
    return "\n".join(lines) + "\n"


def main() -> None:
    path = ROOT / "README.md"
    path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
