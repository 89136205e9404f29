"""Train the network of `otsr.degradation.estimation` on the course's train photos and a folder, and write its weights.

    python scripts/fit_kernel_regressor.py FOLDER            # 20 minutes on one core, the same weights every time
    python scripts/fit_kernel_regressor.py --correction      # only the errors' correction by kind of kernel: 3 minutes
    python scripts/fit_kernel_regressor.py FOLDER --check    # a minute: errors of the stored weights, by family

FOLDER holds photos that anyone may train on. Each example is the luma of a random part of a photo, shrunk by 0.5 to
0.75, turned and mirrored, blurred by a kernel of `benchmarks/kernel_draws.py`, downsampled by 2 or 4, with white or
correlated noise, rounding and JPEG at random. The network is trained on most photos for the relative L2 error of the
kernel. Its standard errors take two steps, on photos that the step before has not seen. On every sixth photo of the
folder and those named APART, they learn what the photo shows, so that 68 % of all errors lie within them. On the
course's val photos, as many examples of every family and scale, half of them whole photos, they are corrected by the
kind of kernel that was found, so that it is 68 % in each family. `--check` takes photos named HELD_OUT, which no step
has seen. Test photos are never read.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import math
import sys
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage, signal
from torch import Tensor
from tqdm.auto import tqdm

from otsr import images
from otsr.datasets import photos
from otsr.degradation import estimation, kernels, spectrum

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import kernel_draws

EPOCHS, BATCH, RATE, DECAY = 40, 64, 3e-3, 1e-2
BLOCKS = ((3100, 1), (2600, 4), (3600, 5), (3600, 6))  # examples and seed: may be made side by side
CALIBRATION = ((1200, 2), (2400, 7))
LUMA_NOISE = 0.57  # standard deviation of luma when R, G and B have white noise of 1
STEP, REACH = 0.4, 13  # of the points on which kernels are compared, in standard deviations of the truth
APART, HELD_OUT = "budgie", "wp24"  # how names begin of photos for standard errors alone, and for --check
EACH = 96  # examples of every family and scale for the correction
MIX = {
    "gaussian": 0.4, "sharpened": 0.16, "disc": 0.1, "motion": 0.09, "shake": 0.05, "box": 0.08, "bicubic": 0.08,
    "noisy gaussian": 0.04,
}  # fmt: skip


@dataclass
class Examples:
    """N photos under known blur.

    Attributes:
        directional, invariant: what `spectrum.features` says of them.
        names: the family of each kernel.
        scales: (N,).
        logs: (N, 3) log covariance in LR pixels² of the Gaussian closest to each kernel.
        points: (N, P, 2) in LR pixels, a grid of half the plane along the axes of that Gaussian.
        truth: (N, P) kernels there, mean of both halves, times √det of the covariance.
        residues: (N, cells²) by which each kernel differs from its Gaussian, mean of the four quarters.
    """

    directional: Tensor
    invariant: Tensor
    names: list[str]
    scales: Tensor
    logs: Tensor
    points: Tensor
    truth: Tensor
    residues: Tensor


def shoot(grey: Tensor, kernel: Tensor, scale: int, rng: np.random.Generator) -> np.ndarray:
    """LR luma, 72 to 256 pixels a side, of a part of a photo's luma (1, H, W)."""
    least = min(grey.shape[1:])
    shrink = min(1.0, max(rng.uniform(0.5, 0.75), 1.05 * 72 * scale / least))
    height, width = (min(n, math.ceil(int(rng.integers(96, 257)) * scale / shrink)) for n in grey.shape[1:])
    top, left = int(rng.integers(grey.shape[1] - height + 1)), int(rng.integers(grey.shape[2] - width + 1))
    hr = images.resize(grey[:, top : top + height, left : left + width], shrink).clamp(0, 1)
    hr = torch.rot90(hr, int(rng.integers(4)), (1, 2))
    hr = hr.flip(2) if rng.random() < 0.5 else hr
    reach = (kernel.shape[0] - scale) // 2
    padded = np.pad(images.crop_to_multiple(hr, scale)[0].numpy(), reach, mode="reflect")
    return signal.fftconvolve(padded, kernel.numpy(), mode="valid")[::scale, ::scale]  # as kernels.downsample


