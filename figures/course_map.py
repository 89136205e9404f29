"""Notebook 00: the map of the course."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from shapes import arrow, box

from otsr.course.plots import COLOURS

COURSE_MAP_ALT = (
    "Map of the course, left to right. Photos of your camera (LR, grey) go into stage 1, Estimate: blur kernel and "
    "noise. Its result, and clean photos (HR, green), go into stage 2, Generate: blur, shrink, add noise, JPEG, "
    "which gives pairs of LR and HR. They go into stage 3, Train: a generator enlarges the LR, and optimal "
    "transport (blue: plan; purple: potential) compares its pictures with real ones. The trained generator turns a "
    "photo of your camera into its super-resolved picture (SR, orange-red), which is then measured."
)


def course_map() -> Figure:
    """The three stages of blind super-resolution, what flows between them, and the topics of each."""
    figure, axes = plt.subplots(figsize=(11.5, 5.1))
    axes.set(xlim=(0, 23), ylim=(0.9, 11.1))
    axes.axis("off")
    _box(axes, 0.2, 6.6, 4.0, 2.4, "photos of\nyour camera", "LR", "LR")
    _box(axes, 0.2, 1.6, 4.0, 2.4, "clean photos", "real", "HR")
    _stage(axes, 5.8, 6.2, "1  Estimate", ["the blur kernel", "the noise"])
    _stage(axes, 5.8, 1.2, "2  Generate", ["blur, shrink, add", "noise, JPEG: as", "your camera does"])
    _stage(axes, 12.1, 1.2, "3  Train", ["generator: LR → SR", "transport plan", "potential, critic"])
    for line, role in ((1, "map"), (2, "potential")):
        axes.plot(12.75, 3.02 - 0.66 * line, "s", color=COLOURS[role], markersize=9)
    axes.plot(12.75, 3.02, "s", color=COLOURS["generated"], markersize=9)
    _stage(axes, 12.1, 6.2, "Use", ["upscale your photo", "measure the result"])
    _box(axes, 18.7, 6.6, 4.0, 2.4, "enlarged photo", "generated", "SR")
    arrow(axes, (4.3, 7.8), (5.7, 7.8))
    arrow(axes, (4.3, 2.8), (5.7, 2.8))
    arrow(axes, (8.2, 6.1), (8.2, 4.6))
    _label(axes, (8.5, 5.35), "degradation")
    arrow(axes, (10.7, 2.8), (12.0, 2.8))
    _label(axes, (11.35, 3.3), "pairs", "center")
    arrow(axes, (14.8, 4.5), (14.8, 6.1))
    _label(axes, (15.1, 5.3), "weights")
    arrow(axes, (17.5, 7.8), (18.6, 7.8))
    arrow(axes, (2.2, 9.15), (14.7, 9.55), bend=-0.17)
    return figure


def _box(axes: Axes, left: float, bottom: float, width: float, height: float, text: str, role: str, tag: str) -> None:
    box(axes, (left, bottom), (width, height), COLOURS[role])
    middle = left + width / 2
    axes.text(middle, bottom + 0.62 * height, text, ha="center", va="center", fontsize=14)
    axes.text(middle, bottom + 0.2 * height, tag, ha="center", va="center", weight="bold", color=COLOURS[role])


def _stage(axes: Axes, left: float, bottom: float, title: str, topics: list[str]) -> None:
    width = 4.8 if left < 12 else 5.3
    box(axes, (left, bottom), (width, 3.2), "black", face="#F2F2F2", line=1.5)
    axes.text(left + 0.4, bottom + 2.55, title, va="center", weight="bold", fontsize=16)
    indent = 1.05 if title.startswith("3") else 0.4
    for line, topic in enumerate(topics):
        axes.text(left + indent, bottom + 1.82 - 0.66 * line, topic, va="center", fontsize=14)


def _label(axes: Axes, at: tuple[float, float], text: str, align: str = "left") -> None:
    axes.text(*at, text, va="center", ha=align, fontsize=13, style="italic")


DRAWINGS = {"course_map": (course_map, COURSE_MAP_ALT)}
