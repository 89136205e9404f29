"""Does a network make any photo better, and does it add nothing that the photo does not have?

    python benchmarks/general.py --out benchmarks/results/general.md          # the named weights that are here
    python benchmarks/general.py --weights run/5000.safetensors --val         # a checkpoint, on the validation photos
    python benchmarks/general.py --weights --path psnr otsr --skip-rulers     # the OT weight's path alone
    python benchmarks/general.py --weights --steps run --skip-rulers --val    # every checkpoint of a folder
    python benchmarks/general.py --weights A B --against B --skip-rulers      # two trainings, picture by picture

Three degradations, written apart from the one that general weights are trained with: clean bicubic; Gaussian blur,
white or grey noise and JPEG; Gaussian blur, the course phone's own noise and mild JPEG. Then rulers of artefacts
(otsr.metrics.artefacts) on flat tiles of the phone's photos, a grey ramp, text and a neutral texture. Weights that are
not here are left out, and said to be.
"""

from __future__ import annotations

import argparse
import itertools
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from quality import ROOT, here, measure, step, walk
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from writing import save, save_figure

from otsr import evaluation, metrics, weights
from otsr.course.plots import COLOURS, use_house_style
from otsr.datasets import phone_crops, photos
from otsr.degradation import Degradation, NoisePool, collect_noise, kernels
from otsr.evaluation import BICUBIC, Table, aligned
from otsr.images import luma, read, resize
from otsr.machine import choose_device

SCALE = 4
NETWORKS = (
    "realsr-df2k", "realesrgan-x4plus", "psnr-small", "gan-small", "otsr-small", "psnr", "otsr",
)  # fmt: skip
REFERENCE = "realesrgan-x4plus"
CLEAN, JPEG, PHONE = "clean bicubic", "blur, noise, JPEG", "blur, phone noise"
GAUSSIANS = (
    (1.2, 1.2, 0),
    (1.8, 1.8, 0),
    (2.4, 2.4, 0),
    (3, 3, 0),
    (2.4, 1.2, 30),
    (3, 1.5, 75),
    (3, 2, 150),
)
SIGMAS = (3, 4.5, 6, 8)  # of the noise, grey levels
TILE = 96  # LR pixels
RESAVED = 75  # quality of a JPEG as messengers make it
# The rule below passes it over, as it is shaded, but it is bare: worms show here first.
WALL = ("iso0132_mixed", 400, 300)


def degradations() -> dict[str, Degradation]:
    """Blur in HR pixels (σ along two axes, degrees); every photo's kernel, noise and quality follow from its name."""
    blur = torch.stack([kernels.gaussian(26, a**2, b**2, angle) for a, b, angle in GAUSSIANS])
    phone = collect_noise(phone_crops(), "otsr", 64)
    return {
        CLEAN: Degradation(SCALE, cleanup=2),
        JPEG: Degradation(SCALE, blur, synthetic_noise(), (60, 85), cleanup=2),
        PHONE: Degradation(SCALE, blur, phone, (88, 92), cleanup=2),
    }


def synthetic_noise() -> NoisePool:
    """White noise of each σ, of three channels and of one: 8 patches of each, each kind a source of its own."""
    generator = torch.Generator().manual_seed(0)
    patches, sources = [], []
    for sigma, channels in itertools.product(SIGMAS, (3, 1)):
        noise = 128 + sigma * torch.randn(8, channels, 64, 64, generator=generator)
        patches.append(noise.expand(8, 3, 64, 64).round().clamp(0, 255).to(torch.uint8))
        sources += [f"σ {sigma:g}, {channels} channels"] * 8
    return NoisePool(torch.cat(patches), sources, [""] * len(sources))


def summary(tables: Mapping[str, Table]) -> str:
    """PSNR-Y and ST-LPIPS of every row under every degradation."""
    head = [f"{title}: {name}" for title in tables for name in ("PSNR-Y ↑", "ST-LPIPS ↓")]
    formats = ("{:.2f}", "{:.3f}") * len(tables)
    rows = next(iter(tables.values())).rows
    return aligned(
        ["", *head],
        [[row, *map(str.format, formats, six_numbers(tables, row))] for row in rows],
    )


