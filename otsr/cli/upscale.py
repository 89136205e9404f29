"""`otsr upscale` and `otsr compare`: pictures in, larger pictures out; one detail under every set of weights."""

from __future__ import annotations

import math
import re
import shlex
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer import Argument, Option

from otsr.cli.jobs import Job, Progress, plan, run
from otsr.cli.options import DeviceName, Inputs, ManyValues, Overwrite, Precision, Tile, Weights
from otsr.cli.root import app, ends, fail, refuse, require_file, require_writable, say

if TYPE_CHECKING:
    from otsr.inference import Upscaler

_LARGEST = 1e9  # of any size that is asked for


# What is written; `keep`: in the format of each input.
Format = Enum("Format", {"png": "png", "jpg": "jpg", "webp": "webp", "tiff": "tiff", "keep": "keep"}, type=str)


@app.command()
def upscale(
    inputs: Inputs,
    out: Path | None = Option(None, "-o", "--out", help="Folder; for one picture also a file.  [required]"),
    weights: Weights = None,
    ot_weight: float = Option(1.0, help="0 (fidelity) to 1 (transport), for weights that have a partner."),
    tile: Tile = None,
    ensemble: bool = Option(False, "--ensemble", help="Average over 8 flips and rotations; 8 times as long."),
    back_projection: int = Option(0, metavar="N", help="Pull the result towards the input in N steps."),
    scale: float | None = Option(None, help="Enlarge by this factor.  [default: the network's, 4]"),
    width: int | None = Option(None, min=1, help="Or to this many pixels across."),
    height: int | None = Option(None, min=1, help="Or to this many pixels down."),
    megapixels: float | None = Option(None, help="Or to this many megapixels."),
    keep_colours: bool = Option(True, "--keep-colours/--free-colours", help="Keep the colours of areas."),
    tileable: bool = Option(False, "--tileable", help="For a texture that wraps around: no seams."),
    device: DeviceName = "auto",
    precision: Precision = "auto",
    format: Format = Option(Format.png, help="Format of the outputs in a folder.", case_sensitive=False),
    quality: int = Option(95, min=1, max=100, help="Quality of JPEG and WebP."),
    keep_metadata: bool = Option(False, "--keep-metadata", help="Keep camera, date, author … (EXIF)."),
    keep_location: bool = Option(False, "--keep-location", help="With --keep-metadata: the place (GPS) too."),
    overwrite: Overwrite = False,
) -> None:
    """Upscale pictures.

    Names and subfolders are kept. Outputs newer than their inputs are left alone, so after an interruption the same
    command goes on. Transparency, grey, the colour profile and, in PNG and TIFF, 16 bits are kept, other metadata only
    on request. For smaller sizes the network's picture is shrunk; beyond its own size the rest is bicubic.

    The default weights, otsr, are for any photo: phone, compact camera, saved from the web. `otsr info` says what the
    others are for, `otsr compare PHOTO` shows them side by side.

    \b
    Example:
      otsr upscale holiday/ portrait.jpg -o large/
      otsr upscale portrait.jpg -o portrait_x4.png --weights realsr-df2k --ensemble
      otsr upscale holiday/ -o screen/ --width 1920 --format jpg --keep-metadata
    """
    if out is None:
        named = shlex.join(map(str, inputs[:2])) + (" …" if len(inputs) > 2 else "")
        target = "large/" if len(inputs) > 1 or inputs[0].is_dir() else f"{inputs[0].stem}_large.png"
        refuse(f"name the output with -o, for example: otsr upscale {named} -o {shlex.quote(target)}")
    from otsr import images
    from otsr.weights import DEFAULT, find

    size = Size(scale, width, height, megapixels)
    if keep_location and not keep_metadata:
        refuse("--keep-location only works with --keep-metadata; give both")
    planned, failed = plan(inputs, out, "keep" if format is Format.keep else f".{format.value}")
    for job in planned:  # a file that was named, if any
        if job.target == out and out.exists() and not (overwrite or job.done):
            advice = "name another file, or give --overwrite"
            refuse(f"{out} is there already, older than {job.source}; {advice}")
    if overwrite or not all(job.done for job in planned):
        require_writable(out)
        if entry := find(weights or DEFAULT):
            say(f"{entry.name} is for {entry.use}")
        upscaler = build_upscaler(
            weights, ot_weight=ot_weight, device=device, precision=precision, tile=tile, ensemble=ensemble,
            back_projection=back_projection, colours=keep_colours, tileable=tileable,
        )  # fmt: skip

    def work(job: Job, progress: Progress) -> None:
        exif = images.metadata(job.source, location=keep_location) if keep_metadata else b""
        enlarge(upscaler, job.source, job.target, size, progress, quality=quality, exif=exif)

    raise typer.Exit(run(planned, work, overwrite=overwrite, failed=failed))


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
    from otsr.images import FORMATS, ImageError, open_picture, suggestion, write

    if not photo.is_file():
        refuse(f"{photo} is not a file; name one photo{suggestion(photo)}")
    corner = re.fullmatch(r"(\d+),(\d+)", crop or "0,0")
    if corner is None:
        refuse(f"--crop is {crop!r}, expected two numbers such as 1200,800")
    from otsr.evaluation import BICUBIC, comparison
    from otsr.weights import catalogue

    with ends(fail, ImageError):
        opened = open_picture(photo)
        picture = opened.on_white()
    left, top = map(int, corner.groups())
    with ends(lambda error: refuse(f"--crop {error}"), ValueError):
        window = comparison.window_at(picture, left, top, side) if crop else comparison.detail(picture, side)
    out = out or Path(f"{photo.stem}_compare.png")
    require_file(out, *FORMATS, overwrite=overwrite)
    if out.resolve() == photo.resolve():
        refuse(f"{out} is the photo itself; name another file")
    names = weights or [entry.name for entry in catalogue() if entry.present]
    networks = {name: build_upscaler(name, device=device, precision=precision) for name in names}
    say(f"{window.width}×{window.height} pixels from {window.left},{window.top} on, with {', '.join(names)}")
    views = comparison.enlarged(picture, networks, window)
    overview = comparison.overview(picture, window, views[BICUBIC].size)
    words = {entry.name: f"for {entry.use}" for entry in catalogue()}
    words[photo.name] = "the whole photo; the frame is the detail"
    sheet = comparison.sheet({photo.name: overview, **views}, words)
    with ends(fail, OSError):
        write(out, sheet, icc=None if opened.grey else opened.icc)
    typer.echo(out)


