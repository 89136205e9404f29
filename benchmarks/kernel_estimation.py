"""How well are blur kernels found? Known anisotropic Gaussians on the test photos, with and without noise, ×2 and ×4.

    python benchmarks/kernel_estimation.py --out benchmarks/results/kernel_estimation      # hours, see below
    python benchmarks/kernel_estimation.py --skip-kernelgan                                # two minutes
    python benchmarks/kernel_estimation.py --quick                                         # two kernels of each

20 kernels, standard deviations drawn from [0.35, 3] HR pixels for ×2 (twice that for ×4), any angle. HR is a test
photo shrunk by 0.5 to 0.75 (so that its own lossy compression does not blur it); LR = (HR * k)↓s, plus white noise
of standard deviation 0 or 5/255, rounded to 8 bits. One thread; seconds are processor time.

KernelGAN takes about a minute for each of the 80 images. Each of its kernels is kept in --cache, so an interrupted
run goes on where it stopped (delete the folder after a change of the training). A table made before all are there
says how many it holds. All other methods take less than a second and are always computed again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from tqdm.auto import tqdm

from otsr import images
from otsr.datasets import photos
from otsr.degradation import estimate_kernel, kernelgan, kernels, spectrum

KERNELS = 20
NOISES = (0, 5)  # standard deviations in grey levels of 255
ITERATIONS = 3000  # of KernelGAN
TIMED_ITERATIONS = 60
SCENE_OFFSET = -0.18  # pixels² of y: what `matched_across_scales` misses; fitted on the train photos
METHODS = {
    "spectrum": "ours: statistics at several scales",
    "kernelgan": "KernelGAN",
    "matched": "log-spectrum matched across scales, closed form",
    "isotropic": "best isotropic Gaussian (oracle)",
    "bicubic": "bicubic kernel",
}


@dataclass(frozen=True)
class Case:
    """One known kernel on one photo."""

    scale: int
    noise: int
    index: int
    photo: Path
    shrink: float
    deviations: tuple[float, float]
    angle: float

    @property
    def name(self) -> str:
        return f"x{self.scale}-noise{self.noise}-{self.index:02d}"

    def kernel(self) -> Tensor:
        """The truth: ±3.5 of the largest standard deviations fit."""
        first, second = self.deviations
        return kernels.gaussian(11 * self.scale, first**2, second**2, self.angle)

    def lr(self) -> Tensor:
        """(3, H, W) in [0, 1], a multiple of 1/255."""
        hr = images.resize(images.read(self.photo), self.shrink).clamp(0, 1)
        clean = kernels.downsample(images.crop_to_multiple(hr, self.scale), self.kernel(), self.scale)
        generator = torch.Generator().manual_seed(self.index)
        noisy = clean + self.noise / 255 * torch.randn(clean.shape, generator=generator)
        return (255 * noisy).round().clamp(0, 255) / 255


def cases(count: int, split: str = "test", seed: int = 2019) -> list[Case]:
    """The same kernels, angles, photos and shrinks for both noises; ×4 doubles the standard deviations."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(count, 4, generator=generator).tolist()
    paths = photos(split)
    return [
        Case(
            scale=scale,
            noise=noise,
            index=index,
            photo=paths[index % len(paths)],
            shrink=0.5 + 0.25 * shrink,
            deviations=(scale / 2 * (0.35 + 2.65 * first), scale / 2 * (0.35 + 2.65 * second)),
            angle=180 * angle,
        )
        for scale in (2, 4)
        for noise in NOISES
        for index, (first, second, angle, shrink) in enumerate(draws)
    ]


