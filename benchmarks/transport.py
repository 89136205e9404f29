"""How fast are exact transport labels, and how true are learned transport maps?

    python benchmarks/transport.py --out benchmarks/results/transport.md     # 8 minutes on 2 cores
    python benchmarks/transport.py --quick                                   # small samples, few steps, half a minute

Two questions. (1) Labels of a WGAN-QC critic for n reals and n fakes of 3×128×128 (crops of the train photos; fakes
are other crops, shrunk by 4 and enlarged): `quadratic_cost` and `potentials` beside straightforward renderings. Those
solve the dual linear program with scipy's HiGHS; costs come from the differences of all pairs at once (WGAN-QC,
tensor), or pair by pair in a Python loop (WGAN-QC, loop), or so with potentials boxed into [0, 1] (published OTSR).
One thread, processor time, ways interleaved, medians. Ours works in float64, the others in float32. A certificate needs
no trust in a solver: h_j − g_i ≤ c_ji for all pairs (infeasibility), mean h − mean g equal to the plan's cost (gap).
(2) L2-UVP, the error of a map in percent of the target's variance, where the optimal map is known: Gaussians, and
mixtures pushed by the gradient of a convex function. "shift" moves the means and nothing else.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linprog
from scipy.sparse import csr_array, eye_array, hstack, kron
from torch import Tensor
from tqdm.auto import tqdm
from writing import save

from otsr import images
from otsr.datasets import photos
from otsr.evaluation import aligned
from otsr.transport import fit_critic_map, fit_map, gaussian_map, l2_uvp, potentials, quadratic_cost
from otsr.transport.gaussian import moments, square_root
from otsr.transport.neural import Map, Sampler

SIZES = (8, 16, 32, 64, 128, 256)
LARGEST = {"tensor": 64, "loop": 128, "otsr": 128}  # beyond: extrapolated; 64² differences take 1.6 GB
ROUNDS = 5
DIMENSIONS = (2, 4, 8, 16, 32, 64, 128)
MIXTURE_DIMENSIONS = (2, 8, 32)
LINEAR_SAMPLES = 10_000
Labels = tuple[np.ndarray, np.ndarray, float]  # h, g, value


def crops(count: int, side: int) -> tuple[Tensor, Tensor]:
    """Reals and fakes, (count, 3, side, side) in [−1, 1], of places that differ."""
    generator = torch.Generator().manual_seed(0)
    paths = photos("train")
    pictures = [images.read(path) for path in paths[: max(4, count // 8)]]

    def draw() -> Tensor:
        photo = pictures[int(torch.randint(len(pictures), (1,), generator=generator))]
        top, left = (int(torch.randint(n - side + 1, (1,), generator=generator)) for n in photo.shape[1:])
        return photo[:, top : top + side, left : left + side]

    real, sharp = (torch.stack([draw() for _ in range(count)]) for _ in range(2))
    fake = images.resize(images.resize(sharp, 1 / 4), 4)
    return 2 * real - 1, 2 * fake - 1


def ours(real: Tensor, fake: Tensor) -> Labels:
    found = potentials(quadratic_cost(real, fake))
    return found.real.numpy(), found.fake.numpy(), float(found.value)


def looped_cost(real: Tensor, fake: Tensor, factor: float) -> np.ndarray:
    """factor · ‖y_j − x_i‖², pair by pair."""
    cost = np.empty((len(real), len(fake)))
    for j in range(len(real)):
        for i in range(len(fake)):
            cost[j, i] = factor * float(((real[j] - fake[i]) ** 2).sum())
    return cost


def solved_dual(cost: np.ndarray, bounds: tuple[float | None, float | None]) -> Labels:
    """max mean h − mean g subject to h_j − g_i ≤ cost_ji, by HiGHS."""
    n, m = cost.shape
    ones = [csr_array(np.ones((k, 1))) for k in (m, n)]
    constraints = hstack([kron(eye_array(n), ones[0]), -kron(ones[1], eye_array(m))]).tocsr()
    objective = np.concatenate([np.full(n, -1 / n), np.full(m, 1 / m)])
    found = linprog(objective, A_ub=constraints, b_ub=cost.ravel(), bounds=bounds, method="highs")
    return found.x[:n], found.x[n:], -found.fun


def wgan_qc_tensor(real: Tensor, fake: Tensor) -> Labels:
    """WGAN-QC, c = K/2 ‖x − y‖², K = 1/dim: the differences of all pairs as one tensor, free potentials."""
    squares = (real[:, None] - fake[None]).flatten(2).pow(2).sum(2)
    return solved_dual((squares * (0.5 / real[0].numel())).double().numpy(), (None, None))


def wgan_qc_loop(real: Tensor, fake: Tensor) -> Labels:
    """The same, pair by pair."""
    return solved_dual(looped_cost(real, fake, 0.5 / real[0].numel()), (None, None))


def published_otsr(real: Tensor, fake: Tensor) -> Labels:
    """The published OTSR: c = 2K ‖x − y‖², K = 1, values in [0, 1], potentials in [0, 1]."""
    return solved_dual(looped_cost(real, fake, 0.5), (0, 1))  # 2 ‖(x − y)/2‖²


WAYS: dict[str, Callable[[Tensor, Tensor], Labels]] = {
    "ours": ours,
    "tensor": wgan_qc_tensor,
    "loop": wgan_qc_loop,
    "otsr": published_otsr,
}
TITLES = {"tensor": "WGAN-QC, tensor", "loop": "WGAN-QC, loop", "otsr": "published OTSR"}


def label_times(real: Tensor, fake: Tensor, ways: list[str], rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each round, ways in turn; ours also split into cost and solution."""
    seconds: dict[str, list[float]] = {way: [] for way in [*ways, "cost"]}
    ours(real[:4], fake[:4])  # imports and first calls are not the point
    for _ in range(rounds):
        for way in ways:
            seconds[way].append(_seconds(lambda: WAYS[way](real, fake)))  # noqa: B023, called at once
        seconds["cost"].append(_seconds(lambda: quadratic_cost(real, fake)))
    return seconds


