"""How benchmarks write what they found: a report in Markdown, its numbers as JSON, figures as SVG."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from otsr.images import atomic_path


def save(out: Path, text: str, numbers: object = None) -> None:
    """Markdown, and the numbers, if there are any, as JSON beside it."""
    content = {out: text}
    if numbers is not None:
        content[out.with_suffix(".json")] = json.dumps(numbers, indent=1, ensure_ascii=False)
    for path, lines in content.items():
        with atomic_path(path) as temporary:
            temporary.write_text(lines + "\n", encoding="utf-8")


def save_figure(path: Path, figure: Figure) -> None:
    """SVG whose text stays text; the same figure gives the same file."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "otsr"}), atomic_path(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    print(f"drawn: {path}", file=sys.stderr)
