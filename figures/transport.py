"""Notebook 04: two ways to move bricks, the carrier's prices, and what a plan may do with a pile."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle

from otsr.course.plots import COLOURS

TWO_WAYS_ALT = (
    "Three bricks lie at 0, 1 and 2; three are wanted at 1, 2 and 3. Left, one brick is carried in a long arc from 0 "
    "to 3 and two stay: distance 3, squared distance 9. Right, each brick moves by one: distance 3, squared distance 3."
)
PRICES_ALT = (
    "Two piles of earth below, in orange-red, with prices v1 and v2; two holes above, in green, with prices u1 and u2. "
    "Two thick blue routes carry earth: on them the prices add up to the cost. Two thin dashed routes carry none: "
    "there the prices add up to less than the cost, and the rest is called slack."
)
PLANS_ALT = (
    "Three panels, piles below in orange-red, holes above in green, arrows in blue. Monge: each of three piles goes "
    "whole to one hole. Kantorovich: two piles for three holes; each pile is split between two holes. Sinkhorn: every "
    "pile sends something to every hole, near ones more, far ones less."
)


def two_ways() -> Figure:
    """The same three bricks moved by one long way and by three short ones."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.0))
    ways = {
        "carry one far": ([(0, 3)], "distance 3,  squared 3² = 9"),
        "shift all a little": ([(0, 1), (1, 2), (2, 3)], "distance 3,  squared 1² + 1² + 1² = 3"),
    }
    for axes, (title, (moves, cost)) in zip(panels, ways.items(), strict=True):
        _blank(axes, (-0.6, 3.6), (-1.15, 1.55))
        for place in range(4):
            axes.text(place, -0.3, str(place), ha="center", va="center", fontsize=14)
            _brick(axes, place, "generated", filled=place < 3)
            _brick(axes, place, "real", filled=False, line=place > 0)
        for start, end in moves:
            _carry(axes, (start, 0.52), (end, 0.52), bend=-0.35)
        axes.text(1.5, -0.85, cost, ha="center", va="center", fontsize=15)
        axes.set_title(title, fontsize=16)
    return figure


def prices() -> Figure:
    """What a carrier may ask: never more than a route costs, and exactly that where the route is used."""
    figure, axes = plt.subplots(figsize=(9, 4.6))
    _blank(axes, (-1.1, 8.1), (-1.1, 4.1))
    below, above = [(1.0, 0.0), (6.0, 0.0)], [(1.0, 3.0), (6.0, 3.0)]
    for index, place in enumerate(below, start=1):
        _pile(axes, place, "generated", 0.42)
        axes.text(place[0], -0.8, f"$v_{index}$ for fetching", ha="center", color=_INK, fontsize=15)
    for index, place in enumerate(above, start=1):
        _pile(axes, place, "real", 0.42)
        axes.text(place[0], 3.68, f"$u_{index}$ for delivering", ha="center", color=_INK, fontsize=15)
    for here, there in ((0, 1), (1, 0)):
        axes.plot(
            *zip(_toward(below[here], above[there]), _toward(above[there], below[here]), strict=True),
            linestyle=(0, (4, 3)),
            linewidth=1.5,
            color="#666666",
        )
    for start, end in zip(below, above, strict=True):
        _carry(axes, _toward(start, end), _toward(end, start), width=5)
    axes.text(0.75, 1.5, "used:\n$u_1 + v_1 = c_{11}$", ha="right", va="center", fontsize=15)
    axes.text(6.25, 1.5, "used:\n$u_2 + v_2 = c_{22}$", ha="left", va="center", fontsize=15)
    axes.text(
        3.5,
        1.5,
        "not used: $u_1 + v_2 \\leq c_{12}$",
        ha="center",
        va="center",
        fontsize=15,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 4},
    )
    return figure


def plans() -> Figure:
    """A map sends each pile whole to one place, a plan may split piles, an entropic plan always does."""
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.6))
    three, two = [0.0, 1.5, 3.0], [0.7, 2.3]
    near = {0: [8, 3, 1], 1: [3, 6, 3], 2: [1, 3, 8]}
    ways = [
        ("Monge: whole piles", three, [(i, i, 6.0) for i in range(3)]),
        ("Kantorovich: may split", two, [(0, 0, 6.0), (0, 1, 3.0), (1, 1, 3.0), (1, 2, 6.0)]),
        ("Sinkhorn: always splits", three, [(i, j, float(near[i][j])) for i in range(3) for j in range(3)]),
    ]
    for axes, (title, piles, moves) in zip(panels, ways, strict=True):
        _blank(axes, (-0.6, 3.6), (-0.55, 2.55))
        for i, j, width in moves:
            start, end = (piles[i], 0.0), (three[j], 2.0)
            _carry(axes, _toward(start, end), _toward(end, start), width=width * 0.75)
        for x in piles:
            _pile(axes, (x, 0.0), "generated", 0.28 * (3 / len(piles)) ** 0.5)
        for x in three:
            _pile(axes, (x, 2.0), "real", 0.28)
        axes.set_title(title, fontsize=16)
    return figure


_INK = "#8E3A74"  # the potential's reddish purple, dark enough for text


def _blank(axes: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    axes.set(xlim=x, ylim=y, aspect="equal")
    axes.axis("off")


def _brick(axes: Axes, place: float, role: str, *, filled: bool, line: bool = False) -> None:
    """A brick that is there (filled) or a place where one is wanted (a frame)."""
    if filled:
        axes.add_patch(Rectangle((place - 0.3, 0), 0.6, 0.42, facecolor=COLOURS[role]))
    if line:
        axes.add_patch(Rectangle((place - 0.36, -0.05), 0.72, 0.52, fill=False, edgecolor=COLOURS[role], linewidth=3.5))


def _pile(axes: Axes, place: tuple[float, float], role: str, radius: float) -> None:
    axes.add_patch(Circle(place, radius, facecolor=COLOURS[role], zorder=3))


def _toward(start: tuple[float, float], end: tuple[float, float], gap: float = 0.46) -> tuple[float, float]:
    """The point `gap` away from `start` on the way to `end`."""
    length = ((end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2) ** 0.5
    return start[0] + gap * (end[0] - start[0]) / length, start[1] + gap * (end[1] - start[1]) / length


def _carry(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], bend: float = 0.0, width: float = 3.0
) -> None:
    head = f"-|>,head_length={0.25 + 0.05 * width},head_width={0.12 + 0.04 * width}"
    arrow = FancyArrowPatch(
        start,
        end,
        connectionstyle=f"arc3,rad={bend}",
        arrowstyle=head,
        mutation_scale=22,
        shrinkA=0,
        shrinkB=0,
        linewidth=width,
        color=COLOURS["map"],
    )
    axes.add_patch(arrow)


DRAWINGS = {
    "transport_two_ways": (two_ways, TWO_WAYS_ALT),
    "transport_plans": (plans, PLANS_ALT),
    "transport_prices": (prices, PRICES_ALT),
}
