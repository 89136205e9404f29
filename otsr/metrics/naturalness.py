"""NIQE: how far the statistics of a picture's blocks lie from those of pristine photographs. No truth needed."""

from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import correlate1d
from scipy.special import gamma
from torch import Tensor

from otsr.datasets import data_dir
from otsr.images import as_batch, luma, resize
from otsr.metrics.inputs import like_input

BLOCK = 96
_SHAPES = np.arange(200, 10_001) / 1000  # shape parameters that the fit chooses from
_SHIFTS = ((0, 1), (1, 0), (1, 1), (-1, 1))  # right, down, both diagonals


@torch.no_grad()
def niqe(image: Tensor) -> Tensor:
    """Natural image quality evaluator, by the protocol of its authors' MATLAB release; lower is better.

    Y (BT.601, 0 to 255, rounded as MATLAB's uint8) is cut into blocks of 96×96; the rest at the right and
    bottom is left out. At full and at half size (bicubic) each pixel is freed of its local mean and contrast,
    (Y - μ)/(σ + 1) with a Gaussian window 7×7 of σ 7/6, and generalised Gaussians are fitted to the values and
    to the products of neighbours: 36 features a block. With mean m and covariance S of the features,
    NIQE = √( (m - m₀)ᵀ ((S + S₀)/2)⁺ (m - m₀) ), m₀ and S₀ being those of pristine photographs.

    It judges neither the scene nor fidelity, and few blocks make it unsure: take pictures of 500 pixels or
    more, and compare equal sizes only.

    Args:
        image: (3, H, W) or (B, 3, H, W) in [0, 1], with room for two blocks that are not flat.

    Reference: Mittal, Soundararajan, Bovik, IEEE SPL 2013, doi 10.1109/LSP.2012.2227726.
    """
    batch = as_batch(image, "image")
    height, width = batch.shape[-2:]
    if (height // BLOCK) * (width // BLOCK) < 2:
        raise ValueError(
            f"NIQE needs two blocks of {BLOCK}×{BLOCK} or more, the picture has {width}×{height}; "
            f"use one of {2 * BLOCK}×{BLOCK} or larger"
        )
    values = [_distance(_features(picture)) for picture in batch.cpu().double()]
    return like_input(torch.tensor(values, dtype=torch.float64), image)


@lru_cache(maxsize=1)
def _pristine() -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the features of pristine photographs."""
    with np.load(data_dir() / "metrics" / "niqe_pris_params.npz") as parameters:
        return parameters["mu_pris_param"].ravel(), parameters["cov_pris_param"]


def _distance(features: np.ndarray) -> float:
    mean, covariance = _pristine()
    whole = features[~np.isnan(features).any(axis=1)]
    if len(whole) < 2:
        found = f"{len(whole)} of {len(features)} blocks show anything but a flat area"
        raise ValueError(f"NIQE: {found}, it needs 2; use a picture with more texture")
    difference = np.nanmean(features, axis=0) - mean
    pooled = np.linalg.pinv((covariance + np.cov(whole, rowvar=False)) / 2)
    return float(np.sqrt(difference @ pooled @ difference))


def _features(picture: Tensor) -> np.ndarray:
    """(blocks, 36): 18 features at full size, 18 at half size; NaN where a flat block has none."""
    height, width = (side // BLOCK * BLOCK for side in picture.shape[-2:])
    y = (luma(picture[:, :height, :width]) * 255).round()
    half = resize(y / 255, 0.5) * 255
    sizes = ((y, BLOCK), (half, BLOCK // 2))
    return np.concatenate([_block_features(_blocks(_normalised(x[0].numpy()), n)) for x, n in sizes], axis=1)


def _normalised(y: np.ndarray) -> np.ndarray:
    """(Y - μ)/(σ + 1) with local mean μ and deviation σ; borders are replicated."""
    taps = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
    taps /= taps.sum()

    def smooth(x: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(x, taps, axis=0, mode="nearest"), taps, axis=1, mode="nearest")

    mean = smooth(y)
    values = (y - mean) / (np.sqrt(np.abs(smooth(y * y) - mean * mean)) + 1)
    return np.where(np.abs(values) < 1e-9, 0.0, values)  # a flat area is flat, not noise of rounding


def _blocks(x: np.ndarray, size: int) -> np.ndarray:
    """(rows · columns, size, size), row by row."""
    rows, columns = x.shape[0] // size, x.shape[1] // size
    return x.reshape(rows, size, columns, size).swapaxes(1, 2).reshape(-1, size, size)


def _block_features(blocks: np.ndarray) -> np.ndarray:
    """(blocks, 18): shape and scale of the values; shape, mean and two scales of each neighbour's product."""
    shape, left, right = _fit(blocks)
    columns = [shape, (left + right) / 2]
    for shift in _SHIFTS:
        shape, left, right = _fit(blocks * np.roll(blocks, shift, axis=(1, 2)))
        columns += [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]
    return np.stack(columns, axis=1)


def _fit(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Asymmetric generalised Gaussians by moments: shape, left scale and right scale of each block.

    Where a block has no negative or no positive value the scales are NaN and the shape is the smallest of the
    grid, as in the authors' code.
    """
    x = blocks.reshape(len(blocks), -1)
    squares = x * x
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.sqrt((squares * (x < 0)).sum(1) / (x < 0).sum(1))
        right = np.sqrt((squares * (x > 0)).sum(1) / (x > 0).sum(1))
        ratio = left / right
        moment = np.abs(x).mean(1) ** 2 / squares.mean(1)
    moment = moment * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    moments = gamma(2 / _SHAPES) ** 2 / (gamma(1 / _SHAPES) * gamma(3 / _SHAPES))  # increases with the shape
    nearest = np.searchsorted((moments[1:] + moments[:-1]) / 2, moment)
    shape = _SHAPES[np.where(np.isnan(moment), 0, nearest)]
    spread = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * spread, right * spread
