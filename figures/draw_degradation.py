"""Draw figures/degradation.svg and figures/sampling_grid.svg; the drawings stand in otsr/course/camera_drawings.py."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from otsr.course.camera_drawings import degradation_chain, sampling_grid
from otsr.course.plots import use_house_style

mpl.use("svg")
use_house_style()
mpl.rcParams.update(
    {"svg.fonttype": "none", "svg.hashsalt": "otsr"}
)  # text stays text; the same file each time
for name, drawing in {"degradation": degradation_chain, "sampling_grid": sampling_grid}.items():
    drawing().savefig(Path(__file__).with_name(f"{name}.svg"), metadata={"Date": None})
