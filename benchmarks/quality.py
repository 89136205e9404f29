"""Which network restores phone photos best? The shipped weights beside bicubic interpolation and RealSR's generator.

    python benchmarks/quality.py --out benchmarks/results/quality.md     # 8 test photos, 3 draws each
    python benchmarks/quality.py --quick                                 # 3 photos, their middles, 1 draw

Two tables. (1) The test photos, which nothing was trained or tuned on, shrunk by 2 and degraded by blur kernels and
noise of the course's phone: six metrics with 95 % intervals, and differences, picture by picture, to RealSR's
generator. (2) The path of network interpolation from the weights trained for fidelity to those trained with
transport, on the validation photos: is it monotone? With --out also all numbers as JSON, and the plane of distortion
and perception as figures/quality.svg. Weights that are not here are left out, and said to be.
"""

from __future__ import annotations

import argparse
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from torch import nn
from tqdm import tqdm
from writing import save, save_figure

from otsr import Upscaler, evaluation, weights
from otsr.course.plots import COLOURS, use_house_style
from otsr.datasets import photos
from otsr.degradation import Degradation
from otsr.evaluation import BICUBIC, Table

ROOT = Path(__file__).parents[1]
NETWORKS = ("realsr-df2k", "psnr-small", "gan-small", "otsr-small")
PATH = ("psnr-small", "otsr-small")
STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
REFERENCE = "realsr-df2k"
CLEANUP = 2
_PATH = 1  # zorder of the line that joins a path, below its points


def here(names: Sequence[str]) -> dict[str, nn.Module]:
    """The networks whose weights are on this machine (a name of the catalogue, or a file)."""
    present = {entry.name for entry in weights.catalogue() if entry.present}
    return {name: weights.load(name) for name in names if name in present or Path(name).is_file()}


def measure(
    networks: Mapping[str, nn.Module],
    split: str,
    degradation: Degradation,
    *,
    count: int | None = None,
    side: int | None = None,
    draws: int = 1,
    device: str | torch.device = "auto",
) -> Table:
    """The table of one split of the course photos.

    Args:
        count: photos to take, None for all.
        side: of the middle window that is taken of each, in LR pixels; None for the whole.
    """
    scenes = evaluation.degraded(photos(split)[:count], degradation)
    if side:
        scenes = [evaluation.middle(scene, side, 4) for scene in scenes]
    upscalers = {name: Upscaler(one, device=device, precision="fp32") for name, one in networks.items()}
    with tqdm(desc=f"{split} photos", unit="photo", total=len(scenes), disable=None) as bar:
        table = evaluation.evaluate(upscalers, scenes, draws=draws, progress=lambda *_: bar.update())
    table.settings.update(data=f"photos/{split}", cleanup=CLEANUP, degradation=repr(degradation), seed=0)
    return table


