"""`otsr upscale`: pictures in, larger pictures out."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otsr.cli.root import (
    DeviceName,
    Inputs,
    Overwrite,
    Precision,
    Weights,
    app,
    fail,
    refuse,
    require_writable,
)

if TYPE_CHECKING:
    from otsr.cli.jobs import Job, Progress
    from otsr.inference import Upscaler


class Format(str, Enum):
    """Formats that can be written; `keep` takes that of each input."""

    png = "png"
    jpg = "jpg"
    webp = "webp"
    tiff = "tiff"
    keep = "keep"


class Depth(str, Enum):
    """Bits a sample of what is written."""

    auto = "auto"
    eight = "8"
    sixteen = "16"


@app.command()
def upscale(
    inputs: Inputs,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="Folder; for one picture also a file name.", show_default=False),
    ],
    weights: Weights = None,
    ot_weight: Annotated[
        float,
        typer.Option(help="0: fidelity, 1: transport; between: between. For weights that have a partner."),
    ] = 1.0,
    tile: Annotated[
        int | None,
        typer.Option(
            help="LR pixels a side of a tile; smaller takes less memory.  [default: 512, CUDA 2048]"
        ),
    ] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Average over 8 flips and rotations; 8 times as long.")
    ] = False,
    back_projection: Annotated[
        int, typer.Option(metavar="N", help="N steps that pull the result towards the input.")
    ] = 0,
    scale: Annotated[
        float | None,
        typer.Option(help="Times as wide and high.  [default: the network's, 4]", show_default=False),
    ] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Or pixels across.", show_default=False)] = None,
    height: Annotated[int | None, typer.Option(min=1, help="Or pixels down.", show_default=False)] = None,
    megapixels: Annotated[
        float | None, typer.Option(help="Or millions of pixels.", show_default=False)
    ] = None,
    keep_colours: Annotated[
        bool, typer.Option("--keep-colours/--free-colours", help="Take the colours of areas from the input.")
    ] = True,
    tileable: Annotated[
        bool,
        typer.Option(
            "--tileable", help="Of a texture that wraps around: without seams when laid side by side."
        ),
    ] = False,
    device: DeviceName = "auto",
    precision: Precision = "auto",
    format: Annotated[
        Format, typer.Option(help="Of the outputs in a folder.", case_sensitive=False)
    ] = Format.png,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG and WebP.")] = 95,
    depth: Annotated[
        Depth,
        typer.Option(help="Bits a sample; auto: 16 where input and format (PNG, TIFF) have them, else 8."),
    ] = Depth.auto,
    keep_metadata: Annotated[
        bool,
        typer.Option("--keep-metadata", help="Keep camera, settings, date and author (EXIF), not the place."),
    ] = False,
    keep_location: Annotated[
        bool, typer.Option("--keep-location", help="With --keep-metadata: the place (GPS), too.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Upscale pictures.

    Names and subfolders are kept. What is there already, newer than its input, is not made again, so after an
    interruption the same command goes on. Transparency, grey and the colour profile are kept, other metadata only if
    asked for. Sizes other than the network's are its answer, shrunk; beyond it, the rest is bicubic.

    \b
    Example:
      otsr upscale holiday/ portrait.jpg -o large/
      otsr upscale portrait.jpg -o portrait_x4.png --weights realsr-df2k --ensemble
      otsr upscale holiday/ -o screen/ --width 1920 --format jpg --keep-metadata
    """
    from otsr.cli import jobs

    size = _Size(scale, width, height, megapixels)
    if keep_location and not keep_metadata:
        refuse("--keep-location says more than --keep-metadata, and needs it")
    try:
        planned, failed = jobs.plan(
            inputs, out, format.value if format is Format.keep else f".{format.value}"
        )
    except jobs.UsageError as error:
        refuse(error)
    from otsr import images

    for job in planned if depth is Depth.sixteen else ():
        if images.FORMATS.get(job.target.suffix.lower()) not in images.DEEP:
            refuse(f"--depth 16: {job.target} cannot hold 16 bits a sample; write PNG or TIFF")
    if not overwrite and all(job.done for job in planned):
        raise typer.Exit(jobs.run(planned, _nothing, failed=failed))
    require_writable(out)

    from otsr.inference import scaled_size

    upscaler = build_upscaler(
        weights,
        ot_weight=ot_weight,
        device=device,
        precision=precision,
        tile=tile,
        ensemble=ensemble,
        back_projection=back_projection,
        colours=keep_colours,
        tileable=tileable,
    )

    def work(job: Job, progress: Progress) -> None:
        picture = images.open_picture(job.source, deep=depth is not Depth.eight)
        times = size.times(picture.pixels.shape[1], picture.pixels.shape[0]) or upscaler.scale
        target = scaled_size(picture.pixels.shape[1], picture.pixels.shape[0], times)
        kind = images.check_writable(job.target, *target, alpha=picture.alpha is not None)
        exif = images.metadata(job.source, location=keep_location) if keep_metadata else b""
        veiled = picture.grey and picture.alpha is not None
        deep = depth is Depth.sixteen or (picture.white > 255 and kind in images.DEEP and not veiled)
        if picture.white > 255 and not deep:
            why = "few programs read 16-bit grey with transparency (--depth 16 writes it)"
            why = why if veiled and kind in images.DEEP else f"{kind} holds no more"
            warnings.warn(f"{job.source}: 16 bits a sample become 8: {why}", stacklevel=2)
        result = (upscaler.upscale_deep if deep else upscaler.upscale)(picture, progress, scale=times)
        images.write(job.target, result, icc=picture.icc, quality=quality, exif=exif)

    raise typer.Exit(jobs.run(planned, work, overwrite=overwrite, failed=failed))


@dataclass(frozen=True)
class _Size:
    """The size that is asked for: one of these, or none."""

    scale: float | None
    width: int | None
    height: int | None
    megapixels: float | None

    def __post_init__(self) -> None:
        given = {f"--{name}": value for name, value in vars(self).items() if value is not None}
        if len(given) > 1:
            refuse(f"{' and '.join(given)}: name one of them; pictures keep their proportions")
        for name, value in given.items():
            if not 0 < value < math.inf:
                refuse(f"{name} is {value}, expected a number above 0")

    def times(self, width: int, height: int) -> float | None:
        """How many times as wide and high a width × height picture is to be; None: as the network makes it."""
        if self.megapixels:
            return math.sqrt(self.megapixels * 1e6 / (width * height))
        return self.scale or (self.width and self.width / width) or (self.height and self.height / height)


def build_upscaler(weights: str | None, **options: Any) -> Upscaler:
    """The upscaler for options of the command line; bad ones end the command with status 2."""
    from otsr.inference import Upscaler
    from otsr.weights import DEFAULT, WeightsError, catalogue

    name = weights or DEFAULT
    try:
        upscaler = Upscaler.from_pretrained(name, **options)
        if upscaler.device.type == "mps" and options.get("device") == "auto":
            typer.echo("on Apple's GPU (mps); --device cpu takes the CPU", err=True)
        return upscaler
    except WeightsError as error:
        if name in [entry.name for entry in catalogue()]:
            fail(error)  # a right name, but the download failed or its package is missing
        refuse(error)
    except ValueError as error:
        refuse(error)


def _nothing(job: Job, progress: Progress) -> None:
    """Work for jobs of which none is left to do."""