def matched_across_scales(lr: Tensor, scale: int) -> Tensor:
    """The kernel that gives y and (y * k)↓2 the same log-spectrum, corrected for its cross-scale bias.

    In direction u and at frequency f of the shrunk image, log P(f u) = log P(f u / 2) − π² f² uᵀVu + constant. Least
    squares, weighted by how far the power stands out of the noise, give V in pixels² of y. For a scene whose spectrum
    is a power law, V = 3 Σ/s² and so Σ = s² V/3. What is missed is one constant: the scene's own blur lowers it,
    aliasing (power folded to high frequencies makes y look sharper than it is) raises it, and aliasing wins.
    """
    power, floor, _ = spectrum.directional_power(255 * images.luma(lr)[0])
    radii = np.array(spectrum.FREQUENCIES)
    signal = (1 - 1.2 * float(floor) / power.numpy()).clip(0.01)  # part of the power that is not noise
    logs, rows, values = np.log(power.numpy() * signal), [], []
    for direction, line in enumerate(logs):
        angle = math.pi / spectrum.DIRECTIONS * direction
        for frequency, value, trust in zip(radii[2:], line[2:], signal[direction, 2:], strict=True):
            x, y = math.pi * frequency * math.cos(angle), math.pi * frequency * math.sin(angle)
            rows.append(trust**2 * np.array([1, -x * x, -2 * x * y, -y * y]))
            values.append(trust**2 * (value - np.interp(math.log(frequency / 2), np.log(radii), line)))
    _, xx, xy, yy = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    covariance = scale**2 * (np.array([[xx, xy], [xy, yy]]) / 3 - SCENE_OFFSET * np.eye(2))
    variances, axes = np.linalg.eigh(covariance)
    variances = variances.clip(0.1, 10 * scale**2)
    size = scale + 2 * max(1, math.ceil(3 * math.sqrt(variances[1]) - scale / 2))
    return kernels.gaussian(size, variances[1], variances[0], math.degrees(math.atan2(-axes[1, 1], axes[0, 1])))


def best_isotropic(truth: Tensor) -> Tensor:
    """The isotropic Gaussian of smallest L2 distance to the truth; no estimator could know it."""
    size = truth.shape[0]
    found = minimize_scalar(
        lambda log: kernels.l2_distance(kernels.gaussian(size, math.exp(log)), truth),
        bounds=(-3, 4),
        method="bounded",
    )
    return kernels.gaussian(size, math.exp(found.x))


def kernelgan_kernel(case: Case, cache: Path, iterations: int) -> Tensor:
    """KernelGAN's kernel, trained if the cache does not hold it."""
    path = cache / f"kernelgan-{case.name}.json"
    if not path.is_file():
        raw = kernelgan.train_kernel(case.lr(), iterations)
        cache.mkdir(parents=True, exist_ok=True)
        with images.atomic_path(path) as part:
            part.write_text(json.dumps({"raw": [[round(v, 6) for v in row] for row in raw.tolist()]}))
    raw = torch.tensor(json.loads(path.read_text())["raw"])
    return kernelgan.finish_kernel(raw, case.scale)


def estimate(method: str, case: Case, cache: Path, iterations: int) -> tuple[Tensor, float]:
    """A method's kernel for a case, and its processor seconds (meaningless for KernelGAN: see `kernelgan_seconds`)."""
    lr, truth = case.lr(), case.kernel()
    start = time.process_time()
    if method == "spectrum":
        kernel = estimate_kernel(lr, case.scale)
    elif method == "kernelgan":
        kernel = kernelgan_kernel(case, cache, iterations)
    elif method == "matched":
        kernel = matched_across_scales(lr, case.scale)
    elif method == "isotropic":
        kernel = best_isotropic(truth)
    else:
        kernel = kernels.bicubic(case.scale)
    return kernel, time.process_time() - start


def kernelgan_seconds(case: Case) -> dict[str, float]:
    """Processor seconds of 3000 iterations, extrapolated from 60, of the deep-linear and of the collapsed generator."""
    lr, seconds = case.lr(), {}
    for name, collapsed in (("deep", False), ("collapsed", True)):
        kernelgan.train_kernel(lr, 5, collapsed=collapsed)
        start = time.process_time()
        kernelgan.train_kernel(lr, TIMED_ITERATIONS, collapsed=collapsed)
        seconds[name] = (time.process_time() - start) * ITERATIONS / TIMED_ITERATIONS
    return seconds


def w2(kernel: Tensor, truth: Tensor) -> float:
    """W₂ in HR pixels; taps under 1/2000 of the largest are left out to keep the exact solver quick."""
    kept = [torch.where(k > k.max() / 2000, k, torch.zeros_like(k)) for k in (kernel, truth)]
    return kernels.w2_distance(*kept)


