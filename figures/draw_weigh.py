"""Draw figures/perception_distortion.svg; the drawing stands in otsr/course/weigh_drawings.py."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from otsr.course.plots import use_house_style
from otsr.course.weigh_drawings import plane

mpl.use("svg")
use_house_style()
mpl.rcParams.update(
    {"svg.fonttype": "none", "svg.hashsalt": "otsr"}
)  # text stays text; the same file each time
plane().savefig(Path(__file__).with_name("perception_distortion.svg"), metadata={"Date": None})