@dataclass(frozen=True)
class Size:
    """The size that is asked for: one of these, or none."""

    scale: float | None = None
    width: int | None = None
    height: int | None = None
    megapixels: float | None = None

    def __post_init__(self) -> None:
        given = {f"--{name}": value for name, value in vars(self).items() if value is not None}
        if len(given) > 1:
            refuse(f"{' and '.join(given)}: name one of them; pictures keep their proportions")
        for name, value in given.items():
            if not 0 < value < _LARGEST:
                refuse(f"{name} is {value:.6g}, expected a number above 0 and below {_LARGEST:,.0f}")

    def times(self, width: int, height: int) -> float | None:
        """How many times as wide and high a width × height picture is to be; None: as the network makes it."""
        if self.megapixels:
            return math.sqrt(self.megapixels * 1e6 / (width * height))
        return self.scale or (self.width and self.width / width) or (self.height and self.height / height)


def enlarge(
    upscaler: Upscaler, source: Path, target: Path, size: Size, progress: Callable[[int, int], None],
    *, quality: int = 95, exif: bytes = b"",
) -> None:  # fmt: skip
    """Upscale one file into another, whose suffix chooses the format."""
    from otsr import images
    from otsr.inference import scaled_size

    picture = images.open_picture(source, deep=True)
    height, width = picture.pixels.shape[:2]
    times = size.times(width, height) or upscaler.scale
    large, alpha = scaled_size(width, height, times), picture.alpha is not None
    kind = images.check_writable(target, *large, alpha=alpha, exif=exif)
    deep = picture.white > 255 and kind in images.DEEP
    if picture.white > 255 and not deep:
        warnings.warn(f"{source}: 16 bits a sample become 8: {kind} holds no more", stacklevel=2)
    if deep and exif and kind == "TIFF":
        warnings.warn(f"{source}: metadata is left out of a TIFF of 16 bits; PNG keeps it", stacklevel=2)
    result = (upscaler.upscale_deep if deep else upscaler.upscale)(picture, progress, scale=times)
    images.write(target, result, icc=picture.icc, quality=quality, exif=exif)


def build_upscaler(weights: str | None, **options: Any) -> Upscaler:
    """The upscaler for options of the command line; bad ones end the command with status 2."""
    from otsr.inference import Upscaler
    from otsr.weights import DEFAULT, WeightsError, find

    name = weights or DEFAULT
    known = find(name) is not None
    # What fails with a name that is known is a download, or a package is missing: no mistake in the command line.
    with ends(refuse, ValueError), ends(lambda error: fail(error) if known else refuse(error), WeightsError):
        upscaler = Upscaler.from_pretrained(name, **options)
        if not known:
            _note_unfinished(Path(name))
    if upscaler.device.type == "mps" and options.get("device") == "auto":
        say("using Apple's GPU (mps); --device cpu uses the CPU")
    return upscaler


def _note_unfinished(weights: Path) -> None:
    """Say so if weights lie in the folder of a training that has steps to go."""
    from otsr.weights import read_metadata

    folder = weights if weights.is_dir() else weights.parent
    last, recipe = folder / "last.safetensors", folder / "config.yml"
    if last.is_file() and recipe.is_file():
        done = int(read_metadata(last).get("steps", 0))
        steps = re.search(r"^steps: *(\d+)", recipe.read_text(encoding="utf-8"), re.MULTILINE)
        if steps and done < int(steps[1]):
            say(f"note: {folder} is a training that is not finished: step {done} of {steps[1]}")
