"""Notebook 10: the three ways in which a super-resolved picture goes wrong, and where each lies."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from otsr.course.plots import COLOURS

CAUSES_ALT = (
    "A plane: to the right what the LR picture shows, upwards the detail that it does not. Two green clouds, one above "
    "the other, are the real pictures. A grey vertical line holds all pictures that shrink to this LR; it crosses "
    "both clouds. The photo is a green point on the line in the upper cloud. Three orange-red points are answers. "
    "Blur lies on the line between the clouds. Hallucination lies on the line in the lower cloud. Bias lies in the "
    "upper cloud, beside the line."
)


def three_causes() -> Figure:
    """Real pictures, the line of those that fit the LR, and three answers: off the cloud, elsewhere, off the line."""
    figure, axes = plt.subplots(figsize=(10, 4.6))
    axes.set(xlim=(-1, 19), ylim=(-0.4, 9.0))
    axes.axis("off")
    for centre, tilt in (((7.6, 6.6), 12), ((7.4, 1.9), -12)):
        axes.add_patch(Ellipse(centre, 9.5, 2.7, angle=tilt, facecolor=COLOURS["real"], alpha=0.28))
    axes.text(2.2, 4.2, "real pictures", ha="center", color="#00704F", fontsize=15)
    axes.plot([6, 6], [0.2, 8.3], color=COLOURS["LR"], linewidth=3)
    axes.text(6, 8.5, "all that shrink to this LR", ha="center", color="#555555", fontsize=15)
    axes.annotate("", (13.0, -0.1), (-0.4, -0.1), arrowprops={"arrowstyle": "->", "linewidth": 1.5})
    axes.text(6.3, -0.35, "what the LR picture shows", ha="center", va="top", fontsize=14)
    axes.annotate("", (-0.4, 8.3), (-0.4, -0.1), arrowprops={"arrowstyle": "->", "linewidth": 1.5})
    axes.text(-0.75, 4.1, "detail that it does not", rotation=90, ha="center", va="center", fontsize=14)
    axes.plot(6, 6.4, "o", color=COLOURS["real"], markersize=13)
    axes.text(5.6, 6.4, "the photo", ha="right", va="center", fontsize=14, color="#00553C")
    answers = (
        ((6, 4.2), "blur: the mean of what fits;\nno real picture"),
        ((6, 2.1), "hallucination: real, and fits,\nbut is another one"),
        ((10.2, 7.2), "bias: real,\nbut does not fit the LR"),
    )
    for (x, y), words in answers:
        axes.plot(x, y, "o", color=COLOURS["generated"], markersize=13, zorder=3)
        axes.plot([x + 0.3, 12.6], [y, y], color=COLOURS["generated"], linewidth=1.2, linestyle=":")
        axes.text(12.8, y, words, va="center", fontsize=14)
    return figure


DRAWINGS = {"three_causes": (three_causes, CAUSES_ALT)}
