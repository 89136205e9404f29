"""Pages, screens and drawings to train on beside photos: python scripts/draw_pages.py FOLDER [PHOTOS]

A network that has seen photos alone bends letters and colours white paper. Pages are drawn with the fonts that
matplotlib brings; of every tenth of PHOTOS a grey copy is written, so that grey stays grey.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from otsr.images import SUFFIXES

SIDE = 896
FONTS = [
    Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    for name in ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSansMono")
]
WORDS = [
    "transport", "plan", "potential", "kernel", "noise", "picture", "grey", "lens", "2022", "3.14", "(a)", "[b]", "{c}",
    "x = y + n;", "Monge", "Kantorovich", "Brenier", "Wasserstein", "barycentre,", "Camera!", "photo?", "50 %", "&",
    "@", "#", "€", "über", "naïve", "façade", "Ångström",
]  # fmt: skip


def page(drawing: random.Random) -> Image.Image:
    """Lines of text in some sizes, black on white or any dark colour on any light one, or the reverse."""
    light, dark = (tuple(drawing.randint(*span) for _ in range(3)) for span in ((190, 255), (0, 90)))
    kind = drawing.random()
    if kind < 0.5:
        light, dark = (255, 255, 255), (0, 0, 0)
    paper, ink = (dark, light) if kind > 0.8 else (light, dark)
    picture = Image.new("RGB", (SIDE, SIDE), paper)
    pen, top = ImageDraw.Draw(picture), drawing.randint(4, 40)
    while top < SIDE - 20:
        size = drawing.choice((14, 18, 24, 32, 44, 64, 90))
        text = " ".join(drawing.choices(WORDS, k=max(2, 900 // (5 * size))))
        colour = ink if drawing.random() < 0.85 else tuple(drawing.randint(0, 255) for _ in range(3))
        pen.text((drawing.randint(8, 60), top), text, colour, ImageFont.truetype(str(drawing.choice(FONTS)), size))
        top += round(size * drawing.uniform(1.2, 1.7))
    return picture


def drawn(drawing: random.Random) -> Image.Image:
    """Flat fields, ramps, lines and discs, four times too large and shrunk, so that edges are smooth."""
    side = 2 * SIDE

    def colour() -> tuple[int, ...]:
        grey = drawing.randint(0, 255)
        return (grey,) * 3 if drawing.random() < 0.4 else tuple(drawing.randint(0, 255) for _ in range(3))

    ramp = Image.linear_gradient("L").resize((side, side), Image.Resampling.BICUBIC)
    picture = Image.composite(Image.new("RGB", (side, side), colour()), Image.new("RGB", (side, side), colour()), ramp)
    pen = ImageDraw.Draw(picture)
    for _ in range(90):
        x, y = drawing.randint(0, side), drawing.randint(0, side)
        w, h = drawing.randint(8, 420), drawing.randint(8, 420)
        shape = drawing.choice(("rectangle", "ellipse", "line", "line"))
        if shape == "line":
            pen.line((x, y, x + drawing.choice((-1, 1)) * w, y + h), colour(), drawing.choice((2, 3, 4, 6, 10)))
        else:
            getattr(pen, shape)((x, y, x + w, y + h), fill=colour(), outline=colour(), width=drawing.choice((0, 2, 4)))
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def main(folder: Path, photos: Path | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(14):
        make = page if number < 9 else drawn
        make(random.Random(number)).save(folder / f"{make.__name__}_{number:02d}.webp", lossless=True)
    found = sorted(path for path in photos.iterdir() if path.suffix.lower() in SUFFIXES) if photos else []
    for path in found[::10]:
        Image.open(path).convert("L").convert("RGB").save(folder / f"grey_{path.stem}.webp", quality=95)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
