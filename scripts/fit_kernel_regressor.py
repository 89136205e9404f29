"""Train the network of `otsr.degradation.spectrum` and write its weights, from the course's train photos alone.

    python scripts/fit_kernel_regressor.py            # about 8 minutes on one core, the same weights every time
    python scripts/fit_kernel_regressor.py --check    # 1 minute: errors of the stored weights on the val photos

Each example is the luma of a train photo, shrunk by 0.5 to 0.75, turned and mirrored, blurred by a random anisotropic
Gaussian, downsampled by 2 or 4, with white or correlated noise, rounding and JPEG at random. The loss is the relative
L2 error between the kernels of the true and of the found covariance, in closed form. Test photos are never read.
"""

from __future__ import annotations

import argparse
import io
import json
import math

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor
from tqdm.auto import tqdm

from otsr import images
from otsr.datasets import photos
from otsr.degradation import kernels, spectrum

EXAMPLES, EPOCHS, BATCH, RATE, DECAY = 6000, 150, 64, 3e-3, 1e-2
FLOOR = 0.1  # HR pixels²: keeps the loss from asking for variances too small to change the taps
LUMA_NOISE = 0.57  # standard deviation of luma when R, G and B have white noise of 1


def degrade(grey: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, int]:
    """LR luma (H, W) of a photo's luma (1, H, W), the covariance of the kernel in LR pixels², the scale."""
    hr = images.resize(grey, rng.uniform(0.5, 0.75)).clamp(0, 1)
    hr = torch.rot90(hr, int(rng.integers(4)), (1, 2))
    hr = hr.flip(2) if rng.random() < 0.5 else hr
    scale = 2 if rng.random() < 0.6 else 4
    first, second = rng.uniform(0.3, 3.1, 2) * scale / 2
    second = first if rng.random() < 0.15 else second
    angle = rng.uniform(0, 180)
    kernel = kernels.gaussian(11 * scale, first**2, second**2, angle)
    lr = kernels.downsample(images.crop_to_multiple(hr, scale), kernel, scale)[0]
    along = np.array([math.cos(math.radians(angle)), -math.sin(math.radians(angle))])
    across = np.array([-along[1], along[0]])
    covariance = first**2 * np.outer(along, along) + second**2 * np.outer(across, across)
    return disturb(cut(lr, rng), rng), torch.from_numpy(covariance / scale**2).float(), scale


def cut(lr: Tensor, rng: np.random.Generator) -> Tensor:
    """Every fourth image is cut to a random part, at least 80 pixels a side."""
    if rng.random() < 0.75:
        return lr
    height, width = (int(rng.integers(min(80, n), n + 1)) for n in lr.shape)
    top, left = int(rng.integers(lr.shape[0] - height + 1)), int(rng.integers(lr.shape[1] - width + 1))
    return lr[top : top + height, left : left + width]


def disturb(lr: Tensor, rng: np.random.Generator) -> Tensor:
    """Noise (none, white, correlated, growing with brightness; to 10 grey levels), rounding, JPEG for every fifth."""
    values = 255 * lr.double().numpy()
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
    Image.fromarray(values.round().clip(0, 255).astype(np.uint8)).save(
        memory, "JPEG", quality=int(rng.integers(75, 99))
    )
    return torch.from_numpy(np.asarray(Image.open(memory)) / np.float32(255))


