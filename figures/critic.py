"""Notebook 05: the way from a batch to a generator: match, price, learn, climb."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from shapes import arrows_between
from torch import Tensor

from otsr.course.plots import COLOURS
from otsr.transport import barycentric_map, potentials, quadratic_cost

STATIONS_ALT = (
    "Five squares, left to right, each with the same points. Batch: five orange-red fakes in the middle, five green "
    "reals around. Plan: a blue line joins each fake with one real. Prices: the points carry purple discs, large on "
    "reals, small on fakes. Critic: the plane is shaded like a landscape, and purple arrows point uphill, outwards. "
    "Generator: the fakes have moved along the arrows, close to the reals."
)
_REALS = torch.tensor([[-1.5, 0.9], [-1.6, -0.7], [0.1, -1.6], [1.5, -0.6], [1.2, 1.3]])
_FAKES = torch.tensor([[-0.45, 0.35], [-0.5, -0.35], [0.05, -0.6], [0.55, -0.15], [0.3, 0.5]])


def stations() -> Figure:
    """Batch → plan → prices → critic → generator."""
    labels = potentials(quadratic_cost(_REALS, _FAKES, K=1.0))
    goal = barycentric_map(labels.plan, _REALS)
    figure, panels = plt.subplots(1, 5, figsize=(11, 2.85), gridspec_kw={"wspace": 0.3}, layout="none")
    figure.subplots_adjust(left=0.01, right=0.99, top=0.84, bottom=0.14)
    below = ("reals y, fakes x", "from x to ŷ", "h and g", "D and ∇D", "along ∇D / K")
    for axes, title, words in zip(panels, ("batch", "plan", "prices", "critic", "generator"), below, strict=True):
        axes.set(xlim=(-2.1, 2.1), ylim=(-2.1, 2.1), xticks=[], yticks=[], aspect="equal")
        axes.set_title(title, fontsize=16)
        axes.set_xlabel(words, fontsize=14)
        for spine in axes.spines.values():
            spine.set(visible=True, linewidth=1.5)
    for start, end in zip(_FAKES.tolist(), goal.tolist(), strict=True):
        panels[1].plot(*zip(start, end, strict=True), color=COLOURS["map"], linewidth=3, zorder=1)
    _discs(panels[2], labels.real, labels.fake)
    _landscape(panels[3], labels.real)
    panels[4].plot(*_FAKES.T, "o", color=COLOURS["generated"], markersize=7, alpha=0.25)
    _points(panels[4], _FAKES + 0.85 * (goal - _FAKES))
    for axes in panels[:4]:
        _points(axes, _FAKES)
    arrows_between(figure, panels)
    return figure


def _points(axes: Axes, fakes: Tensor) -> None:
    axes.plot(*_REALS.T, "s", color=COLOURS["real"], markersize=9, zorder=3)
    axes.plot(*fakes.T, "o", color=COLOURS["generated"], markersize=8, zorder=3)


def _discs(axes: Axes, real: Tensor, fake: Tensor) -> None:
    """A disc behind each sample, the larger the higher its price."""
    lowest = min(float(real.min()), float(fake.min()))
    for places, prices in ((_REALS, real), (_FAKES, fake)):
        sizes = 250 + 900 * (prices.numpy() - lowest)
        axes.scatter(
            places[:, 0],
            places[:, 1],
            s=sizes,
            color=COLOURS["potential"],
            alpha=0.45,
            linewidths=0,
            zorder=2,
        )


def _landscape(axes: Axes, real: Tensor) -> None:
    """g(x) = max_j h_j − ½ ‖x − y_j‖², smoothed as a network would, and its gradient on a grid."""
    line = torch.linspace(-2.1, 2.1, 60)
    plane = torch.cartesian_prod(line, line)
    axes.contourf(line, line, _price(plane, real).reshape(60, 60).T, 9, cmap="Greys", alpha=0.6)
    ticks = torch.linspace(-0.75, 0.75, 3)
    starts = torch.cartesian_prod(ticks, ticks).requires_grad_()
    (slope,) = torch.autograd.grad(_price(starts, real).sum(), starts)
    moving = slope.norm(dim=1) > 0.2
    where, along = starts.detach()[moving], slope[moving]
    axes.quiver(
        *where.T, *np.asarray(along).T, color=COLOURS["potential"], angles="xy", scale_units="xy", scale=1.4,
        width=0.02, zorder=4,
    )  # fmt: skip


def _price(points: Tensor, real: Tensor) -> Tensor:
    squares = (points[:, None] - _REALS).square().sum(2)
    return 0.2 * torch.logsumexp((real.to(points) - squares / 2) / 0.2, 1)


DRAWINGS = {"plan_to_critic": (stations, STATIONS_ALT)}
