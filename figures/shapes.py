"""Shapes that several drawings share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

Point = tuple[float, float]


def box(axes: Axes, corner: Point, size: Point, edge: str, face: str = "white", line: float = 4) -> None:
    """A rectangle with round corners."""
    style = "round,pad=0.05,rounding_size=0.3"
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle=style, facecolor=face, edgecolor=edge, linewidth=line))


def arrow(axes: Axes, start: Point, end: Point, bend: float = 0.0) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>",
            mutation_scale=22,
            linewidth=2.2,
            color="black",
        )
    )


def arrows_between(figure: Figure, panels: Sequence[Axes]) -> None:
    """An arrow from each panel of a row to the next."""
    for left, right in pairwise(panels):
        start, end = left.get_position().x1 + 0.004, right.get_position().x0 - 0.004
        middle = (left.get_position().y0 + left.get_position().y1) / 2
        figure.add_artist(
            FancyArrowPatch(
                (start, middle),
                (end, middle),
                arrowstyle="-|>",
                mutation_scale=20,
                linewidth=2.2,
                transform=figure.transFigure,
                color="black",
            )
        )
