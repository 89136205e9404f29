"""Make the small weights that travel with the package out of runs of `otsr train`; record them in SOURCES.tsv.

    otsr train configs/psnr-small.yml && otsr train configs/small.yml && otsr train configs/gan-small.yml
    python data/weights/make_small.py runs/psnr-small runs/otsr-small runs/gan-small

The best weights of each run in fp16, with the recipe, seed, steps, data and scores that the training wrote beside
them.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from make_st_lpips import HERE, record

from otsr import weights

START = "psnr-small"  # fidelity: the partner that the others are blended with


def main() -> int:
    for folder in map(Path, sys.argv[1:]):
        source, target = folder / "best.safetensors", HERE / f"{folder.name}.safetensors"
        notes = weights.read_metadata(source)
        del notes["architecture"]
        notes["licence"] = "MIT"
        if folder.name != START:
            notes["partner"] = notes["start"] = START
        weights.save(weights.load(source), target, notes, half=True)
        record(
            {
                "file": target.name,
                "what": f"generator ×4, recipe {notes['recipe']}, its best weights (step {notes['steps']}), fp16",
                "licence": "MIT",
                "author": "The OTSR authors",
                "source": "trained on photos/train, degraded by the phone crops' blur and noise; made by make_small.py",
                "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
            }
        )
        print(f"{target.name}: {target.stat().st_size / 1e6:.2f} MB, {notes['scores']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
