"""Is transport better than an adversary whose weight was tuned as hard? Nine mixtures of both.

    python benchmarks/twins.py --out benchmarks/results/twins.md     # 9 trainings of 400 steps, 45 minutes on 2 cores
    python benchmarks/twins.py --quick                               # two steps of two mixtures: does it run?

All go on from psnr-small with the data, crops and optimiser of configs/small.yml, longer than in which_transport.py's
table, and differ in the weights of three terms: features place by place, RaGAN, transport of features in windows.
Scores on the validation photos along the way say who learns early and who late; "own ruler" is the transport term
itself on those photos. The weights after the last step are compared on the test photos, picture by picture, with the
RaGAN that is transport's twin: on the validation photos the nearest to it in PSNR. With --out also the scores along
the way as .json, and figures/twins.svg. Finished trainings are kept in runs/twins and not repeated.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import nn
from tqdm import tqdm

from otsr import evaluation, weights
from otsr.course.plots import COLOURS, use_house_style
from otsr.datasets import photos
from otsr.evaluation import Table
from otsr.images import atomic_path
from otsr.networks.perceptual import backbone
from otsr.training import load_config, train
from otsr.training.checkpoints import NAME as CHECKPOINT
from otsr.training.config import Transport
from otsr.training.losses import transport_distance

ROOT = Path(__file__).parents[1]
RUNS = Path("runs") / "twins"
STEPS = 400
Scores = list[dict[str, float]]  # of a training: a row of validation.tsv each


@dataclass(frozen=True)
class Mixture:
    """The weights of three terms beside L1: features place by place, RaGAN, transport of features in windows."""

    features: float
    ragan: float
    transport: float

    @property
    def name(self) -> str:
        parts = [
            f"{words} × {weight:g}"
            for words, weight in (("RaGAN", self.ragan), ("transport", self.transport))
            if weight
        ]
        return " + ".join(parts) + (", no features" if not self.features else "")

    @property
    def kind(self) -> str:
        return "RaGAN" if not self.transport else "transport" if not self.ragan else "both"

    @property
    def recipe(self) -> Path:
        return ROOT / "configs" / ("gan-small.yml" if self.ragan else "small.yml")


MIXTURES = (
    *(Mixture(0.03, weight, 0) for weight in (0.0075, 0.015, 0.03, 0.06)),
    *(Mixture(0.03, 0, weight) for weight in (0.012, 0.03)),
    Mixture(0.03, 0.0075, 0.012),
    Mixture(0.03, 0.03, 0.03),
    Mixture(0, 0.015, 0.03),
)
COLOUR = {"RaGAN": COLOURS["generated"], "transport": COLOURS["map"], "both": COLOURS["LR"]}


def settings(mixture: Mixture, arguments: argparse.Namespace) -> list[str]:
    """What a training overrides in its recipe."""
    every = max(1, arguments.steps // 4)
    chosen = [
        "name=twins", f"steps={arguments.steps}", "start=psnr-small", "ema=0.99",
        f"losses.perceptual={{weight: {mixture.features}, backbone: {arguments.backbone}}}",
        f"losses.transport.backbone={arguments.backbone}",
        f"losses.transport.weight={mixture.transport}", f"losses.gan.weight={mixture.ragan}",
        f"every={{validate: {every}, checkpoint: {every}, log: 25, pictures: {10 * arguments.steps}}}",
    ]  # fmt: skip
    return [*chosen, "validation.images=1"] if arguments.quick else chosen


def trained(mixture: Mixture, arguments: argparse.Namespace) -> tuple[Scores, nn.Module]:
    """Scores along a training and the network at its end; a finished training is read."""
    folder = RUNS / f"{mixture.features}-{mixture.ragan}-{mixture.transport}-{arguments.steps}"
    if not (folder / CHECKPOINT).exists():
        train(load_config(mixture.recipe, settings(mixture, arguments)), folder, progress=False)
    with (folder / "validation.tsv").open(encoding="utf-8", newline="") as file:
        rows = [
            {key: float(value) for key, value in row.items()} for row in csv.DictReader(file, delimiter="\t")
        ]
    return rows, weights.load(str(folder / "last.safetensors"))


@torch.no_grad()
def own_ruler(network: nn.Module, term: Transport) -> float:
    """Mean transport term on the validation photos: what transport trains for, as its own backbone sees it."""
    eye, found = backbone(term.backbone), []
    for scene in evaluation.degraded(photos("val"), evaluation.phone_degradation(cleanup=1.5)):
        pair = scene.draw(0)
        assert pair.hr is not None
        sr, hr = (eye(picture[None]) for picture in (network(pair.lr[None])[0].clamp(0, 1), pair.hr))
        found.append(float(transport_distance(sr, hr, term, pair.hr.shape[-1])))
    return sum(found) / len(found)


def chosen(paths: dict[str, Scores]) -> str:
    """The RaGAN that validation chooses as transport's twin: at the end of the path, the nearest in PSNR to it."""
    transport = paths[Mixture(0.03, 0, 0.03).name][-1]["psnr_y"]
    rivals = [name for name in paths if "transport" not in name]
    return min(rivals, key=lambda name: abs(paths[name][-1]["psnr_y"] - transport))


