"""Make the record of trainings for any photo on a GPU, which notebook 07 reads.

    otsr train general-psnr 2> general-psnr.log; otsr train general 2> general.log     # with CUDA
    otsr train general --set steps=3991 -o runs/longer 2> longer.log
    otsr train taught 2> taught.log
    python data/training/make_general.py FOLDER

FOLDER holds the four logs; pruned/0, 300 and 3870.safetensors, the pruned start, after 300 steps on two CPU cores, and
after the whole first training; and steps/0, 998, 1996, 2994 and 3991.safetensors, along the longer one. Made are
general.json, losses, devices, and the scores of those weights on the middles of the validation photos (the degradation
"blur, noise, JPEG" of benchmarks/general.py); and general_steps.webp, what those of the longer one make of two crops.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "benchmarks"), str(Path(__file__).parent)]

import general  # noqa: E402  the benchmark
from make_curves import HERE, record  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from otsr import evaluation  # noqa: E402
from otsr.course.plots import frame, use_house_style  # noqa: E402
from otsr.datasets import phone_crops, photos  # noqa: E402
from otsr.images import read, resize  # noqa: E402
from otsr.training.losses import tiles  # noqa: E402
from otsr.transport import potentials, quadratic_cost  # noqa: E402

# What the logs do not say; use and launches are those of `nvidia-smi` and torch.profiler during the same runs.
DEVICES = {
    "general-psnr": {"device": "one NVIDIA H100", "in use": "100 %", "launches a step": 57},
    "general": {"device": "one NVIDIA H200", "in use": "68 to 89 %", "launches a step": 1049},
    "longer": {"device": "one NVIDIA H200", "in use": "68 to 89 %", "launches a step": 1049},
    "taught": {"device": "half an NVIDIA H200"},  # a second training ran beside it
}
# The paper's recipe, begun to be timed, with patches of 32 pixels and then with today's of 64 (and VGG16 in place of
# VGG19, which costs a little less). Use is the mean of what `nvidia-smi` said each second of the last steps.
DF2K = {"device": "one NVIDIA H200", "in use": "8 %", "seconds a step": 0.768, "steps": 40}
DF2K_NOW = {"device": "one NVIDIA H200", "seconds a step": 0.152, "steps": 120, "labels": 180}
PATCHES, PATCH = 720, 32  # of its batch, and their side
TERMS = ("pixel", "perceptual", "transport", "gan")
SIDE = 72  # of the middle of a photo that is measured, LR pixels
SIGHTS = ((None, 20, 27), ("iso1792_texture", 260, 572))  # the cow; a dog: top and left
SIGHT = 40  # their side, LR pixels


def read_log(path: Path) -> dict[str, Any]:
    """Losses of a training by name, each a list of [step, value], and the median time of a step, in seconds."""
    losses: dict[str, list[list[float]]] = {}
    paces = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if found := re.match(r"step +([\d,]+)/", line):
            step = int(found[1].replace(",", ""))
            for name, value in re.findall(rf"({'|'.join(TERMS)}) ([\d.]+)", line):
                losses.setdefault(name, []).append([step, float(value)])
            paces.append(float(re.search(r"([\d.]+) s/step", line)[1]))  # type: ignore[index]
    return {"seconds a step": median(paces), "losses": losses}


def scores(folders: dict[str, Path]) -> dict[str, dict[str, list[float]]]:
    """[PSNR-Y, ST-LPIPS] of bicubic and of the weights in each folder, by step."""
    networks = {
        f"{name} {step}": network
        for name, folder in folders.items()
        for step, network in general.checkpoints(folder).items()
    }
    degradation = general.degradations()[general.JPEG]
    table = general.measure(networks, "val", degradation, side=SIDE, device=torch.device("cpu"))
    rows = {row: [round(value, 4) for value in general.six_numbers({"": table}, row)] for row in table.rows}
    of = {name: {row.split()[1]: rows[row] for row in networks if row.startswith(name)} for name in folders}
    return {"bicubic": {"0": rows[evaluation.BICUBIC]}, **of}


def seconds_of_labels() -> float:
    """What the labels of such a batch take here, on one core: of patches of photos, and of the same photos blurred."""
    torch.set_num_threads(1)
    pictures = [read(path)[:, :480, :640] for path in photos("train")]
    blurred = [resize(resize(picture, 1 / 4), 4) for picture in pictures]
    drawn = torch.randperm(len(pictures) * 300, generator=torch.Generator().manual_seed(0))
    first, second = drawn[:PATCHES], drawn[PATCHES : 2 * PATCHES]
    real, fake = (tiles(torch.stack(side), PATCH)[of] for side, of in ((pictures, first), (blurred, second)))
    potentials(quadratic_cost(real[:2], fake[:2]))  # which imports POT
    started = time.perf_counter()
    potentials(quadratic_cost(real, fake))
    return time.perf_counter() - started


def sights() -> list[Tensor]:
    """The LR crops of the picture: of a validation photo degraded with blur, noise and JPEG, and of a phone's photo."""
    cow = next(path for path in photos("val") if path.stem == "cow")
    [scene] = evaluation.degraded([cow], general.degradations()[general.JPEG])
    found = []
    for name, top, left in SIGHTS:
        lr = scene.draw(0).lr if name is None else read(next(p for p in phone_crops() if p.stem == name))
        found.append(lr[:, top : top + SIGHT, left : left + SIGHT])
    return found


def draw(folder: Path) -> Figure:
    """A row for each crop: bicubic, and what the weights in `folder` make of it, by step."""
    use_house_style()
    networks = general.checkpoints(folder)
    figure = Figure(figsize=(2.3 * (1 + len(networks)), 5), layout="constrained")
    panels = figure.subplots(len(SIGHTS), 1 + len(networks))
    for row, (lr, axes) in enumerate(zip(sights(), panels, strict=True)):
        made = {"bicubic": resize(lr, 4)}
        with torch.no_grad():
            made |= {f"step {int(step):,}": network(lr[None])[0] for step, network in networks.items()}
        for axis, (title, sr) in zip(axes, made.items(), strict=True):
            pixels = sr.clamp(0, 1).permute(1, 2, 0).numpy()
            frame(axis, pixels, "generated", "" if row else title)
    return figure


def main() -> None:
    folder = Path(sys.argv[1])
    found: dict[str, Any] = {name: DEVICES[name] | read_log(folder / f"{name}.log") for name in DEVICES}
    quality = {"quality": 85, "method": 6}
    draw(folder / "steps").savefig(HERE / "general_steps.webp", dpi=100, pil_kwargs=quality)
    found["df2k"] = DF2K | {"labels": round(seconds_of_labels(), 1), "now": DF2K_NOW}
    found["scores"] = scores({name: folder / name for name in ("pruned", "steps")})
    text = json.dumps(found, separators=(",", ":")).replace('"losses"', '\n"losses"')
    (HERE / "general.json").write_text(text + "\n", encoding="utf-8")
    record()


if __name__ == "__main__":
    main()