def _seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def certificate(real: Tensor, fake: Tensor) -> tuple[float, float, float]:
    """Value, duality gap and worst infeasibility of our labels; costs formed pair by pair, in float64."""
    h, g, value = ours(real, fake)
    y, x = real.flatten(1).double(), fake.flatten(1).double()
    cost = torch.stack([(row - x).square().sum(1) for row in y]).numpy() / (2 * y.shape[1])
    return value, abs(value - (h.mean() - g.mean())), float((h[:, None] - g - cost).max())


def label_table(sizes: tuple[int, ...], side: int, rounds: int) -> str:
    """Table 1, and how time grows."""
    all_real, all_fake = crops(max(sizes), side)
    times: dict[str, dict[int, float]] = {name: {} for name in [*WAYS, "cost"]}
    rows = []
    for n in tqdm(sizes, desc="labels", unit="batch"):
        real, fake = all_real[:n], all_fake[:n]
        ways = [way for way in WAYS if n <= LARGEST.get(way, n)]
        for name, seconds in label_times(real, fake, ways, rounds).items():
            times[name][n] = statistics.median(seconds)
        shown = [str(n), _milliseconds(times["ours"][n]), _milliseconds(times["cost"][n])]
        for peer in TITLES:
            known = times[peer][n] if peer in ways else _extrapolated(times[peer], n)
            sign = "" if peer in ways else "≈ "
            shown.append(f"{sign}{_milliseconds(known)} ({known / times['ours'][n]:.1f}×)")
        value, gap, infeasibility = certificate(real, fake)
        rows.append([*shown, f"{gap / value:.0e}", f"{max(infeasibility, 0) / value:.0e}"])
    head = ["n", "ours, ms", "of it cost", *(f"{title}, ms" for title in TITLES.values())]
    head += ["gap / value", "infeasibility / value"]
    growth = ", ".join(f"{title} n^{_exponent(times[name]):.1f}" for name, title in {"ours": "ours", **TITLES}.items())
    text = f"In brackets: times as long as ours. Growth from the third size to the last measured: {growth}."
    if any(max(sizes) > largest for largest in LARGEST.values()):
        text += " ≈: too large or too slow, extrapolated from the last two sizes that were measured."
    return aligned(head, rows) + "\n\n" + text


def _exponent(seconds: dict[int, float]) -> float:
    sizes = sorted(seconds)
    first, last = sizes[min(2, len(sizes) - 2)], sizes[-1]
    return math.log(seconds[last] / seconds[first]) / math.log(last / first)


def _extrapolated(seconds: dict[int, float], n: int) -> float:
    before, last = sorted(seconds)[-2:]
    return seconds[last] * (seconds[last] / seconds[before]) ** (math.log(n / last) / math.log(last / before))


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}" if seconds < 1 else f"{1e3 * seconds:.0f}"


