"""Make the records of long trainings that notebook 07 reads, and say in SOURCES.tsv where they come from.

    otsr train configs/psnr-small.yml && otsr train configs/small.yml && otsr train configs/gan-small.yml
    python benchmarks/which_transport.py --out benchmarks/results/which_transport.md
    python benchmarks/twins.py --out benchmarks/results/twins.md
    python data/training/make_curves.py runs/psnr-small runs/otsr-small runs/gan-small

curves.json           of each run: its losses as TensorBoard has them, the scores of validation.tsv, the median time of
                      a step
which_transport.json  scores of each term and seed, as the benchmark wrote them
twins.json            scores along the way of each mixture of adversary and transport, likewise

Without folders curves.json stays as it is. README's table of full runs,
benchmarks/results/full_runs.md, is made of it. general.json and its picture are made by make_general.py.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import shutil
import sys
from pathlib import Path
from statistics import median
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from otsr.images import atomic_path

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "benchmarks" / "results"
PICTURES = ("CC-BY-SA-4.0", "Joao Eriberto Mota Filho, Dohduhdah; The OTSR authors")
DEVICE = "2 CPU cores that were busy with other things too"
FILES = {
    "curves.json": (
        "losses and scores along the trainings psnr-small, otsr-small, gan-small",
        f"otsr train on {DEVICE}; make_curves.py",
    ),
    "general.json": (
        "losses and scores along general-psnr, its pruned start, general and taught; the pace of df2k",
        "otsr train on one NVIDIA H100 and one H200; make_general.py",
    ),
    "general_steps.webp": (
        "two crops enlarged by the weights along the training general",
        "cow.webp and iso1792_texture.jpg; make_general.py",
    ),
    "which_transport.json": (
        "scores of 19 terms on the validation photos, three seeds each",
        f"benchmarks/which_transport.py on {DEVICE}",
    ),
    "twins.json": (
        "scores of twelve mixtures of adversary and transport along 400 steps, validation photos",
        f"benchmarks/twins.py on {DEVICE}",
    ),
}


def curves(folder: Path) -> dict[str, Any]:
    """Losses and scores of a run by name, each a list of [step, value]; and how long a step took, in seconds."""
    journal = EventAccumulator(str(folder / "log"), size_guidance={"scalars": 0, "images": 1})
    journal.Reload()
    names = [tag for tag in journal.Tags()["scalars"] if tag.startswith("loss/") and tag != "loss/gradient"]
    losses = {tag.removeprefix("loss/"): [[e.step, round(e.value, 5)] for e in journal.Scalars(tag)] for tag in names}
    with (folder / "validation.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    scores = {key: [[int(r["step"]), float(r[key])] for r in rows] for key in rows[0] if key != "step"}
    pace = median(event.value for event in journal.Scalars("speed/seconds a step"))
    return {"losses": losses, "scores": scores, "seconds a step": round(pace, 2)}


def full_runs(found: dict[str, Any]) -> str:
    """Markdown: what the recorded trainings took and reached, and on what device."""
    lines = [
        "# Full runs",
        "",
        f"{DEVICE}. Scores of the weights that were kept (lowest ST-LPIPS for those with features, highest PSNR-Y "
        "otherwise), on the six validation photos.",
        "",
        "| recipe | device | steps | seconds a step | minutes | kept | PSNR-Y ↑ | ST-LPIPS ↓ |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, run in found.items():
        quality, likeness = run["scores"]["psnr_y"], run["scores"]["st_lpips"]
        best = min(range(len(quality)), key=lambda i: -quality[i][1] if name == "psnr-small" else likeness[i][1])
        steps, pace = quality[-1][0], run["seconds a step"]
        lines.append(
            f"| {name} | CPU | {steps} | {pace:.2f} | {steps * pace / 60:.0f} | {quality[best][0]} "
            f"| {quality[best][1]:.2f} | {likeness[best][1]:.3f} |"
        )
    lines.append("| df2k | H200 | 120 of 40001 | 0.15 | | | | |")
    lines.append("| dped | CUDA | not yet | | | | | |")
    return "\n".join(lines) + "\n"


def main() -> int:
    logging.disable(logging.WARNING)  # TensorBoard's, of runs that were begun twice
    folders = [Path(name) for name in sys.argv[1:]]
    if folders:
        text = json.dumps({folder.name: curves(folder) for folder in folders}, separators=(",", ":")) + "\n"
        with atomic_path(HERE / "curves.json") as temporary:
            temporary.write_text(text.replace('"losses"', '\n"losses"'), encoding="utf-8")
    found = json.loads((HERE / "curves.json").read_text(encoding="utf-8"))
    with atomic_path(RESULTS / "full_runs.md") as temporary:
        temporary.write_text(full_runs(found), encoding="utf-8")
    for name in ("which_transport.json", "twins.json"):
        shutil.copyfile(RESULTS / name, HERE / name)
    record()
    return 0


def record() -> None:
    """Write SOURCES.tsv: name, what it is, source of each file."""
    table = HERE / "SOURCES.tsv"
    with atomic_path(table) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(["file", "what", "licence", "author", "source", "sha256"])
        for name, (what, source) in FILES.items():
            digest = hashlib.sha256((HERE / name).read_bytes()).hexdigest()
            rights = PICTURES if name.endswith(".webp") else ("MIT", "The OTSR authors")
            writer.writerow([name, what, *rights, source, digest])


if __name__ == "__main__":
    sys.exit(main())
