"""Is transport better than an adversary whose weight was tuned as hard? Mixtures of both.

    python benchmarks/twins.py --out benchmarks/results/twins.md     # 24 trainings of 400 steps, two hours on 2 cores
    python benchmarks/twins.py --out … --fresh FOLDER                # and a table on photos that nobody has looked at
    python benchmarks/twins.py --quick                               # two steps of two mixtures: does it run?

All go on from psnr-small with the data, crops and optimiser of configs/small.yml, longer than in which_transport.py's
table, and differ in the weights of four terms: features place by place, RaGAN, transport of features in windows, and
transport of details (patches without their mean colour, in windows). Scores on the validation photos along the way say
who learns early and who late; "own ruler" is the transport of features itself on those photos. The weights after the
last step are compared on the test photos, picture by picture, with the RaGAN that is transport's twin: on the
validation photos the nearest to it in PSNR. Six of the mixtures are trained with two more seeds. These are also
compared on the photos of the folder --fresh, 512 pixels a side from the middle of each: a mixture that was picked after
a look at the test photos owes such a proof. With --out also the scores along the way as .json, and figures/twins.svg.
Finished trainings are kept in runs/twins and not repeated.
"""

from __future__ import annotations

import argparse
import csv
import platform
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import nn
from tqdm import tqdm
from writing import save, save_figure

from otsr import Upscaler, evaluation, weights
from otsr.course.plots import COLOURS, use_house_style
from otsr.datasets import photos
from otsr.evaluation import Table, aligned
from otsr.images import find_images
from otsr.networks.perceptual import backbone
from otsr.training import load_config, train
from otsr.training.checkpoints import NAME as CHECKPOINT
from otsr.training.losses import transport_distance, transported_features
from otsr.training.schema import Transport

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "configs" / "small.yml"
RUNS = Path("runs") / "twins"
STEPS = 400
FRESH_SIDE = 128  # LR pixels
Scores = list[dict[str, float]]  # of a training: a row of validation.tsv each


@dataclass(frozen=True)
class Mixture:
    """The weights of four terms beside L1: features place by place, RaGAN, transport of features, or of details."""

    features: float
    ragan: float
    transport: float
    details: float = 0
    seed: int = 10

    @property
    def name(self) -> str:
        parts = [
            f"{words} × {weight:g}"
            for words, weight in (
                ("RaGAN", self.ragan),
                ("transport", self.transport),
                ("details", self.details),
            )
            if weight
        ]
        return " + ".join(parts) + (", no features" if not self.features else "")

    @property
    def kind(self) -> str:
        return "RaGAN" if not self.transport + self.details else "transport" if not self.ragan else "both"


MIXTURES = (
    *(Mixture(0.03, weight, 0) for weight in (0.0075, 0.015, 0.022, 0.03, 0.06)),
    *(Mixture(0.03, 0, weight) for weight in (0.012, 0.03)),
    Mixture(0.03, 0.0075, 0.012),
    Mixture(0.03, 0.03, 0.03),
    Mixture(0, 0.015, 0.03),
    Mixture(0.03, 0.0075, 0, 0.01),
    Mixture(0.03, 0.015, 0, 0.01),
)
TRANSPORT = MIXTURES[6]
REPEATED = (*MIXTURES[:4], *MIXTURES[-2:])
SEEDS = (10, 11, 12)  # the first is that of the recipes
COLOUR = {"RaGAN": COLOURS["generated"], "transport": COLOURS["map"], "both": COLOURS["LR"]}


def settings(mixture: Mixture, arguments: argparse.Namespace) -> list[str]:
    """What a training overrides in its recipe."""
    every = max(1, arguments.steps // 4)
    transport = f"{{weight: {mixture.transport}, kind: projected, backbone: {arguments.backbone}, window: 16}}"
    if mixture.details:
        transport = f"{{weight: {mixture.details}, kind: sliced, backbone: details, window: 32, projections: 32}}"
    chosen = [
        "name=twins", f"seed={mixture.seed}", f"steps={arguments.steps}",
        f"losses.perceptual={{weight: {mixture.features}, backbone: {arguments.backbone}}}",
        f"losses.transport={transport}", f"losses.gan.weight={mixture.ragan}",
        *(() if mixture.ragan else ("critic=null",)),
        f"every={{validate: {every}, checkpoint: {every}, log: 25, pictures: {10 * arguments.steps}}}",
    ]  # fmt: skip
    return [*chosen, "validation.images=1"] if arguments.quick else chosen


def trained(mixture: Mixture, arguments: argparse.Namespace) -> tuple[Scores, nn.Module]:
    """Scores along a training and the network at its end; a finished training is read."""
    weights_and_seed = (*astuple(mixture)[:-1], arguments.steps, mixture.seed)
    folder = RUNS / "-".join(map(str, weights_and_seed))
    if not (folder / CHECKPOINT).exists():
        train(load_config(RECIPE, settings(mixture, arguments)), folder, progress=False)
    with (folder / "validation.tsv").open(encoding="utf-8", newline="") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file, delimiter="\t")]
    return rows, weights.load(str(folder / "last.safetensors"))


