"""Draw figures/course_map.svg; the drawing itself stands in otsr/course/drawings.py."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from otsr.course.drawings import course_map
from otsr.course.plots import use_house_style

mpl.use("svg")
use_house_style()
mpl.rcParams.update(
    {"svg.fonttype": "none", "svg.hashsalt": "otsr"}
)  # text stays text; the same file each time
course_map().savefig(Path(__file__).with_name("course_map.svg"), metadata={"Date": None})