def measure(chosen: list[Case], methods: list[str], cache: Path, iterations: int) -> list[dict[str, Any]]:
    """One record for every case and method."""
    records = []
    for case in tqdm(chosen, desc="kernels"):
        for method in methods:
            kernel, seconds = estimate(method, case, cache, iterations)
            truth = case.kernel()
            errors = {"l2": kernels.l2_distance(kernel, truth), "w2": w2(kernel, truth)}
            records.append({"case": case.name, "method": method, "seconds": seconds, **errors})
    return records


def table(records: list[dict[str, Any]], seconds: dict[str, float]) -> str:
    """Markdown: one block for every scale and noise, one row for every method, mean ± standard error."""
    lines = []
    for scale in (2, 4):
        for noise in NOISES:
            block = [r for r in records if r["case"].startswith(f"x{scale}-noise{noise}-")]
            lines += [
                f"\n**×{scale}, noise {noise}/255**\n",
                "| method | relative L2 error | W2 distance, HR pixels | seconds | kernels |",
                "|---|---|---|---|---|",
            ]
            for method, title in METHODS.items():
                rows = [r for r in block if r["method"] == method]
                if rows:
                    mean_time = statistics.mean(r["seconds"] for r in rows)
                    took = seconds["collapsed"] if method == "kernelgan" else mean_time
                    shown = "-" if method in ("isotropic", "bicubic") else f"{took:.3g}"
                    lines.append(_row(title, rows, shown))
            trained = {r["case"] for r in block if r["method"] == "kernelgan"}
            shared = [r for r in block if r["method"] == "spectrum" and r["case"] in trained]
            if trained and len(shared) < KERNELS:
                lines.append(_row("ours, on the kernels that KernelGAN has run on", shared, "-"))
    ours = statistics.mean(r["seconds"] for r in records if r["method"] == "spectrum")
    deep, collapsed = seconds["deep"], seconds["collapsed"]
    lines.append(
        f"\nOne thread, processor time. {ITERATIONS} KernelGAN iterations, extrapolated from {TIMED_ITERATIONS}: "
        f"deep-linear {deep:.0f} s, collapsed {collapsed:.0f} s ({deep / collapsed:.1f} times faster). "
        f"Ours takes {ours:.3f} s, {deep / ours:.0f} times faster than deep-linear KernelGAN."
    )
    return "\n".join(lines).strip() + "\n"


def _row(title: str, rows: list[dict[str, Any]], seconds: str) -> str:
    errors = " | ".join(_mean_and_error([r[key] for r in rows]) for key in ("l2", "w2"))
    return f"| {title} | {errors} | {seconds} | {len(rows)} |"


def _mean_and_error(values: list[float]) -> str:
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{statistics.mean(values):.3f} ± {error:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="2 kernels of each, 60 iterations of KernelGAN")
    parser.add_argument("--skip-kernelgan", action="store_true", help="leave its row out, do not train")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"), help="photos (tune on val)")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    parser.add_argument("--cache", type=Path, default=Path("runs/kernel_estimation"), help="KernelGAN's kernels")
    parser.add_argument("--cached-only", action="store_true", help="KernelGAN: only kernels that the cache holds")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = cases(2 if arguments.quick else KERNELS, arguments.split)
    iterations = TIMED_ITERATIONS if arguments.quick else ITERATIONS
    cache = arguments.cache / f"{arguments.split}-{iterations}"
    cheap = [method for method in METHODS if method != "kernelgan"]
    records = measure(chosen, cheap, cache, iterations)
    if not arguments.skip_kernelgan:
        order = sorted(chosen, key=lambda case: case.index)  # so that an interrupted run has all four blocks
        if arguments.cached_only:
            order = [case for case in order if (cache / f"kernelgan-{case.name}.json").is_file()]
        records += measure(order, ["kernelgan"], cache, iterations)
    seconds = kernelgan_seconds(chosen[0])
    report = table(records, seconds)
    print(report)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.with_suffix(".md").write_text(f"# Kernel estimation\n\n{_protocol()}\n\n{report}")
        values = {"kernelgan_seconds": seconds, "records": records}
        arguments.out.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n")


def _protocol() -> str:
    """The docstring's paragraph on what is measured, for the report."""
    return next(text for text in (__doc__ or "").split("\n\n") if text.startswith("20 kernels"))


if __name__ == "__main__":
    main()