@torch.no_grad()
def own_ruler(network: nn.Module, term: Transport) -> float:
    """Mean transport term on the validation photos: what transport trains for, as its own backbone sees it."""
    eye, found = backbone(term.backbone), []
    for scene in evaluation.degraded(photos("val"), evaluation.phone_degradation(cleanup=1.5)):
        pair = scene.draw(0)
        assert pair.hr is not None
        pictures = (network(pair.lr[None])[0].clamp(0, 1), pair.hr)
        sr, hr = (transported_features(eye, picture[None], term) for picture in pictures)
        found.append(float(transport_distance(sr, hr, term, pair.hr.shape[-1])))
    return sum(found) / len(found)


def chosen(paths: dict[str, Scores], of: str) -> str:
    """The RaGAN that validation chooses as the twin of a mixture: at the end of the path, the nearest in PSNR to it."""
    rivals = [name for name in paths if "transport" not in name and "details" not in name]
    return min(rivals, key=lambda name: abs(paths[name][-1]["psnr_y"] - paths[of][-1]["psnr_y"]))


def over_seeds(test: Table, repeated: tuple[Mixture, ...]) -> Table:
    """Of each repeated mixture one row: the draws of all its seeds, picture by picture."""
    values = {
        mixture.name: {
            key: np.concatenate([test.values[seeded(mixture, seed)][key] for seed in SEEDS], axis=1)
            for key in test.values[mixture.name]
        }
        for mixture in repeated
    }
    return replace(test, values=values)


def seeded(mixture: Mixture, seed: int) -> str:
    """The row of a mixture trained with a seed; the first seed's is the mixture's own."""
    return mixture.name if seed == SEEDS[0] else f"{mixture.name}, seed {seed}"


def path_table(paths: dict[str, Scores], rulers: dict[str, float]) -> str:
    """Markdown: PSNR-Y / ST-LPIPS of each mixture on its way and at its end, where two more rulers follow."""
    first = next(iter(paths.values()))
    marks = sorted({row["step"] for row in (*first[:2], first[-1])})
    rows = []
    for name, path in paths.items():
        at = {row["step"]: f"{row['psnr_y']:.2f} / {row['st_lpips']:.4f}" for row in path}
        ruled = (f"{path[-1]['niqe']:.2f}", f"{rulers[name]:.2f}")
        rows.append([name, *(at[mark] for mark in marks), *ruled])
    return aligned(["mixture", *(f"step {mark:g}" for mark in marks), "NIQE ↓", "own ruler ↓"], rows)


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
        end = tuple(test.interval(name, key).mean for key in ("psnr_y", "st_lpips"))
        right.plot(*end, "o", color=colour, ms=9, label=f"{number}  {name}")
        _number(left, number, (x[-1], y[-1]), colour)
        _number(right, number, end, colour)
    for axes in (left, right):
        axes.set(xlabel="PSNR-Y, dB (right is better)", ylabel="ST-LPIPS (down is better)")
        axes.margins(0.08, 0.1)
        axes.locator_params(nbins=6)
    left.text(0.03, 0.97, "orange: adversary\nblue: transport\ngrey: both", transform=left.transAxes, va="top")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=12)
    return figure


def _number(axes: Axes, number: int, at: tuple[float, float], colour: str) -> None:
    axes.annotate(
        f"{number}", at, (0, -8), textcoords="offset points", ha="center", va="top", color=colour, fontsize=13,
        weight="bold",
    )  # fmt: skip