def examples(split: str, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`count` examples, photos in turn: directional and invariant features, covariances, scales."""
    rng = np.random.default_rng(seed)
    greys = [images.luma(images.read(path)) for path in photos(split)]
    rows = []
    for index in tqdm(range(count), desc=f"{split} photos"):
        lr, covariance, scale = degrade(greys[index % len(greys)], rng)
        try:
            rows.append((*spectrum.features(lr, scale), covariance, torch.tensor(float(scale))))
        except spectrum.NoTextureError:
            continue
    directional, invariant, covariances, scales = (torch.stack(column) for column in zip(*rows, strict=True))
    return directional, invariant, covariances, scales


def kernel_error(found: Tensor, truth: Tensor, scale: Tensor) -> Tensor:
    """‖g_found − g_truth‖² / ‖g_truth‖² of two Gaussian densities, covariances in LR pixels²."""
    floor = FLOOR * torch.eye(2)
    a, b = (s * scale[:, None, None] ** 2 + floor for s in (truth, found))
    return 1 + (a.det() / b.det()).sqrt() - 4 * (a.det() / (a + b).det()).sqrt()


def log_of(covariance: Tensor) -> Tensor:
    """(B, 2, 2) → (B, 3): the inverse of `spectrum.covariance_from_log`."""
    values, vectors = torch.linalg.eigh(covariance)
    log = vectors @ torch.diag_embed(values.clamp_min(1e-3).log()) @ vectors.mT
    size = (log[:, 0, 0] + log[:, 1, 1]) / 2
    return torch.stack([size, log[:, 0, 0] - size, log[:, 0, 1]], 1)


def train(count: int = EXAMPLES, seed: int = 0) -> spectrum.DirectionalRegressor:
    """Kernel error for the answer; Gaussian likelihood of the log-covariance's error for the standard errors."""
    directional, invariant, truth, scale = examples("train", count, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = spectrum.DirectionalRegressor()
        for name, values in (("directional", directional.flatten(0, 1)), ("invariant", invariant)):
            getattr(network, f"{name}_mean").copy_(values.mean(0))
            getattr(network, f"{name}_scale").copy_(values.std(0) + 1e-3)
        optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
        steps = EPOCHS * len(truth) // BATCH
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
        wanted = log_of(truth + FLOOR / scale[:, None, None] ** 2 * torch.eye(2))
        for _ in tqdm(range(steps), desc="training"):
            batch = torch.randint(len(truth), (BATCH,))
            answer, doubt = network(directional[batch], invariant[batch])
            found = spectrum.covariance_from_log(answer)
            error = kernel_error(found, truth[batch], scale[batch]).clamp_min(0)
            floor = FLOOR / scale[batch, None, None] ** 2 * torch.eye(2)
            miss = log_of((found + floor).detach()) - wanted[batch]
            likelihood = doubt[:, [0, 1, 1]] + 0.5 * (miss / doubt[:, [0, 1, 1]].exp()) ** 2
            loss = (error + 1e-3).sqrt().mean() + 0.1 * likelihood.mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def check(network: spectrum.DirectionalRegressor, split: str = "val", count: int = 480) -> dict[str, float]:
    """Mean relative L2 errors, and the part of log-covariance errors within one standard error (68 % is right)."""
    directional, invariant, truth, scale = examples(split, count, seed=1)
    with torch.no_grad():
        answer, doubt = network(directional, invariant)
    found, floor = spectrum.covariance_from_log(answer), FLOOR / scale[:, None, None] ** 2 * torch.eye(2)
    miss = (log_of(found + floor) - log_of(truth + floor)).abs() / doubt[:, [0, 1, 1]].exp()
    error = kernel_error(found, truth, scale).clamp_min(0).sqrt()
    return {
        "examples": len(error),
        "error ×2": float(error[scale == 2].mean()),
        "error ×4": float(error[scale == 4].mean()),
        "size within 1 s.e.": float((miss[:, 0] < 1).float().mean()),
        "stretch within 1 s.e.": float((miss[:, 1:] < 1).float().mean()),
    }


def store(network: spectrum.DirectionalRegressor) -> None:
    """Write the weights as JSON, five significant digits each."""
    state = json.dumps({name: values.double().tolist() for name, values in network.state_dict().items()})
    weights = json.loads(state, parse_float=lambda text: float(f"{float(text):.5g}"))
    with images.atomic_path(spectrum.WEIGHTS) as path:
        path.write_text(json.dumps({"made by": "scripts/fit_kernel_regressor.py", "weights": weights}) + "\n")
    spectrum.stored_network.cache_clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="only measure the stored weights")
    parser.add_argument("--examples", type=int, default=EXAMPLES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.check:
        store(train(arguments.examples))
    print({name: round(value, 3) for name, value in check(spectrum.stored_network()).items()})


if __name__ == "__main__":
    main()
