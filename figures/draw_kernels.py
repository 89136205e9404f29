"""Draw figures/two_scales.svg and figures/kernelgan.svg; the drawings stand in otsr/course/kernel_drawings.py."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from otsr.course.kernel_drawings import kernelgan_game, two_scales
from otsr.course.plots import use_house_style

mpl.use("svg")
use_house_style()
mpl.rcParams.update(
    {"svg.fonttype": "none", "svg.hashsalt": "otsr"}
)  # text stays text; the same file each time
for name, drawing in {"two_scales": two_scales, "kernelgan": kernelgan_game}.items():
    drawing().savefig(Path(__file__).with_name(f"{name}.svg"), metadata={"Date": None})
