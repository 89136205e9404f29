"""`otsr compare`: one detail of a photo under every set of weights."""

from __future__ import annotations

import re
from pathlib import Path

import typer
from typer import Argument, Option

from otsr.cli.options import DeviceName, ManyValues, Overwrite, Precision
from otsr.cli.root import app, ends, fail, refuse, require_file, say


@app.command(cls=ManyValues)
def compare(
    photo: Path = Argument(metavar="PHOTO", help="A photo."),
    out: Path | None = Option(None, "-o", "--out", help="Picture to write.  [default: PHOTO_compare.png]"),
    weights: list[str] | None = Option(None, metavar="NAME...", help="See `otsr info`.  [default: all here]"),
    crop: str | None = Option(None, metavar="X,Y", help="Corner of the detail.  [default: the busiest]"),
    side: int = Option(96, min=16, max=512, help="Size of the detail, in pixels."),
    device: DeviceName = "auto",
    precision: Precision = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Show a detail of a photo under all weights, side by side.

    The picture also holds bicubic interpolation and the whole photo with the place of the detail.

    \b
    Example:
      otsr compare photo.jpg
      otsr compare photo.jpg --crop 1200,800 -o eye.png
      otsr compare photo.jpg --weights otsr runs/adapt
    """
    from otsr.images import FORMATS, ImageError, read, suggestion, write

    if not photo.is_file():
        refuse(f"{photo} is not a file; name one photo{suggestion(photo)}")
    corner = re.fullmatch(r"(\d+),(\d+)", crop or "0,0")
    if corner is None:
        refuse(f"--crop is {crop!r}, expected two numbers such as 1200,800")
    from otsr.cli.upscale import build_upscaler
    from otsr.evaluation import comparison
    from otsr.weights import catalogue

    with ends(fail, ImageError):
        picture = read(photo)
    with ends(lambda error: refuse(f"--crop {error}"), ValueError):
        place = (int(corner[1]), int(corner[2]), side)
        window = comparison.window_at(picture, *place) if crop else comparison.detail(picture, side)
    out = out or Path(f"{photo.stem}_compare.png")
    require_file(out, *FORMATS, overwrite=overwrite)
    names = weights or [entry.name for entry in catalogue() if entry.present]
    networks = {name: build_upscaler(name, device=device, precision=precision) for name in names}
    left, top, width, height = window
    say(f"{width}×{height} pixels from {left},{top} on, with {', '.join(names)}")
    views = comparison.enlarged(picture, networks, window)
    size = next(iter(views.values())).size
    views = {photo.name: comparison.overview(picture, window, size), **views}
    uses = {entry.name: f"for {entry.use}" for entry in catalogue()}
    with ends(fail, OSError):
        write(out, comparison.sheet(views, {**uses, photo.name: "the whole photo; the frame is the detail"}))
    typer.echo(out)