def gaussian_problem(dim: int, seed: int) -> tuple[Sampler, Sampler, Map]:
    """Two Gaussians; eigenvalues of the covariances log-uniform in [¼, 4], axes at random, and the map between them."""
    generator = torch.Generator().manual_seed(seed)

    def covariance() -> Tensor:
        logs = (2 * torch.rand(dim, generator=generator, dtype=torch.float64) - 1) * math.log(4)
        axes = rotation(dim, generator)
        return (axes * logs.exp()) @ axes.T

    first, second = covariance(), covariance()
    mean = torch.randn(dim, generator=generator, dtype=torch.float64)
    roots = [square_root(matrix).float() for matrix in (first, second)]
    known = gaussian_map((torch.zeros_like(mean), first), (mean, second))
    return (
        lambda n, g: torch.randn(n, dim, generator=g) @ roots[0],
        lambda n, g: torch.randn(n, dim, generator=g) @ roots[1] + mean.float(),
        lambda x: known(x.double()),
    )


def mixture_problem(dim: int, seed: int) -> tuple[Sampler, Sampler, Map]:
    """A mixture of 3 Gaussians pushed by T(x) = ½x + Σ_k tanh(2⟨v_k, x⟩) v_k, v an orthonormal basis.

    T is the gradient of a convex function, so it is the optimal map to its image (Brenier), and far from linear.
    """
    generator = torch.Generator().manual_seed(seed)
    axes = rotation(dim, generator).float()
    centres = 1.5 * torch.randn(3, dim, generator=generator)

    def source(count: int, g: torch.Generator) -> Tensor:
        return centres[torch.randint(3, (count,), generator=g)] + 0.6 * torch.randn(count, dim, generator=g)

    def push(x: Tensor) -> Tensor:
        return x / 2 + torch.tanh(2 * x @ axes) @ axes.T

    return source, lambda n, g: push(source(n, g)), push


def rotation(dim: int, generator: torch.Generator) -> Tensor:
    """(d, d) float64, orthonormal columns."""
    return torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64)).Q


def map_errors(
    problem: tuple[Sampler, Sampler, Map], dim: int, steps: int
) -> tuple[dict[str, float], dict[str, float]]:
    """L2-UVP in percent of each way, and processor seconds of the learned ones."""
    source, target, truth = problem
    generator = torch.Generator().manual_seed(1)
    test = source(4096, generator)
    before, after = (moments(draw(LINEAR_SAMPLES, generator)) for draw in (source, target))
    linear = gaussian_map(before, after)
    errors = {
        "shift": l2_uvp(lambda x: x + after[0] - before[0], truth, test),
        "linear": l2_uvp(lambda x: linear(x.double()), truth, test),
    }
    seconds = {}
    fits: dict[str, Callable[..., Map]] = {"critic": fit_critic_map, "game": fit_map}
    for name, fit in fits.items():
        start = time.process_time()
        errors[name] = l2_uvp(fit(source, target, dim, steps=steps), truth, test)
        seconds[name] = time.process_time() - start
    return errors, seconds


def map_table(
    problem: Callable[[int, int], tuple[Sampler, Sampler, Map]], dimensions: tuple[int, ...], steps: int
) -> str:
    """Table 2: one row a dimension."""
    rows = []
    for dim in tqdm(dimensions, desc=problem.__name__.replace("_", " "), unit="dimension"):
        errors, seconds = map_errors(problem(dim, dim), dim, steps)
        shown = [f"{errors[name]:.3g}" for name in ("shift", "linear", "critic", "game")]
        rows.append([str(dim), *shown, *(f"{seconds[name]:.0f}" for name in ("critic", "game"))])
    head = ["D", "shift", "linear", "WGAN-QC", "max–min", "s, WGAN-QC", "s, max–min"]
    return aligned(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small samples, few steps")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quick = arguments.quick
    sizes, side = ((8, 16, 32), 32) if quick else (SIZES, 128)
    steps = 100 if quick else 1500
    report = "\n\n".join(
        [
            "# Transport",
            f"torch {torch.__version__}, one thread, processor time. Made by `python benchmarks/transport.py`.",
            f"## Labels: n reals and n fakes of 3×{side}×{side}",
            label_table(sizes, side, ROUNDS),
            "## Maps between Gaussians: L2-UVP, %",
            map_table(gaussian_problem, (2, 8) if quick else DIMENSIONS, steps),
            "## Maps of mixtures pushed by the gradient of a convex function: L2-UVP, %",
            map_table(mixture_problem, (2,) if quick else MIXTURE_DIMENSIONS, steps),
            f"linear: the closed form on the moments of {LINEAR_SAMPLES} samples; right by construction for Gaussians. "
            f"Learned maps: {steps} steps, one setting for all dimensions.",
        ]
    )
    print(report)
    if arguments.out:
        save(arguments.out, report)


if __name__ == "__main__":
    main()