def six_numbers(tables: Mapping[str, Table], row: str) -> list[float]:
    """PSNR-Y and ST-LPIPS, degradation by degradation."""
    return [float(table.per_image(row, key).mean()) for table in tables.values() for key in ("psnr_y", "st_lpips")]


# ---- Artefacts


class Tile(NamedTuple):
    """A flat square of a phone's photo, `TILE` pixels a side."""

    photo: str
    left: int
    top: int
    image: Tensor

    def __str__(self) -> str:
        return f"{self.photo} at {self.left},{self.top}"


def flat_tiles() -> list[Tile]:
    """From each smooth and mixed crop the two tiles that are nearest to a plane, corners at multiples of 100; the wall.

    How near: the deviation of luma's means over 8×8 pixels from the plane that fits them best, which noise hardly
    changes.
    """
    chosen = []
    for path in sorted(phone_crops("smooth") + phone_crops("mixed")):
        photo = read(path)
        places = itertools.product(*(range(0, side - TILE + 1, 100) for side in photo.shape[-2:]))
        tiles = [Tile(path.stem, x, y, photo[:, y : y + TILE, x : x + TILE]) for y, x in places]
        wall = [tile for tile in tiles if tile[:3] == WALL]
        chosen += sorted(tiles, key=lambda tile: unevenness(tile.image))[:2] + wall
    return chosen


def unevenness(image: Tensor) -> float:
    means = F.avg_pool2d(luma(image), 8)[0].double()
    rows, columns = means.shape
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    plane = torch.stack([torch.ones_like(x), x, y], -1).reshape(-1, 3).double()
    values = means.reshape(-1, 1)
    return float((values - plane @ torch.linalg.lstsq(plane, values).solution).std())


