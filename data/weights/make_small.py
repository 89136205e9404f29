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


def publish(source: Path, file: str, notes: dict[str, str], row: dict[str, str]) -> None:
    """Write the weights of a run in fp16 beside this script, and their row into SOURCES.tsv.

    Args:
        source: weights that a training wrote.
        file: name of the copy.
        notes: metadata beside what the training wrote.
        row: of SOURCES.tsv, without file and sha256; {recipe} and {steps} in `what` become the training's.
    """
    elsewhere = ("architecture", "partner")  # the first is written anew, the second stands in the notes
    story = {key: value for key, value in weights.read_metadata(source).items() if key not in elsewhere}
    story |= notes
    target = HERE / file
    weights.save(weights.load(source), target, story, half=True)
    sha256 = hashlib.sha256(target.read_bytes()).hexdigest()
    record({**row, "file": file, "what": row["what"].format(**story), "sha256": sha256})
    print(f"{file}: {target.stat().st_size / 1e6:.2f} MB, {story['scores'] or 'not validated'}")


def main() -> int:
    for folder in map(Path, sys.argv[1:]):
        notes = {"licence": "MIT"}
        if folder.name != START:
            notes |= {"partner": START, "start": START}
        row = {
            "what": "generator ×4, recipe {recipe}, its best weights (step {steps}), fp16",
            "licence": "MIT",
            "author": "The OTSR authors",
            "source": "trained on photos/train, degraded by the phone crops' blur and noise; made by make_small.py",
        }
        publish(folder / "best.safetensors", f"{folder.name}.safetensors", notes, row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
