"""Draw the course's drawings into figures/drawings: `python figures/draw.py`, or only some: `… draw.py course_map`.

They are PNG, not SVG: JupyterLab refuses to show an SVG of a notebook that was not run yet. Each file carries its
alternative text, which `otsr.course.plots.drawing` reads.
"""

from __future__ import annotations

import sys
from pathlib import Path

import blur
import camera
import causes
import course_map
import critic
import matplotlib as mpl
import plane
import transport

from otsr.course.plots import DPI, use_house_style

FOLDER = Path(__file__).with_name("drawings")
DRAWINGS = {
    **course_map.DRAWINGS,
    **camera.DRAWINGS,
    **blur.DRAWINGS,
    **transport.DRAWINGS,
    **critic.DRAWINGS,
    **plane.DRAWINGS,
    **causes.DRAWINGS,
}

if __name__ == "__main__":
    mpl.use("agg")
    use_house_style()
    for name in sys.argv[1:] or DRAWINGS:
        draw, alt = DRAWINGS[name]
        draw().savefig(FOLDER / f"{name}.png", dpi=DPI, metadata={"Software": None, "Description": alt})
