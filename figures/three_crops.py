"""README's picture: three crops of photos that no training saw, enlarged four times in four ways.

    python figures/three_crops.py        writes figures/three_crops.webp; needs the extra [pretrained]

The photos are the course's phone crops (CC-BY-SA-4.0, Joao Eriberto Mota Filho), so the picture is CC-BY-SA-4.0 too.
Their flat parts are among the noise that the general degradation draws; their scenes were never trained on.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from otsr.datasets import data_dir
from otsr.images import atomic_path
from otsr.inference import Upscaler

SIDE, GAP, HEAD = 96, 8, 44  # LR pixels a side of a crop; pixels between panels, and above them for the names
CROPS = (("iso1792_texture", 575, 260), ("iso0132_texture", 60, 250), ("iso0382_mixed", 920, 225))
WAYS = {
    "bicubic": None,
    "RealSR": "realsr-df2k",
    "Real-ESRGAN": "realesrgan-x4plus",
    "otsr (ours)": "otsr",
}


def draw() -> Image.Image:
    """One row a crop, one column a way, names on top."""
    panel = 4 * SIDE + GAP
    sheet = Image.new("RGB", (len(WAYS) * panel - GAP, HEAD + len(CROPS) * panel - GAP), "white")
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", 28)
    pen = ImageDraw.Draw(sheet)
    for column, (name, weights) in enumerate(WAYS.items()):
        pen.text((column * panel + 2, 4), name, "black", font)
        upscaler = None if weights is None else Upscaler.from_pretrained(weights)
        for row, (photo, left, top) in enumerate(CROPS):
            with Image.open(data_dir() / "phone" / f"{photo}.jpg") as whole:
                crop = whole.convert("RGB").crop((left, top, left + SIDE, top + SIDE))
            if upscaler is None:
                large = crop.resize((4 * SIDE, 4 * SIDE), Image.Resampling.BICUBIC)
            else:
                large = upscaler.upscale(crop)
            sheet.paste(large, (column * panel, HEAD + row * panel))
    return sheet


if __name__ == "__main__":
    target = Path(__file__).with_name("three_crops.webp")
    with atomic_path(target) as temporary:
        draw().save(temporary, "WEBP", quality=92, method=6)
    print(target)