def middle(photo: Tensor, side: int) -> Tensor:
    y, x = ((length - side) // 2 for length in photo.shape[-2:])
    return photo[:, y : y + side, x : x + side]


def ramp() -> Tensor:
    """Grey that rises to the right and, more slowly, downwards."""
    line = torch.linspace(0, 1, 64)
    return (0.2 + 0.4 * line[None, :] + 0.2 * line[:, None]).expand(3, -1, -1)


def text() -> Tensor:
    """Black words on white, as in a scanned page: no colour anywhere."""
    page = Image.new("L", (128, 48), 255)
    for line, words in enumerate(("The quick brown fox 0123", "jumps over lazy dog @ 8 px", "Black text on white")):
        ImageDraw.Draw(page).text((2, 2 + 15 * line), words, fill=0)
    return read(page)


def neutral_texture() -> Tensor:
    """Fine and coarse grey texture of full contrast, R = G = B."""
    noise = np.random.default_rng(0).standard_normal((3, 96, 96))
    layers = [
        layer / layer.std() for layer in (gaussian_filter(n, s) for n, s in zip(noise, (0.6, 1.5, 4), strict=True))
    ]
    return torch.from_numpy((0.5 + 0.15 * sum(layers)).clip(0, 1)).float().expand(3, -1, -1).contiguous()


@torch.inference_mode()
def upscaled(network: nn.Module | None, images: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """As a float picture, not rounded to 8 bits as a file's is: the rulers measure less than a grey level."""
    if network is None:
        return [resize(image, SCALE).clamp(0, 1) for image in images]
    network = network.to(device)
    return [network(image[None].to(device))[0].float().clamp(0, 1).cpu() for image in images]


def artefacts(
    network: nn.Module | None, tiles: Sequence[Tile], busy: Sequence[Tensor], device: torch.device
) -> dict[str, Any]:
    """What each ruler says: one number a tile or busy picture, one for each synthetic picture, or three for R, G, B."""
    real = [tile.image for tile in tiles]
    saved = [Degradation(1, jpeg=(RESAVED, RESAVED)).apply(image, seed=0) for image in real]
    grey = torch.full((3, 64, 64), 0.5)
    made = {"ramp": ramp(), "flat": grey, "text": text(), "neutral": neutral_texture()}
    pictures = iter(upscaled(network, [*real, *saved, *made.values(), *busy], device))
    pairs, blocks = ([(next(pictures), lr) for lr in images] for images in (real, saved))
    drawn = {name: (next(pictures), lr) for name, lr in made.items()}
    shifts = [metrics.colour_shift(sr, lr) for sr, lr in pairs]
    return {
        "noise_gain": [float(metrics.noise_gain(sr, lr)) for sr, lr in pairs],
        "block_gain": [float(metrics.block_gain(sr, lr, SCALE)) for sr, lr in pairs],
        "block_gain_resaved": [float(metrics.block_gain(sr, lr, SCALE)) for sr, lr in blocks],
        "checkerboard": {name: float(metrics.checkerboard(drawn[name][0], SCALE)) for name in ("ramp", "flat")},
        "lattice": [float(metrics.checkerboard(sr, SCALE)) for sr in pictures],
        "colour_shift": {
            **{name: metrics.colour_shift(*drawn[name]).tolist() for name in ("text", "neutral")},
            "phone": max(shifts, key=lambda shift: float(shift.abs().max())).tolist(),
        },
    }


def spread(values: Sequence[float], digits: int) -> str:
    """The median, and the largest in brackets."""
    return f"{np.median(values):.{digits}f} ({max(values):.{digits}f})"


def artefact_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    titles = ("noise gain", "block gain", f"saved at {RESAVED}")
    gains = dict(zip(("noise_gain", "block_gain", "block_gain_resaved"), titles, strict=True))

    def row(name: str, seen: Mapping[str, Any]) -> list[str]:
        peaks, shifts = seen["checkerboard"].values(), seen["colour_shift"].values()
        return [
            name,
            *(spread(seen[key], 2) for key in gains),
            *(f"{peak:.1f}" for peak in peaks),
            spread(seen["lattice"], 1),
            *(" ".join(f"{channel:+.1f}" for channel in shift) for shift in shifts),
        ]

    head = ["", *gains.values(), "lattice, ramp", "flat", "photos", "shift, text", "neutral texture", "phone"]
    return aligned(head, [row(name, seen) for name, seen in found.items()])


def rulers(networks: Mapping[str, nn.Module], device: torch.device) -> tuple[list[str], dict[str, Any]]:
    """The section on artefacts, and its numbers."""
    tiles, whole = flat_tiles(), [read(path) for path in photos("test")]
    busy = [middle(resize(photo, 0.5).clamp(0, 1), TILE) for photo in whole]
    real = [float(metrics.checkerboard(middle(photo, SCALE * TILE), SCALE)) for photo in whole]
    rows = {BICUBIC: None, **networks}
    found = {name: artefacts(network, tiles, busy, device) for name, network in rows.items()}
    lines = [
        "## Artefacts",
        f"Median (largest) gain over {len(tiles)} flat tiles of the phone's photos, bicubic being 1; block gain also "
        f"after the tiles were saved as JPEG of quality {RESAVED}, for the phone's own grid is faint. Peaks at the "
        "periods of upsampling over their neighbours, on a grey ramp, flat grey, and the middles of the test photos, "
        f"shrunk by 2 (median, largest; as large a part of the photos themselves has {spread(real, 1)}). Shift of the "
        "means of R, G, B in grey levels; of the phone's tiles that with the largest.",
        artefact_table(found),
        f"Tiles of {TILE}×{TILE} pixels, column and row of their corner: {'; '.join(map(str, tiles))}.",
    ]
    return lines, {"tiles": [str(tile) for tile in tiles], **found}


# ---- Along a training, and the report


def checkpoints(folder: Path) -> dict[str, nn.Module]:
    """Weights named by their step, in the order of steps.

    Raises:
        ValueError: none is there.
    """
    files = sorted((p for p in folder.glob("*.safetensors") if p.stem.isdigit()), key=lambda p: int(p.stem))
    if not files:
        raise ValueError(f"{folder}: no weights named by their step, such as 1000.safetensors")
    return {path.stem: weights.load(path) for path in files}


def draw(tables: Mapping[str, Table], steps: Sequence[str]) -> Figure:
    """PSNR-Y and ST-LPIPS under each degradation, against the steps."""
    use_house_style()
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    styles = zip(tables, ("real", "generated", "map"), "o^s", strict=True)
    panels = figure.subplots(1, 2)
    for place, (title, role, marker) in enumerate(styles):
        numbers = np.array([six_numbers(tables, row)[2 * place : 2 * place + 2] for row in steps])
        for axes, values in zip(panels, numbers.T, strict=True):
            axes.plot([int(row) for row in steps], values, f"{marker}-", color=COLOURS[role], label=title)
    for axes, label in zip(panels, ("PSNR-Y, dB (up is better)", "ST-LPIPS (down is better)"), strict=True):
        axes.set(xlabel="training steps", ylabel=label)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def report(arguments: argparse.Namespace) -> tuple[str, dict[str, Any], Figure | None]:
    """Markdown, numbers, and the figure of the steps if they were asked for."""
    split = "val" if arguments.val else "test"
    device = choose_device(arguments.device)
    protocol = {"draws": arguments.draws, "device": device}
    networks, chosen = here(arguments.weights), degradations()
    missing = [name for name in arguments.weights if name not in networks]
    against = arguments.against or (REFERENCE if REFERENCE in networks else BICUBIC)

    def measured(rows: Mapping[str, nn.Module], names: Sequence[str] = tuple(chosen)) -> dict[str, Table]:
        return {name: measure(rows, split, chosen[name], **protocol) for name in names}

    parts = [
        "# Any photo",
        f"torch {torch.__version__}, fp32 ({platform.machine()}, {device.type}), {split} photos shrunk by 2. Made by "
        f"`python benchmarks/general.py`; draws of kernel and noise for each photo: {arguments.draws}.",
    ]
    numbers: dict[str, Any] = {}
    if networks:
        tables = measured(networks)
        parts += ["## Three degradations", summary(tables)]
        for name, table in tables.items():
            parts += [f"### {name}", evaluation.markdown(table, against)]
        numbers |= {name: evaluation.to_json(table, against) for name, table in tables.items()}
    if missing:
        parts.append(f"Not here, so not measured: {', '.join(missing)}.")
    if networks and not arguments.skip_rulers:
        lines, numbers["artefacts"] = rulers(networks, device)
        parts += lines
    ends = here(arguments.path or ())
    if len(ends) == 2:
        walked = measured(walk(ends), [JPEG])[JPEG]
        numbers["path"] = evaluation.to_json(walked, step(0))
        parts += [
            f"## Path from {arguments.path[0]} (t = 0) to {arguments.path[1]} (t = 1): {JPEG}",
            evaluation.markdown(walked, step(0)),
            evaluation.monotony(walked, walked.rows[1:]),
        ]
    figure = None
    if arguments.steps:
        trained = checkpoints(arguments.steps)
        tables = measured(trained)
        numbers["steps"] = {row: six_numbers(tables, row) for row in (BICUBIC, *trained)}
        parts += ["## Along the training", summary(tables)]
        figure = draw(tables, list(trained))
    return "\n\n".join(parts), numbers, figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="*", default=NETWORKS, help="names or paths")
    parser.add_argument("--against", help="one of them: the row that the others are compared with")
    parser.add_argument("--val", action="store_true", help="validation photos, to choose weights by")
    parser.add_argument("--draws", type=int, default=1, help="of kernel and noise for each photo")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--skip-rulers", action="store_true")
    parser.add_argument("--path", nargs=2, metavar=("FIDELITY", "TRANSPORT"))
    parser.add_argument("--steps", type=Path, help="folder of weights named by their step: 1000.safetensors, ...")
    parser.add_argument("--out", type=Path, help="Markdown file to write; JSON goes beside it")
    arguments = parser.parse_args()
    lines, numbers, figure = report(arguments)
    print(lines)
    if arguments.out:
        save(arguments.out, lines, numbers)
    if figure:
        save_figure(ROOT / "figures" / "general_steps.svg", figure)


if __name__ == "__main__":
    main()
