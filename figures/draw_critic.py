"""Draw figures/plan_to_critic.svg; the drawing stands in otsr/course/critic_drawings.py."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from otsr.course.critic_drawings import stations
from otsr.course.plots import use_house_style

mpl.use("svg")
use_house_style()
mpl.rcParams.update(
    {"svg.fonttype": "none", "svg.hashsalt": "otsr"}
)  # text stays text; the same file each time
stations().savefig(Path(__file__).with_name("plan_to_critic.svg"), metadata={"Date": None})
