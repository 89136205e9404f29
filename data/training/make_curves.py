"""Make curves.json, what notebook 07 plots, out of the folders of finished runs; record it in SOURCES.tsv.

    otsr train configs/psnr-small.yml && otsr train configs/small.yml && otsr train configs/gan-small.yml
    python data/training/make_curves.py runs/psnr-small runs/otsr-small runs/gan-small

Of each run: its losses as TensorBoard has them, the scores of validation.tsv, and the median time of a step.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import sys
from pathlib import Path
from statistics import median
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from otsr.images import atomic_path

HERE = Path(__file__).parent
NAME = "curves.json"
COLUMNS = ["file", "what", "licence", "author", "source", "sha256"]


def curves(folder: Path) -> dict[str, Any]:
    """Losses and scores of a run by name, each a list of [step, value]; and how long a step took, in seconds."""
    journal = EventAccumulator(str(folder / "log"), size_guidance={"scalars": 0, "images": 1})
    journal.Reload()
    names = [tag for tag in journal.Tags()["scalars"] if tag.startswith("loss/") and tag != "loss/gradient"]
    losses = {
        tag.removeprefix("loss/"): [[e.step, round(e.value, 5)] for e in journal.Scalars(tag)]
        for tag in names
    }
    with (folder / "validation.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    scores = {key: [[int(r["step"]), float(r[key])] for r in rows] for key in rows[0] if key != "step"}
    pace = median(event.value for event in journal.Scalars("speed/seconds a step"))
    return {"losses": losses, "scores": scores, "seconds a step": round(pace, 2)}


def main() -> int:
    logging.disable(logging.WARNING)  # TensorBoard's, of runs that were begun twice
    folders = [Path(name) for name in sys.argv[1:]]
    text = json.dumps({folder.name: curves(folder) for folder in folders}, separators=(",", ":")) + "\n"
    with atomic_path(HERE / NAME) as temporary:
        temporary.write_text(text.replace('"losses"', '\n"losses"'), encoding="utf-8")
    row = {
        "file": NAME,
        "what": f"losses and scores along the trainings {', '.join(folder.name for folder in folders)}",
        "licence": "MIT",
        "author": "The OTSR authors",
        "source": "written by otsr train on 2 CPU cores that were busy; made by make_curves.py",
        "sha256": hashlib.sha256((HERE / NAME).read_bytes()).hexdigest(),
    }
    table = HERE / "SOURCES.tsv"
    with atomic_path(table) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerow(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