def walk(ends: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The path of network interpolation from the first to the second."""
    fidelity, transport = ends.values()
    return {step(t): weights.blend(fidelity, transport, t) for t in STEPS}  # type: ignore[arg-type]


def step(t: float) -> str:
    return f"t = {t:g}"


@dataclass(frozen=True)
class Panel:
    """One drawing of the plane: which rows, and which of them the bars compare with; a path's rows are joined."""

    title: str
    table: Table
    rows: Sequence[str]
    reference: str
    joined: bool = False


def draw(panels: Sequence[Panel]) -> Figure:
    """PSNR-Y and ST-LPIPS of each row.

    A bar is the 95 % interval of the difference to the reference, picture by picture: photos differ far more than
    methods, so intervals of the means would say little about which method is better.
    """
    use_house_style()
    figure = Figure(figsize=(6.4 * len(panels), 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        bars = f"bars: 95 % interval of the difference to {panel.reference}"
        axes.set_title(panel.title, pad=28)
        axes.text(0.5, 1.03, bars, transform=axes.transAxes, ha="center", fontsize=11, color=COLOURS["LR"])
        axes.set(xlabel="PSNR-Y, dB (right is better)", ylabel="ST-LPIPS (down is better)")
        axes.ticklabel_format(useOffset=False)
        axes.locator_params(nbins=6, min_n_ticks=4)
        points = {row: _point(axes, panel, row) for row in panel.rows}
        if panel.joined:
            axes.plot(*zip(*points.values(), strict=True), color=COLOURS["map"], linewidth=1.5, zorder=_PATH)
        axes.margins(0.2, 0.16)
        figure.canvas.draw()
        _label(axes, points, {row: _colour(panel, row) for row in panel.rows})
    return figure


def _colour(panel: Panel, row: str) -> str:
    return COLOURS["LR" if row == BICUBIC else "map" if panel.joined else "generated"]


def _point(axes: Axes, panel: Panel, row: str) -> tuple[float, float]:
    """Draw a row's point and bars; where it is."""
    means, bars = [], []
    for key in ("psnr_y", "st_lpips"):
        mean, difference = (panel.table.interval(row, key), panel.table.difference(row, panel.reference, key))
        ends = (difference.mean - difference.low, difference.high - difference.mean)
        means.append(mean.mean)
        bars.append([[0.0 if math.isnan(end) else end] for end in ends])
    x, y = means
    axes.errorbar(x, y, bars[1], bars[0], "o", color=_colour(panel, row), elinewidth=1.2, ms=8)
    return x, y


def _label(axes: Axes, points: Mapping[str, tuple[float, float]], colours: Mapping[str, str]) -> None:
    """Names beside the points, each at the first place where it covers neither a name, a point nor the path."""
    renderer = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    drawn = list(axes.transData.transform(list(points.values())))
    for line in axes.get_lines():  # bars have lines of their own kind
        if line.get_zorder() == _PATH:
            for start, end in pairwise(axes.transData.transform(line.get_xydata())):
                drawn += [start + (end - start) * i / 20 for i in range(1, 20)]
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in drawn]
    for row, point in points.items():
        for reach in (9, 24, 40, 56):
            for right, up in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                text = axes.annotate(
                    row, point, (right * 9, up * reach), textcoords="offset points", color=colours[row], fontsize=13,
                    ha="left" if right > 0 else "right", va="bottom" if up > 0 else "top",
                )  # fmt: skip
                box = text.get_window_extent(renderer)
                if not any(box.overlaps(other) for other in taken):
                    break
                text.remove()
            else:
                continue
            taken.append(box)
            break


def report(arguments: argparse.Namespace) -> tuple[str, dict[str, object], Figure]:
    """Markdown, numbers, and the figure."""
    degradation = evaluation.phone_degradation(cleanup=CLEANUP)
    networks = here(arguments.weights)
    missing = [name for name in arguments.weights if name not in networks]
    protocol: dict[str, Any] = {"draws": arguments.draws}
    if arguments.quick:
        protocol |= {"count": 3, "side": 64, "draws": 1}
    table = measure(networks, "test", degradation, **protocol)
    against = REFERENCE if REFERENCE in networks else BICUBIC
    panels = [Panel("Test photos", table, table.rows, BICUBIC)]
    numbers: dict[str, object] = {"test": evaluation.to_json(table, against)}
    parts = [
        "# Quality on photos degraded as a phone does",
        f"torch {torch.__version__}, fp32 ({platform.machine()}). Made by "
        f"`python benchmarks/quality.py`. Border {table.settings['border']} pixels; draws of kernel and noise for each "
        f"photo, averaged within it: {table.settings['draws']}.",
        "## Test photos, clean-up 2, kernels and noise of the phone",
        evaluation.markdown(table, against),
    ]
    if missing:
        parts.append(f"Not here, so not measured: {', '.join(missing)}.")
    ends = here(arguments.path)
    if len(ends) == 2:
        blends = walk(ends)
        walked = measure(blends, "val", degradation, **protocol)
        title = " → ".join(Path(name).stem for name in arguments.path)
        panels.append(Panel(f"{title}, validation photos", walked, list(blends), step(0), joined=True))
        numbers["path"] = evaluation.to_json(walked, step(0))
        parts += [
            f"## Path from {arguments.path[0]} (t = 0) to {arguments.path[1]} (t = 1), validation photos",
            evaluation.markdown(walked, step(0)),
            evaluation.monotony(walked, list(blends)),
        ]
    return "\n\n".join(parts), numbers, draw(panels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", default=NETWORKS, help="names or paths")
    parser.add_argument("--path", nargs=2, default=PATH, metavar=("FIDELITY", "TRANSPORT"))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="3 photos, their middles, 1 draw")
    parser.add_argument("--out", type=Path, help="Markdown file to write, a .json beside it, figures/quality.svg")
    arguments = parser.parse_args()
    text, numbers, figure = report(arguments)
    print(text)
    if arguments.out:
        save(arguments.out, text, numbers)
        save_figure(ROOT / "figures" / "quality.svg", figure)


if __name__ == "__main__":
    main()
