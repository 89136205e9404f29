"""Draw transport_two_ways.svg, transport_prices.svg and transport_plans.svg beside this file.

The drawings themselves stand in otsr/course/transport_drawings.py, so that notebooks can show them everywhere.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from otsr.course.plots import use_house_style
from otsr.course.transport_drawings import plans, prices, two_ways

mpl.use("svg")
use_house_style()
mpl.rcParams.update(
    {"svg.fonttype": "none", "svg.hashsalt": "otsr"}
)  # text stays text; the same file each time
for drawing in (two_ways, prices, plans):
    path = Path(__file__).with_name(f"transport_{drawing.__name__}.svg")
    drawing().savefig(path, metadata={"Date": None})
