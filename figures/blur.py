"""Notebook 02: the blur that a photo shows at two scales, and the game of KernelGAN."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from shapes import arrow, box

from otsr.course.plots import COLOURS

SCALES_ALT = (
    "Three boxes in a row. The scene, with a blur of its own of variance v_b. An arrow, blur by the camera's kernel of "
    "variance v_k and keep every second pixel, leads to the photo, whose blur is (v_b + v_k) / 4 in its own pixels. An "
    "arrow, blur by a kernel of variance v' and keep every second pixel, leads to the shrunk photo, whose blur is "
    "((v_b + v_k) / 4 + v') / 4. A bracket over the last two says that they must look alike."
)
KERNELGAN_ALT = (
    "The game of KernelGAN. From the photo go two arrows. One to large crops, 64 by 64, which the generator G, one "
    "13 by 13 kernel that keeps every second pixel, shrinks to 26 by 26. The other to crops of 26 by 26 as they are. "
    "Both end at the critic D, which looks at patches of 7 by 7 and says: shrunk, or from the photo?"
)


def two_scales() -> Figure:
    """Scene, photo and shrunk photo, with the variance of the blur of each in its own pixels."""
    figure, axes = _canvas(11.5, 2.8, (0, 23), (0.5, 6.1))
    boxes = (
        (0.2, "scene", r"$v_b$", "real"),
        (8.6, "photo", r"$(v_b + v_k)\,/\,4$", "LR"),
        (17.0, "shrunk photo", r"$((v_b + v_k)/4 + v')\,/\,4$", "LR"),
    )
    for left, name, variance, role in boxes:
        box(axes, (left, 0.7), (5.8, 2.6), COLOURS[role])
        axes.text(left + 2.9, 2.4, name, ha="center", va="center", fontsize=16, weight="bold")
        axes.text(left + 2.9, 1.4, variance, ha="center", va="center", fontsize=16)
    for left, kernel in ((6.1, "$k$: $v_k$"), (14.5, "$k'$: $v'$")):
        arrow(axes, (left, 2.0), (left + 2.4, 2.0))
        axes.text(left + 1.2, 2.75, kernel, ha="center", fontsize=15)
        axes.text(left + 1.2, 1.0, r"$\downarrow 2$", ha="center", fontsize=15)
    bracket = [(11.5, 3.6), (11.5, 4.6), (19.9, 4.6), (19.9, 3.6)]
    axes.plot(*zip(*bracket, strict=True), color="black", linewidth=2)
    axes.text(15.7, 5.3, "must look alike, so their blurs are equal", ha="center", va="center", fontsize=15)
    return figure


def kernelgan_game() -> Figure:
    """Photo, generator, critic: what is compared with what."""
    figure, axes = _canvas(11.5, 3.7, (0, 23), (0, 7.4))
    box(axes, (0.2, 2.4), (3.6, 2.6), COLOURS["LR"])
    axes.text(2.0, 3.7, "photo", ha="center", va="center", fontsize=16, weight="bold")
    box(axes, (9.0, 4.4), (4.6, 2.6), COLOURS["generated"])
    axes.text(11.3, 6.1, "G", ha="center", va="center", fontsize=18, weight="bold")
    axes.text(11.3, 5.1, "13×13 kernel, ↓ 2", ha="center", va="center", fontsize=14)
    box(axes, (18.6, 2.2), (4.2, 3.0), COLOURS["potential"])
    axes.text(20.7, 4.4, "D", ha="center", va="center", fontsize=18, weight="bold")
    axes.text(20.7, 3.2, "7×7 patches:\nshrunk or not?", ha="center", va="center", fontsize=14)
    arrow(axes, (3.95, 4.4), (8.85, 5.7))
    axes.text(6.2, 5.75, "crops 64×64", ha="center", fontsize=14)
    arrow(axes, (13.75, 5.7), (18.45, 4.4))
    axes.text(16.5, 5.6, "26×26", ha="center", fontsize=14)
    arrow(axes, (3.95, 3.0), (18.45, 3.0))
    axes.text(11.3, 2.2, "crops 26×26 as they are", ha="center", fontsize=14)
    axes.text(
        11.3,
        0.7,
        "G wins when D cannot tell: then shrinking by G's kernel changes no patch statistics",
        ha="center",
        fontsize=14,
        style="italic",
    )
    return figure


def _canvas(width: float, height: float, across: tuple[float, float], up: tuple[float, float]) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(width, height))
    axes.set(xlim=across, ylim=up)
    axes.axis("off")
    return figure, axes


DRAWINGS = {"two_scales": (two_scales, SCALES_ALT), "kernelgan": (kernelgan_game, KERNELGAN_ALT)}