def path_table(paths: dict[str, Scores], rulers: dict[str, float]) -> str:
    """Markdown: PSNR-Y / ST-LPIPS of each mixture on its way and at its end, where two more rulers follow."""
    first = next(iter(paths.values()))
    marks = sorted({row["step"] for row in (*first[:2], first[-1])})
    lines = [
        "| mixture | " + " | ".join(f"step {mark:g}" for mark in marks) + " | NIQE ↓ | own ruler ↓ |",
        "|---|" + "---:|" * (len(marks) + 2),
    ]
    for name, path in paths.items():
        at = {row["step"]: f"{row['psnr_y']:.2f} / {row['st_lpips']:.4f}" for row in path}
        lines.append(
            f"| {name} | " + " | ".join(at[mark] for mark in marks)
            + f" | {path[-1]['niqe']:.2f} | {rulers[name]:.2f} |"
        )  # fmt: skip
    return "\n".join(lines)


def draw(paths: dict[str, Scores], test: Table) -> Figure:
    """Left: the way of each mixture over the plane, a number at its end. Right: the ends, on the test photos."""
    use_house_style()
    figure = Figure(figsize=(13.5, 6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    kinds = {mixture.name: mixture.kind for mixture in MIXTURES}
    every = next(iter(paths.values()))[0]["step"]
    left.set_title(f"Validation photos: each way from step {every:g} to its end")
    right.set_title("Test photos: where they end")
    for number, (name, path) in enumerate(paths.items(), 1):
        colour = COLOUR[kinds[name]]
        x, y = ([row[key] for row in path] for key in ("psnr_y", "st_lpips"))
        left.plot(x, y, ".-", color=colour, linewidth=1.5, ms=7)
        end = [test.interval(name, key) for key in ("psnr_y", "st_lpips")]
        assert end[0] is not None and end[1] is not None  # all these photos have a truth
        right.plot(end[0].mean, end[1].mean, "o", color=colour, ms=9, label=f"{number}  {name}")
        _number(left, number, (x[-1], y[-1]), colour)
        _number(right, number, (end[0].mean, end[1].mean), colour)
    for axes in (left, right):
        axes.set(xlabel="PSNR-Y, dB (right is better)", ylabel="ST-LPIPS (down is better)")
        axes.margins(0.08, 0.1)
        axes.locator_params(nbins=6)
    left.text(
        0.03, 0.97, "orange: adversary\nblue: transport\ngrey: both", transform=left.transAxes, va="top"
    )
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=12)
    return figure


def _number(axes: Axes, number: int, at: tuple[float, float], colour: str) -> None:
    axes.annotate(
        f"{number}", at, (0, -8), textcoords="offset points", ha="center", va="top", color=colour, fontsize=13,
        weight="bold",
    )  # fmt: skip


def report(arguments: argparse.Namespace) -> tuple[str, dict[str, Scores], Figure]:
    """Markdown, the scores along each way, and the figure."""
    mixtures = MIXTURES[3:6:2] if arguments.quick else MIXTURES
    paths: dict[str, Scores] = {}
    networks: dict[str, nn.Module] = {}
    for mixture in tqdm(mixtures, unit="training", disable=None):
        paths[mixture.name], networks[mixture.name] = trained(mixture, arguments)
    recipe = load_config(ROOT / "configs" / "small.yml", [f"losses.transport.backbone={arguments.backbone}"])
    rulers = {
        name: own_ruler(network.eval(), recipe.losses.transport)
        for name, network in tqdm(networks.items(), unit="ruler", disable=None)
    }
    scenes = evaluation.degraded(
        photos("test")[: 3 if arguments.quick else None], evaluation.phone_degradation(cleanup=2)
    )
    test = evaluation.evaluate(networks, scenes, draws=arguments.draws)
    reference = chosen(paths)
    parts = [
        "# Transport and its tuned twins",
        f"torch {torch.__version__} ({platform.machine()}). Made by `python benchmarks/twins.py`. {arguments.steps} "
        "steps of batch 8 at 96×96 from psnr-small, one seed.",
        "## Along the way, validation photos",
        "PSNR-Y ↑ / ST-LPIPS ↓.",
        path_table(paths, rulers),
        "## At the end, test photos",
        evaluation.markdown(test, reference),
    ]
    return "\n\n".join(parts), paths, draw(paths, test)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--draws", type=int, default=3, help="of kernel and noise for each test photo")
    parser.add_argument("--backbone", default="vgg16", help="of the features: vgg16, or alex, which is here")
    parser.add_argument(
        "--quick", action="store_true", help="two mixtures, two steps, 3 photos, backbone alex"
    )
    parser.add_argument(
        "--out", type=Path, help="Markdown file to write, a .json beside it, figures/twins.svg"
    )
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.steps, arguments.draws, arguments.backbone = 2, 1, "alex"
    text, paths, figure = report(arguments)
    print(text)
    if arguments.out:
        with atomic_path(arguments.out) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        with atomic_path(arguments.out.with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps(paths, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "otsr"}):
            figure.savefig(ROOT / "figures" / "twins.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
