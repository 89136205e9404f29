"""Draw three_causes.svg beside this file: `python figures/draw_beyond.py`.

The drawing itself stands in otsr/course/beyond_drawings.py, so that the notebook can show it everywhere.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from otsr.course.beyond_drawings import three_causes
from otsr.course.plots import use_house_style

mpl.use("svg")
use_house_style()
mpl.rcParams.update(
    {"svg.fonttype": "none", "svg.hashsalt": "otsr"}
)  # text stays text; the same file each time
three_causes().savefig(Path(__file__).with_name("three_causes.svg"), metadata={"Date": None})