def disturb(lr: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Noise (none, white, correlated, growing with brightness; to 10 grey levels), rounding, JPEG for every fifth."""
    values = 255 * lr
    if rng.random() > 0.35:
        noise = rng.standard_normal(values.shape)
        if rng.random() < 0.25:
            noise = ndimage.gaussian_filter(noise, rng.uniform(0.3, 1.0))
        noise *= rng.uniform(0, 10) * LUMA_NOISE / noise.std()
        if rng.random() < 0.5:  # photons: dark parts are clean, so the quietest patches do not tell the noise
            share = rng.uniform(0, 1)
            noise *= np.sqrt(1 - share + share * values.clip(0, 255) / 128)
        values = values + noise
    if rng.random() > 0.2:
        return torch.from_numpy((values / LUMA_NOISE).round() * LUMA_NOISE / 255).clamp(0, 1).float()
    memory = io.BytesIO()
    picture = Image.fromarray(values.round().clip(0, 255).astype(np.uint8))
    picture.save(memory, "JPEG", quality=int(rng.integers(70, 99)))
    return torch.from_numpy(np.asarray(Image.open(memory)) / np.float32(255))


def examples(paths: list[Path], count: int, seed: int) -> Examples:
    """`count` examples, photos in turn; those without texture are left out."""
    rng = np.random.default_rng(seed)
    greys = [images.luma(images.read(path)) for path in paths]
    weights = np.array(list(MIX.values()))
    rows, taps = [], []
    for index in tqdm(range(count), desc="examples"):
        scale = 2 if rng.random() < 0.6 else 4
        name = str(rng.choice(list(MIX), p=weights / weights.sum()))
        kernel = kernel_draws.draw(name, scale, rng)
        try:
            lr = disturb(shoot(greys[index % len(greys)], kernel, scale, rng), rng)
            rows.append((*spectrum.features(lr, scale), name, float(scale)))
        except spectrum.NoTextureError:
            continue
        taps.append(kernel)
    return gathered(rows, taps)


def calibration(paths: list[Path]) -> Examples:
    """As many examples of every family at either scale: whole photos with white noise, and parts of photos, in turn."""
    greys = [images.luma(images.read(path)) for path in paths]
    rows, taps = [], []
    for number, (name, scale, index) in enumerate(product(kernel_draws.FAMILIES, (2, 4), range(EACH))):
        rng = np.random.default_rng([0, number])
        kernel = kernel_draws.draw(name, scale, rng)
        grey = greys[index % len(greys)]
        if index // len(greys) % 2:
            lr = disturb(shoot(grey, kernel, scale, rng), rng)
        else:
            hr = images.crop_to_multiple(images.resize(grey, rng.uniform(0.5, 0.75)).clamp(0, 1), scale)
            clean = kernels.downsample(hr, kernels.centre(kernel, scale), scale)[0]
            noise = rng.choice([0, rng.uniform(1, 8)]) * LUMA_NOISE / 255
            lr = clean + noise * torch.from_numpy(rng.standard_normal(clean.shape)).float()
        try:
            rows.append((*spectrum.features(lr.clamp(0, 1), scale), name, float(scale)))
        except spectrum.NoTextureError:
            continue
        taps.append(kernel)
    return gathered(rows, taps)


def gathered(rows: list[tuple[Tensor, Tensor, str, float]], taps: list[Tensor]) -> Examples:
    """Examples of statistics, families, scales and kernels."""
    directional, invariant, names, scales = (list(column) for column in zip(*rows, strict=True))
    logs = kernel_draws.closest_gaussians(taps, torch.tensor(scales))
    points, truth, residues = zip(*map(whitened, taps, scales, logs), strict=True)
    return Examples(
        torch.stack(directional), torch.stack(invariant), names, torch.tensor(scales), logs,
        torch.stack(points), torch.stack(truth), torch.stack(residues),
    )  # fmt: skip


def whitened(taps: Tensor, scale: float, log: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points, kernel and residue of one example; see `Examples`."""
    size, along, across = log.tolist()
    length, turn = math.hypot(along, across), math.atan2(across, along) / 2
    axes = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    axes = axes * np.exp([(size + length) / 2, (size - length) / 2])

    def values(points: np.ndarray) -> np.ndarray:
        x, y = (points @ axes.T * scale + (taps.shape[0] - 1) / 2).T
        found = ndimage.map_coordinates(taps.numpy().astype(float), [y, x], order=3)
        return found * scale**2 * math.exp(size)

    across_line, along_line = STEP * np.arange(REACH + 1), STEP * np.arange(-REACH, REACH + 1)
    half = np.stack(np.meshgrid(along_line, across_line), -1).reshape(-1, 2)
    cells = estimation.CELL * np.arange(estimation.CELLS)
    quarter = np.stack(np.meshgrid(cells, cells), -1).reshape(-1, 2)
    gaussian = [np.exp(-0.5 * (points**2).sum(1)) / (2 * math.pi) for points in (half, quarter)]
    if math.exp(size - length) * scale**2 < 2 * estimation.FLOOR:  # so few taps leave nothing to know
        truth, residue = gaussian[0], 0 * gaussian[1]
    else:
        truth = (values(half) + values(-half)) / 2
        mirrors = ((1, 1), (-1, 1), (1, -1), (-1, -1))
        residue = sum(values(quarter * np.array(mirror)) for mirror in mirrors) / 4 - gaussian[1]
    return tuple(torch.from_numpy(array).float() for array in (half @ axes.T, truth, residue))  # type: ignore[return-value]


def patterns(residues: Tensor) -> Tensor:
    """Principal components of the residues, each as large as it is on average, (5, cells, cells)."""
    weight = torch.ones(estimation.CELLS, estimation.CELLS)
    weight[0] *= 0.5
    weight[:, 0] *= 0.5
    root = weight.flatten().sqrt()
    used = residues[residues.abs().sum(1) > 0]
    _, values, components = torch.linalg.svd(used * root, full_matrices=False)
    usual = values[: estimation.SHAPES, None] / math.sqrt(len(used))
    return (components[: estimation.SHAPES] / root * usual).unflatten(1, weight.shape)


def kernel_error(
    network: estimation.DirectionalRegressor, log: Tensor, shape: Tensor,
    truth: Tensor, points: Tensor, size: Tensor,
) -> Tensor:  # fmt: skip
    """‖k_found − k_truth‖² / ‖k_truth‖², `size` the first column of the truth's log covariance."""
    weight = torch.ones(REACH + 1, 2 * REACH + 1)
    weight[0] = 0.5  # the line that both halves share
    found = network.density(log, shape, points) * size.exp()[:, None]
    return ((found - truth).square() @ weight.flatten()) / (truth.square() @ weight.flatten())


def train(data: Examples, seed: int = 0) -> estimation.DirectionalRegressor:
    """All but the standard errors: kernel error, with a little of the log covariance's to find the way from afar."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = estimation.DirectionalRegressor()
        network.patterns.copy_(patterns(data.residues))
        for name, values in (("directional", data.directional.flatten(0, 1)), ("invariant", data.invariant)):
            getattr(network, f"{name}_mean").copy_(values.mean(0))
            getattr(network, f"{name}_scale").copy_(values.std(0) + 1e-3)
        optimiser = torch.optim.AdamW(
            [*network.hidden.parameters(), *network.answer.parameters()], RATE, weight_decay=DECAY
        )
        steps = EPOCHS * len(data.logs) // BATCH
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
        for _ in tqdm(range(steps), desc="training"):
            batch = torch.randint(len(data.logs), (BATCH,))
            log, shape, _, _ = network(data.directional[batch], data.invariant[batch])
            wanted = data.logs[batch]
            error = kernel_error(network, log, shape, data.truth[batch], data.points[batch], wanted[:, 0])
            loss = (error + 1e-3).sqrt().mean() + 0.05 * (log - wanted).abs().clamp_max(1).mean()
            _descend(optimiser, loss)
            schedule.step()
    return network.eval()


def learn_errors(network: estimation.DirectionalRegressor, data: Examples, steps: int = 800) -> None:
    """Standard errors by what the photo shows: the 68 % quantile of the error of log variance, by the pinball loss."""
    miss = misses(network, data)[0]
    optimiser = torch.optim.Adam(network.doubt.parameters(), 1e-2, weight_decay=1e-2)
    for _ in tqdm(range(steps), desc="standard errors"):
        over = miss - network(data.directional, data.invariant)[2].exp()[:, [0, 1, 1]]
        _descend(optimiser, torch.maximum(0.68 * over, -0.32 * over).mean())


def correct_errors(network: estimation.DirectionalRegressor, data: Examples, steps: int = 500) -> None:
    """The correction by kind of kernel: the same loss, as a mean over families and scales.

    Added to it is how far the part of errors within one standard error (made smooth) is from 68 % in each.
    """
    miss = misses(network, data)[0]
    kinds = [f"{name} {scale:g}" for name, scale in zip(data.names, data.scales.tolist(), strict=True)]
    member = torch.tensor([[kind == one for one in sorted(set(kinds))] for kind in kinds]).float()
    share = member / member.sum(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer in network.correction:
            if isinstance(layer, torch.nn.Linear):
                layer.reset_parameters()
    optimiser = torch.optim.Adam(network.correction.parameters(), 1e-2, weight_decay=1e-4)
    for _ in tqdm(range(steps), desc="correction"):
        error = network(data.directional, data.invariant)[3].exp()[:, [0, 1, 1]]
        over = miss - error
        pinball = (share.T @ torch.maximum(0.68 * over, -0.32 * over)).mean()
        within = share.T @ torch.sigmoid(6 * (error.log() - miss.clamp_min(1e-3).log()))
        _descend(optimiser, pinball + 6 * (within - 0.68).square().mean())


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


@torch.no_grad()
def misses(network: estimation.DirectionalRegressor, data: Examples) -> tuple[Tensor, Tensor, Tensor]:
    """(N, 3) errors of log variance: overall, and two stretches; the (N, 2) standard errors; the kernels' L2 errors."""
    log, shape, _, doubt = network(data.directional, data.invariant)
    error = kernel_error(network, log, shape, data.truth, data.points, data.logs[:, 0]).sqrt()
    floor = estimation.FLOOR / data.scales[:, None, None] ** 2 * torch.eye(2)
    log = estimation.log_of_covariance(estimation.covariance_from_log(log) + floor)
    return (log - data.logs).abs(), doubt.exp(), error


def check(network: estimation.DirectionalRegressor, data: Examples) -> str:
    """Mean relative L2 error, and the part of errors within one standard error (68 % is right), by scale and family."""
    miss, doubt, error = misses(network, data)
    lines = []
    for scale in (2, 4):
        for name in MIX:
            rows = [i for i, found in enumerate(data.names) if found == name and data.scales[i] == scale]
            within = (miss[rows] < doubt[rows][:, [0, 1, 1]]).float().mean(0)
            lines.append(
                f"x{scale} {name:14s} {len(rows):4d} examples  L2 {error[rows].mean():.3f}  within one s.e.: "
                f"size {within[0]:.0%}, stretch {within[1:].mean():.0%}"
            )
    return "\n".join(lines)


def split(folder: Path) -> dict[str, list[Path]]:
    """Photos for the network, for its standard errors, and for `check`; no photo is in two of them."""
    found = sorted(folder.glob("*.webp"))
    held = [path for path in found if path.name.startswith(HELD_OUT)]
    apart = [path for path in found if path.name.startswith(APART)]
    rest = [path for path in found if path not in held + apart]
    calibration = rest[::6] + apart
    training = [path for path in rest if path not in calibration]
    return {"train": training + photos("train"), "calibrate": calibration, "check": held}


def joined(blocks: list[Examples]) -> Examples:
    """The examples of all blocks as one."""
    columns = {name: [getattr(block, name) for block in blocks] for name in Examples.__dataclass_fields__}
    names = [*chain(*columns.pop("names"))]
    return Examples(names=names, **{name: torch.cat(parts) for name, parts in columns.items()})


def store(network: estimation.DirectionalRegressor) -> None:
    """Write the weights as JSON, five significant digits each."""
    state = json.dumps({name: values.double().tolist() for name, values in network.state_dict().items()})
    weights = json.loads(state, parse_float=lambda text: float(f"{float(text):.5g}"))
    with images.atomic_path(estimation.WEIGHTS) as path:
        path.write_text(json.dumps({"made by": "scripts/fit_kernel_regressor.py", "weights": weights}) + "\n")
    estimation.stored_network.cache_clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="photos to train on (.webp)")
    parser.add_argument("--correction", action="store_true", help="only the correction of the stored weights")
    parser.add_argument("--check", action="store_true", help="only measure the stored weights")
    arguments = parser.parse_args()
    if arguments.folder is None and not arguments.correction:
        parser.error("name the folder of photos")
    torch.set_num_threads(1)
    paths = split(arguments.folder) if arguments.folder else {}
    if not arguments.check:
        network = copy.deepcopy(estimation.stored_network()).requires_grad_(True)
        if not arguments.correction:
            network = train(joined([examples(paths["train"], count, seed) for count, seed in BLOCKS]))
            apart = [examples(paths["calibrate"], count, seed) for count, seed in CALIBRATION]
            learn_errors(network, joined(apart))
        data = calibration(photos("val"))
        correct_errors(network, data)
        store(network)
        print(check(network, data))
    if paths:
        print(check(estimation.stored_network(), examples(paths["check"], 1000, seed=3)))


if __name__ == "__main__":
    main()
