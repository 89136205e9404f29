"""Which transport buys perceptual quality? One start, one recipe, nineteen terms, each trained with several seeds.

    python benchmarks/which_transport.py --out benchmarks/results/which_transport.md   # 19 terms × 3 seeds, an hour
    python benchmarks/which_transport.py --terms "RaGAN × 0.1" "WGAN-QC, features"       # some of them
    python benchmarks/which_transport.py --quick                                       # a few steps: does it run?

All go on from the weights psnr-small (trained for L1 alone) with the data and features of configs/small.yml, small
crops and a short schedule, and differ in the term that is added to L1 and the distance of features. Measured on the
validation photos: test photos choose nothing. Finished runs are kept in runs/which_transport and not repeated.

The published OTSR term lives in this file only. Its potentials are boxed into [0, 1] while costs are far above 1, so
its labels are 1 for every real and 0 for every fake; the script trains a few steps with the linear programme and with
the constants in its place and compares the weights bit by bit.
"""

from __future__ import annotations

import argparse
import csv
import math
import platform
import random
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import scipy.optimize
import torch
from accelerate import Accelerator
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm
from writing import save, save_figure

from otsr.course.plots import COLOURS, use_house_style
from otsr.evaluation import METRICS, aligned
from otsr.images import resize
from otsr.networks.perceptual import backbone
from otsr.training import Config, load_config, train
from otsr.training.adversary import Adversary, Judgement
from otsr.training.checkpoints import NAME as CHECKPOINT
from otsr.training.losses import Losses

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "configs" / "small.yml"
RUNS = Path("runs") / "which_transport"
STEPS, SEEDS, CROP = 150, (10, 11, 12), 64
SHIFT = 16  # pixels of a random view: what VGG's layers that count here shrink by
Scores = dict[str, list[dict[str, float]]]  # of each term: of each seed