def report(arguments: argparse.Namespace) -> tuple[str, dict[str, Scores], Figure]:
    """Markdown, the scores along each way, and the figure."""
    mixtures = MIXTURES[4:7:2] if arguments.quick else MIXTURES
    repeated = mixtures[:1] if arguments.quick else REPEATED
    jobs = {mixture.name: mixture for mixture in mixtures}
    jobs |= {seeded(mixture, seed): replace(mixture, seed=seed) for mixture in repeated for seed in SEEDS[1:]}
    paths: dict[str, Scores] = {}
    networks: dict[str, nn.Module] = {}
    for name, mixture in tqdm(jobs.items(), unit="training", disable=None):
        paths[name], networks[name] = trained(mixture, arguments)
    ways = {mixture.name: paths[mixture.name] for mixture in mixtures}
    term = load_config(RECIPE, settings(TRANSPORT, arguments)).losses.transport
    rulers = {name: own_ruler(networks[name].eval(), term) for name in tqdm(ways, unit="ruler", disable=None)}
    scenes = evaluation.degraded(
        photos("test")[: 3 if arguments.quick else None], evaluation.phone_degradation(cleanup=2)
    )
    test = evaluation.evaluate(upscalers(networks), scenes, draws=arguments.draws)
    single = replace(test, values={name: row for name, row in test.values.items() if ", seed " not in name})
    several = {"test photos": over_seeds(test, repeated)}
    if arguments.fresh:
        rows = {seeded(mixture, seed) for mixture in repeated for seed in SEEDS}
        fresh = on_fresh({name: networks[name] for name in networks if name in rows}, arguments.fresh)
        several["fresh photos"] = over_seeds(fresh, repeated)
    ends = mean_ends(paths, repeated)
    parts = [
        "# Transport and its tuned twins",
        f"torch {torch.__version__} ({platform.machine()}). Made by `python benchmarks/twins.py`. {arguments.steps} "
        "steps of batch 8 at 96×96 from psnr-small.",
        "## Along the way, validation photos",
        "One seed. PSNR-Y ↑ / ST-LPIPS ↓.",
        path_table(ways, rulers),
        "## Three seeds, validation photos",
        "PSNR-Y ↑ / ST-LPIPS ↓ after the last step.",
        seed_table(paths, repeated),
        "## Details and their twins, three seeds",
        "Picture by picture: mean, 95 % interval; ✓ better, ✗ worse, neither mark: the interval holds 0.",
        gains(several, ends),
    ]
    for kind, table in several.items():
        parts += [f"## Three seeds, {kind}", evaluation.markdown(table, chosen(ends, repeated[-1].name))]
    if arguments.fresh:
        parts.append("Fresh, one draw of each: " + ", ".join(fresh.images) + ".")
    parts += [
        "## All mixtures, one seed, test photos",
        evaluation.markdown(single, chosen(ways, TRANSPORT.name)),
    ]
    return "\n\n".join(parts), ways, draw(ways, single)


def mean_ends(paths: dict[str, Scores], repeated: tuple[Mixture, ...]) -> dict[str, Scores]:
    """Of each repeated mixture the mean over seeds of where it ends."""
    keys = ("psnr_y", "st_lpips")
    return {
        mixture.name: [{key: sum(paths[seeded(mixture, seed)][-1][key] for seed in SEEDS) / len(SEEDS) for key in keys}]
        for mixture in repeated
    }


def seed_table(paths: dict[str, Scores], repeated: tuple[Mixture, ...]) -> str:
    """Markdown: where each repeated mixture ends, by seed."""
    means, rows = mean_ends(paths, repeated), []
    for mixture in repeated:
        ends = [paths[seeded(mixture, seed)][-1] for seed in SEEDS] + means[mixture.name]
        rows.append([mixture.name, *(f"{end['psnr_y']:.2f} / {end['st_lpips']:.4f}" for end in ends)])
    return aligned(["mixture", *(f"seed {seed}" for seed in SEEDS), "mean"], rows)


def on_fresh(networks: dict[str, nn.Module], folder: Path) -> Table:
    """The networks on the middle of every photo of a folder, one draw each."""
    found = find_images([folder])
    scenes = evaluation.degraded(found, evaluation.phone_degradation(cleanup=2), folder=folder)
    scenes = [evaluation.middle(scene, FRESH_SIDE, 4) for scene in scenes]
    return evaluation.evaluate(upscalers(networks), scenes)


def upscalers(networks: dict[str, nn.Module]) -> dict[str, Upscaler]:
    return {name: Upscaler(network, precision="fp32") for name, network in networks.items()}


def gains(tables: dict[str, Table], ends: dict[str, Scores]) -> str:
    """Markdown: each mixture with details minus its twin, on each kind of photos, picture by picture."""
    keys = [("psnr_y", "PSNR-Y ↑", 1), ("st_lpips", "ST-LPIPS ↓", -1)]
    columns = [(table, kind, *key) for kind, table in tables.items() for key in keys]
    rows = []
    for name in (name for name in ends if "details" in name):
        twin = chosen(ends, name)
        cells = []
        for table, _, key, _, better in columns:
            found = table.difference(name, twin, key)
            numbers = "{0:+.{3}f} [{1:+.{3}f}, {2:+.{3}f}]".format(*found, 2 if key == "psnr_y" else 4)
            decided = found.low * found.high > 0
            cells.append(numbers + (" ✓" if better * found.mean > 0 else " ✗") * decided)
        rows.append([f"{name} − {twin}", *cells])
    return aligned(["mixture minus its twin", *(f"{kind}: {title}" for _, kind, _, title, _ in columns)], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--draws", type=int, default=3, help="of kernel and noise for each test photo")
    parser.add_argument("--fresh", type=Path, help="folder of photos that nobody has trained on, chosen by, or seen")
    parser.add_argument("--backbone", default="vgg16", help="of the features: vgg16, or alex, which is here")
    parser.add_argument("--quick", action="store_true", help="two mixtures, two steps, 3 photos, backbone alex")
    parser.add_argument("--out", type=Path, help="Markdown file to write, a .json beside it, figures/twins.svg")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.steps, arguments.draws, arguments.backbone = 2, 1, "alex"
    text, paths, figure = report(arguments)
    print(text)
    if arguments.out:
        save(arguments.out, text, paths)
        save_figure(ROOT / "figures" / "twins.svg", figure)


if __name__ == "__main__":
    main()
