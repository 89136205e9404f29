"""Draw the course's drawings into figures/drawings: `python figures/draw.py`, or only some: `… draw.py course_map`.

They are PNG, not SVG: JupyterLab refuses to show an SVG of a notebook that was not run yet. They hold at most 256
colours, so notebooks stay small. Each file carries its alternative text, which `otsr.course.plots.drawing` reads.
"""

from __future__ import annotations

import io
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
from PIL import Image
from PIL.PngImagePlugin import PngInfo

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
        drawn, text = io.BytesIO(), PngInfo()
        draw().savefig(drawn, dpi=DPI)
        text.add_text("Description", alt)
        few_colours = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        few_colours.save(FOLDER / f"{name}.png", optimize=True, pnginfo=text)