class Published(Adversary):
    """The term as published, with its defects: boxed labels, broadcast, slope over channels, squared gap.

    Not better, and not to be used: it is what the others are compared with.
    """

    constants = False  # ones and zeros in place of the linear programme

    def _judge(self, real: Tensor, fake: Tensor) -> Judgement:
        own_real, own_fake = (self.critic(x).float().flatten(1).mean(1, keepdim=True) for x in (real, fake))
        h, g, cost = self._boxed(real, fake.detach())
        loss = (own_real.mean() - h.mean()).square() / 2 + (own_fake - g).square().mean() / 2  # (m, 1) − (m,)
        (slope,) = torch.autograd.grad(own_fake.sum(), fake, create_graph=True)
        matched = real[cost.argmin(0)]
        wanted = (matched - fake.detach()).norm(dim=1) / real[0].numel()
        gap = (slope.square().sum(1).add(1e-30).sqrt() - wanted).square().mean()  # norms over channels alone
        loss = loss + self.gan.gamma / 2 * real[0].numel() ** 0.5 * gap
        return Judgement(loss, own_real, own_fake, None)

    def _generator_loss(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        return (real_scores.mean() - fake_scores.mean()).square()

    def _boxed(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """max mean(h) − mean(g) subject to h_j − g_i ≤ 2K‖x_i − y_j‖², 0 ≤ h, g ≤ 1; and the cost (n, m)."""
        n, m = len(real), len(fake)
        cost = 2 * torch.cdist(real.flatten(1).double(), fake.flatten(1).double()).square()  # K = 1, as published
        if self.constants:
            return torch.ones(n), torch.zeros(m), cost
        rows = np.zeros((n * m, n + m))
        for j in range(n):
            for i in range(m):
                rows[j * m + i, j], rows[j * m + i, n + i] = 1, -1
        objective = np.concatenate([-np.full(n, 1 / n), np.full(m, 1 / m)])
        solved = scipy.optimize.linprog(objective, rows, cost.flatten().numpy(), bounds=(0, 1), method="highs")
        labels = torch.from_numpy(solved.x).float()
        return labels[:n], labels[n:], cost


class Constant(Published):
    """The same with constant labels."""

    constants = True


class OfFeatures(Adversary):
    """Its critic judges windows of VGG's features, of 10 to 40 pixels: details, not objects."""

    def __init__(self, config: Config, accelerator: Accelerator) -> None:
        name = config.losses.perceptual.backbone
        layer = {"alex": "conv3", "vgg16": "relu3_3", "vgg19": "relu3_4"}[name]
        self.features = backbone(name, (layer,)).to(accelerator.device)
        super().__init__(config, accelerator)

    def _maps(self, images: Tensor) -> Tensor:
        (maps,) = self.features(images).values()
        return maps


def random_view(step: int) -> Callable[[Tensor], Tensor]:
    """A view of square pictures, drawn by the step: shifted by up to 16 pixels, mirrored, turned, scaled by ¾, 1 or 1¼.

    Networks with strides answer differently to a picture and to the same picture one pixel further. A generator
    learns to use that: patterns in step with the network's grid. From a view to the next the grid lies elsewhere.

    Reference: Kettunen et al., "E-LPIPS", 2019, arXiv 1906.03973 (as a measure that is harder to fool).
    """
    drawing = random.Random(f"view {step}")
    down, right = drawing.randrange(SHIFT + 1), drawing.randrange(SHIFT + 1)
    mirrored, turns, scale = drawing.random() < 0.5, drawing.randrange(4), drawing.choice((0.75, 1.0, 1.25))

    def view(picture: Tensor) -> Tensor:
        side = picture.shape[-1] - SHIFT
        seen = picture[..., down : down + side, right : right + side]
        seen = torch.rot90(seen.flip(-1) if mirrored else seen, turns, (-2, -1))
        return seen if scale == 1 else resize(seen, scale)

    return view


class OfViews(Losses):
    """Backbones see pictures shifted, turned and scaled anew at each step."""

    def forward(self, sr: Tensor, hr: Tensor, step: int = 0) -> dict[str, Tensor]:
        view = random_view(step)
        pixel = self.config.pixel.weight * (sr.float() - hr.float()).abs().mean()
        return {**super().forward(view(sr), view(hr), step), "pixel": pixel}


@dataclass(frozen=True)
class Term:
    """One formulation: what is set in the recipe, and the adversary or losses if it has its own."""

    name: str
    settings: tuple[str, ...]
    adversary: type[Adversary] = Adversary
    losses: type[Losses] = Losses


_NONE = ("losses.transport.weight=0",)
_CRITIC = (*_NONE, "critic={name: patch, nf: 32, norm: spectral}", "optimiser.critic_lr=2e-4")
_QC = (*_CRITIC, "losses.gan.weight=1", "losses.gan.kind=wgan-qc")
TERMS = (
    Term("none: L1 alone", (*_NONE, "losses.perceptual.weight=0")),
    Term("none: L1 + features", _NONE),
    *(
        Term(f"RaGAN × {weight}", (*_CRITIC, f"losses.gan.weight={weight}", "losses.gan.kind=ragan"))
        for weight in (0.03, 0.06, 0.1, 0.5)
    ),
    Term(
        "RaGAN × 0.1, random views",
        (*_CRITIC, "losses.gan.weight=0.1", "losses.gan.kind=ragan"),
        losses=OfViews,
    ),
    Term("as published (constant labels)", _QC, Published),
    Term("WGAN-QC, paired crops", _QC),
    Term("WGAN-QC, other crops", (*_QC, "losses.gan.reals=independent")),
    Term("WGAN-QC, other crops × 20", (*_QC, "losses.gan.weight=20", "losses.gan.reals=independent")),
    Term(
        "WGAN-QC, 16×16 patches",
        (*_QC, "losses.gan.reals=independent", "losses.gan.space=patches", "losses.gan.patch=16"),
    ),
    Term(
        "WGAN-QC, features",
        (*_QC, "losses.gan.reals=independent", "losses.gan.space=patches", "losses.gan.patch=16"),
        OfFeatures,
    ),
    Term(
        "WGAN-QC, features × 20",  # at weight 1 it pulls with |y − x|, where L1 pulls with 1
        (*_QC, "losses.gan.weight=20", "losses.gan.reals=independent", "losses.gan.space=patches",
         "losses.gan.patch=16"),
        OfFeatures,
    ),
    Term(
        "sliced W2² of 7×7 patches, no critic",
        ("losses.transport={weight: 1, kind: sliced, backbone: patches, power: 2}",),
    ),
    Term(
        "projected W1 of features, whole crop, no critic",
        ("losses.transport={weight: 0.1, kind: projected, backbone: BACKBONE}",),
    ),
    Term(
        "the same in windows of 16 pixels, no critic",
        ("losses.transport={weight: 0.1, kind: projected, backbone: BACKBONE, window: 16}",),
    ),
    Term(
        "the same × 0.4, no critic",
        ("losses.transport={weight: 0.04, kind: projected, backbone: BACKBONE, window: 16}",),
    ),
    Term(
        "the same × 0.4, random views, no critic",
        ("losses.transport={weight: 0.04, kind: projected, backbone: BACKBONE, window: 16}",),
        losses=OfViews,
    ),
)  # fmt: skip


def settings(term: Term, seed: int, steps: int, start: str, backbone: str) -> list[str]:
    """What a run overrides in the recipe."""
    shared = [
        "name=which-transport", f"seed={seed}", f"steps={steps}", f"start={start}", f"data.crop={CROP}",
        "optimiser.lr=2e-4", "ema=0.98", "optimiser.schedule.warmup=20",
        f"losses.perceptual.backbone={backbone}", "losses.gan={weight: 0}", "critic=null",
        f"every={{validate: {steps}, checkpoint: {steps}, log: 50, pictures: {steps}}}",
    ]  # fmt: skip
    return [*shared, *(setting.replace("BACKBONE", backbone) for setting in term.settings)]


def folder_of(term: Term, seed: int, arguments: argparse.Namespace) -> Path:
    words = "".join(letter if letter.isalnum() else "-" for letter in term.name.lower())
    return RUNS / f"{words}-{arguments.backbone}-{seed}-{arguments.steps}"


def run(term: Term, seed: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Scores on the validation photos after the last step; a finished run is read."""
    folder = folder_of(term, seed, arguments)
    scores = folder / "validation.tsv"
    if not (folder / CHECKPOINT).exists():
        chosen = settings(term, seed, arguments.steps, arguments.start, arguments.backbone)
        with mock.patch("otsr.training.trainer.Losses", term.losses):
            train(load_config(RECIPE, chosen), folder, progress=False, adversary=term.adversary)
    with scores.open(encoding="utf-8", newline="") as file:
        last = list(csv.DictReader(file, delimiter="\t"))[-1]
    return {key: float(value) for key, value in last.items() if key != "step"}


def published_equals_constants(start: str, backbone: str, steps: int = 6) -> bool:
    """Whether training with the published labels and with ones and zeros gives the same weights, bit by bit."""
    outcomes = []
    for adversary in (Published, Constant):
        with tempfile.TemporaryDirectory() as folder:
            term = Term("check", (*_QC, "validation.images=0", "data.workers=0"), adversary)
            config = load_config(RECIPE, settings(term, SEEDS[0], steps, start, backbone))
            train(config, Path(folder), progress=False, adversary=adversary)
            outcomes.append(torch.load(Path(folder) / CHECKPOINT, weights_only=True))
    first, second = outcomes
    return all(
        torch.equal(first[part][key], second[part][key]) for part in ("generator", "critic") for key in first[part]
    )


def table(found: Scores) -> str:
    """Markdown: mean over seeds, ± deviation."""
    rows = []
    for name, runs in found.items():
        cells = []
        for metric in METRICS:
            values = [one[metric.key] for one in runs]
            spread = f" ± {statistics.stdev(values):.{metric.digits}f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.{metric.digits}f}{spread}")
        rows.append([name, *cells])
    return aligned(["term added to L1 and features", *(metric.heading for metric in METRICS)], rows)


def draw(found: Scores) -> Figure:
    """Every run on the plane of PSNR and ST-LPIPS, a number at the mean of each term; what lies far off is named."""
    use_house_style()
    figure = Figure(figsize=(10.5, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set(xlabel="PSNR-Y, dB (right is better)", ylabel="ST-LPIPS (down is better)")
    axes.set(xlim=(21.3, 24.5), ylim=(0.34, 0.55))
    taken: list[tuple[float, float]] = []
    for number, (name, runs) in enumerate(found.items(), 1):
        without_critic = "no critic" in name
        colour = COLOURS["map" if without_critic else "LR" if name.startswith("none") else "generated"]
        x, y = ([one[key] for one in runs] for key in ("psnr_y", "st_lpips"))
        mean = statistics.mean(x), statistics.mean(y)
        outside = not (21.3 < mean[0] < 24.5 and mean[1] < 0.55)
        axes.plot(x, y, "o", color=colour, ms=4, alpha=0.4)
        axes.plot(*mean, "o", color=colour, ms=8, label=f"{number}  {name}{' (off the plane)' * outside}")
        if not outside:
            at = free_place(mean, taken)
            taken.append(at)
            axes.annotate(
                f"{number}", mean, at, ha="center", va="center", color=colour, fontsize=13, weight="bold",
                arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.7, "shrinkA": 7, "shrinkB": 3},
            )  # fmt: skip
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=11, frameon=False)
    return figure


def free_place(mean: tuple[float, float], taken: list[tuple[float, float]]) -> tuple[float, float]:
    """The nearest place around a mean at which a number covers none of those that stand already."""
    for radius in (1.0, 1.6, 2.2, 2.8, 3.4):
        for turn in range(12):
            angle = 2 * math.pi * (turn + 7) / 12
            x, y = mean[0] + 0.1 * radius * math.cos(angle), mean[1] + 0.009 * radius * math.sin(angle)
            if y > 0.345 and all(abs(x - a) > 0.11 or abs(y - b) > 0.011 for a, b in taken):
                return x, y
    return mean


def report(arguments: argparse.Namespace) -> tuple[str, Scores]:
    """Markdown, and the scores of every run."""
    chosen = [term for term in TERMS if not arguments.terms or term.name in arguments.terms]
    same = published_equals_constants(arguments.start, arguments.backbone)
    found: Scores = {}
    with tqdm(total=len(chosen) * len(arguments.seeds), unit="run", disable=None) as bar:
        for seed in arguments.seeds:
            for term in chosen:
                bar.set_postfix_str(f"{term.name}, seed {seed}")
                found.setdefault(term.name, []).append(run(term, seed, arguments))
                bar.update()
    found = {term.name: found[term.name] for term in chosen}
    many = len(arguments.seeds)
    parts = [
        "# Which transport?",
        f"torch {torch.__version__} ({platform.machine()}). Made by `python benchmarks/which_transport.py`. "
        f"Start {Path(arguments.start).name}, {arguments.steps} steps of batch 8 at {CROP}×{CROP}, "
        f"{many} seed{'s' if many > 1 else ''} (mean ± deviation), validation photos.",
        table(found),
        "Training with the published labels and with ones and zeros in their place gives "
        + ("bitwise the same weights" if same else "DIFFERENT weights")
        + " of generator and critic after 6 steps.",
    ]
    return "\n\n".join(parts), found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--terms", nargs="*", default=[], help="names of terms; all when none is given")
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--start", default="psnr-small", help="weights that all runs start from")
    parser.add_argument("--backbone", default="vgg16", help="of the features: vgg16, or alex, which is here")
    parser.add_argument("--out", type=Path, help="write the table here, a .json beside it, figures/which_transport.svg")
    parser.add_argument("--quick", action="store_true", help="two steps, one seed, backbone alex")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.terms if name not in {term.name for term in TERMS}]
    if unknown:
        parser.error(f"no term {unknown[0]!r}; there are: {'; '.join(term.name for term in TERMS)}")
    if arguments.quick:
        arguments.steps, arguments.seeds, arguments.backbone = 2, arguments.seeds[:1], "alex"
    text, found = report(arguments)
    print(text)
    if arguments.out:
        save(arguments.out, text, found)
        save_figure(ROOT / "figures" / "which_transport.svg", draw(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
