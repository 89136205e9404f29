"""Notebook 01: what a camera does to a scene, step by step, and the grid on which it samples."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from shapes import arrows_between

from otsr.course.plots import COLOURS
from otsr.datasets import data_dir
from otsr.degradation import Degradation, kernels
from otsr.images import read, resize, to_array

CHAIN_ALT = (
    "The degradation as a chain of six squares, left to right. A sharp koala, x, framed in green. Blur: a round spot, "
    "the kernel k. Sample: a grid of pixels of which every fourth is kept. Noise: grey speckles, n. JPEG: an 8 by 8 "
    "block of waves, rounded. A small, coarse and grainy koala, y, framed in grey. Below: y = JPEG((x * k) down s + n)."
)
GRID_ALT = (
    "A row of twelve green HR pixels, numbered 0 to 11, above three grey LR pixels, each as wide as four HR pixels. "
    "The centres of the LR pixels lie at 1.5, 5.5 and 9.5: on borders between HR pixels, never on one. Above the "
    "middle one a kernel of eight bars, four to each side of its centre."
)
_SCALE = 4


def degradation_chain() -> Figure:
    """y = JPEG((x * k)↓s + n), a picture for each symbol."""
    hr = resize(read(data_dir() / "photos" / "koala.webp"), 0.75)[:, 180:372, 260:452].clamp(0, 1)
    spot = kernels.gaussian(16, 2.0**2)
    noisy = Degradation(_SCALE, spot).apply(hr, seed=0)
    generator = torch.Generator().manual_seed(0)
    noisy = noisy + 10 / 255 * torch.randn(noisy.shape, generator=generator)
    speckle = 0.5 + 0.15 * torch.randn(16, 16, generator=generator)
    figure, axes = plt.subplots(1, 6, figsize=(11, 2.85), gridspec_kw={"wspace": 0.28}, layout="none")
    figure.subplots_adjust(left=0.01, right=0.99, top=0.84, bottom=0.28)
    _glyph(axes[0], to_array(resize(hr, 0.5)), "scene", "x", COLOURS["real"])
    _glyph(axes[1], spot.numpy(), "blur", "∗ k")
    _keep_every_fourth(axes[2])
    _glyph(axes[3], speckle.numpy(), "noise", "+ n", limits=(0, 1))
    _glyph(axes[4], _waves(), "JPEG", "rounded", limits=(-1, 1))
    small = Degradation(1, jpeg=(50, 50)).apply(noisy.clamp(0, 1), seed=0)
    _glyph(axes[5], to_array(small), "photo", "y", COLOURS["LR"])
    arrows_between(figure, axes)
    figure.text(0.5, 0.03, r"$y \;=\; \mathrm{JPEG}\,((x * k)\!\downarrow_s +\; n)$", ha="center", fontsize=18)
    return figure


def sampling_grid() -> Figure:
    """Where LR pixels lie among HR pixels at ×4, and why a kernel there has an even number of taps."""
    figure, axes = plt.subplots(figsize=(11, 4.1))
    for pixel in range(3 * _SCALE):
        _square(axes, pixel - 0.5, 0, 1, COLOURS["real"])
        axes.text(pixel, 0.5, str(pixel), ha="center", va="center", fontsize=14)
    for pixel in range(3):
        centre = _SCALE * (pixel + 0.5) - 0.5
        _square(axes, centre - _SCALE / 2, -1.35, _SCALE, COLOURS["LR"])
        axes.text(centre, -0.85, f"LR pixel {pixel}, centre {centre:g}", ha="center", va="center", fontsize=14)
        axes.plot([centre, centre], [-0.35, 1.15], color="black", linewidth=2, linestyle=(0, (2, 1.5)))
    taps = np.arange(8)
    heights = 1.5 * np.exp(-0.5 * ((taps - 3.5) / 1.6) ** 2)
    axes.bar(taps + 2, heights, width=0.72, bottom=1.25, color=COLOURS["other"])
    axes.text(9.6, 2.2, "a kernel of 8 taps,\ncentred on LR pixel 1", va="center", fontsize=14)
    axes.text(-0.7, 0.5, "HR", ha="right", va="center", weight="bold", color=COLOURS["real"])
    axes.text(-0.7, -0.85, "LR", ha="right", va="center", weight="bold", color=COLOURS["LR"])
    axes.set(xlim=(-1.6, 13), ylim=(-1.5, 2.85))
    axes.axis("off")
    return figure


def _glyph(
    axes: Axes,
    pixels: np.ndarray,
    title: str,
    below: str,
    colour: str = "black",
    limits: tuple[float | None, float | None] = (0, None),
) -> None:
    axes.imshow(pixels, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=16)
    axes.set_xlabel(below, fontsize=14)
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=4 if colour != "black" else 1.5)


def _keep_every_fourth(axes: Axes) -> None:
    _glyph(axes, np.full((12, 12), 0.93), "sample", "↓ s", limits=(0, 1))
    for line in np.arange(0.5, 11.5):
        axes.axhline(line, color="white", linewidth=1)
        axes.axvline(line, color="white", linewidth=1)
    kept = np.arange(1.5, 12, _SCALE)
    rows, columns = np.meshgrid(kept, kept)
    axes.plot(columns.ravel(), rows.ravel(), "s", color=COLOURS["LR"], markersize=11)


def _waves() -> np.ndarray:
    """A few of the 64 cosines that JPEG writes a block with, as a 4 × 4 table."""
    place = (np.arange(8) + 0.5) * np.pi / 8
    tiles = [[np.outer(np.cos(2 * v * place), np.cos(2 * u * place)) for u in range(4)] for v in range(4)]
    framed = [[np.pad(tile, 1, constant_values=1) for tile in row] for row in tiles]
    return np.block(framed)


def _square(axes: Axes, left: float, bottom: float, width: float, colour: str) -> None:
    axes.add_patch(Rectangle((left + 0.04, bottom), width - 0.08, 1, facecolor="white", edgecolor=colour, linewidth=3))


DRAWINGS = {"degradation": (degradation_chain, CHAIN_ALT), "sampling_grid": (sampling_grid, GRID_ALT)}
