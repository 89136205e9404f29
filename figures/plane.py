"""Notebook 06: the perception–distortion plane: what can be reached, and the line on which the OT weight moves."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from otsr.course.plots import COLOURS

PLANE_ALT = (
    "A plane. To the right: unlike real pictures, P. Upwards: far from the truth, D. A blue curve falls from the upper "
    "left, a dot called X zero, transported, weight 1, to the lower right, a dot called X star, best guess, weight 0, "
    "and runs on level from there. A third dot half way along the curve: weight one half. It lies hardly above X star "
    "in D. The region below the curve is hatched: no method gets there."
)


def plane() -> Figure:
    """D(P) = D* + ((P* − P)₊)² with P* = 1, and the estimators of weight 1, ½ and 0 on it."""
    figure, axes = plt.subplots(figsize=(8.5, 3.8))
    P = np.linspace(0, 1.5, 200)
    D = 0.6 + np.clip(1 - P, 0, None) ** 2
    axes.fill_between(P, 0, D, facecolor="#F2F2F2", hatch="//", edgecolor="#BBBBBB", linewidth=0)
    axes.plot(P, D, color=COLOURS["map"], linewidth=4)
    for weight, name, dx, dy in (
        (1.0, "$X_0$: transported, weight 1", 0.05, 0.03),
        (0.5, "weight ½", 0.03, 0.08),
        (0.0, "$X^*$: best guess, weight 0", 0.0, 0.1),
    ):
        at = (1 - weight, 0.6 + weight**2)
        axes.plot(*at, "o", color=COLOURS["generated"], markersize=14, clip_on=False, zorder=3)
        axes.text(at[0] + dx, at[1] + dy, name, fontsize=15)
    axes.text(0.75, 0.25, "no method gets here", ha="center", fontsize=15, style="italic",
              bbox={"facecolor": "white", "edgecolor": "none"})  # fmt: skip
    axes.set(xlim=(0, 1.5), ylim=(0, 1.75), xticks=[0, 1], yticks=[0.6])
    axes.set_xticklabels(["0", "$P^*$"])
    axes.set_yticklabels(["$D^*$"])
    axes.set_xlabel("P: unlike real pictures →")
    axes.set_ylabel("D: far from the truth →")
    return figure


DRAWINGS = {"perception_distortion": (plane, PLANE_ALT)}
