"""CUDA tests and benchmarks, and one table of what they say: `make gpu`.

    python scripts/gpu.py       about five minutes on one GPU

Everywhere else the CUDA tests are skipped, so who changes what runs on a GPU runs this on a machine that has one.
Needs no network where all is installed. The exit status is 1 where there is no CUDA device, or something failed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
TESTS = [path for path in sorted((ROOT / "tests" / "unit").rglob("test_*.py")) if "cuda" in path.read_text("utf-8")]
COMMANDS = {
    "tests": ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "cuda", *map(str, TESTS)],
    "inference": ["benchmarks/inference.py", "--device", "cuda"],
    "training step": ["benchmarks/training_step.py"],  # takes CUDA by itself
    "step of": ["benchmarks/recipe_step.py", "general-psnr", "general", "--set", "start=null"],
}
COLUMNS = ("ms", "seconds", "speed", "launches", "peak memory, MB", "predicted, MB")


def run(command: list[str]) -> tuple[bool, str]:
    """Whether a command did what it should, and what it printed, which is shown as well."""
    environment = os.environ | {
        "PYTHONUTF8": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=environment, stdout=subprocess.PIPE, encoding="utf-8"
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line.rstrip())
    return process.wait() == 0, "\n".join(lines)


def speeds(what: str, text: str) -> list[list[str]]:
    """One row of `COLUMNS` for each way in the Markdown tables of `text` that say how fast it is."""
    rows: list[list[str]] = []
    head: list[str] = []
    section = ""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            head = []
            section = f", {line[3:]}" if line.startswith("## RRDBNet") else section
        elif not head:
            head = cells
        elif {"ms", "speed"} & {*head} and set(cells[0]) != {"-"}:
            way = dict(reversed(list(zip(head, cells, strict=True))))  # of two columns "speed" the first
            rows.append([f"{what}{section}: {cells[0]}", *(way.get(column, "-") for column in COLUMNS)])
    return rows


def main() -> int:
    if not torch.cuda.is_available():
        print("No CUDA device here: nothing to test or to measure.", file=sys.stderr)
        return 1
    rows, failed = [], []
    for what, command in COMMANDS.items():
        print(f"== {what}", flush=True)
        good, text = run(command)
        if not good:
            failed.append(what)
        if what == "tests":
            counts = re.findall(r"\d+ (?:passed|failed|error|skipped)\w*", (text.splitlines() or [""])[-1])
            rows.append(["tests: " + ", ".join(counts or ["none ran"]), *"-" * len(COLUMNS)])
        rows += speeds(what, text)
    print(f"\n# {torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    for cells in (["what", *COLUMNS], ["---", *["---:"] * len(COLUMNS)], *rows):
        print("| " + " | ".join(cells) + " |")
    if failed:
        print(f"Failed: {', '.join(failed)}; the reasons stand above.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
