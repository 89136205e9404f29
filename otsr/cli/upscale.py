"""`otsr upscale`: pictures in, larger pictures out."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otsr.cli.root import DeviceName, Inputs, Overwrite, Precision, Weights, app, fail, refuse

if TYPE_CHECKING:
    from otsr.batch import Job, Progress
    from otsr.inference import Upscaler


class Format(str, Enum):
    """Formats that can be written; `keep` takes that of each input."""

    png = "png"
    jpg = "jpg"
    webp = "webp"
    tiff = "tiff"
    keep = "keep"


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
    device: DeviceName = "auto",
    precision: Precision = "auto",
    format: Annotated[
        Format, typer.Option(help="Of the outputs in a folder.", case_sensitive=False)
    ] = Format.png,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG and WebP.")] = 95,
    overwrite: Overwrite = False,
) -> None:
    """Upscale pictures.

    Names and subfolders are kept. What is there already, newer than its input, is not made again, so after an
    interruption the same command goes on. Transparency, grey and the colour profile are kept, other metadata is
    dropped.

    \b
    Example:
      otsr upscale holiday/ portrait.jpg -o large/
      otsr upscale portrait.jpg -o portrait_x4.png --weights realsr-df2k --ensemble
    """
    from otsr import batch

    try:
        jobs, failed = batch.plan(inputs, out, format.value if format is Format.keep else f".{format.value}")
    except batch.UsageError as error:
        refuse(error)
    if not overwrite and all(job.done for job in jobs):
        raise typer.Exit(batch.run(jobs, _nothing, failed=failed))
    from otsr import images

    upscaler = build_upscaler(
        weights,
        ot_weight=ot_weight,
        device=device,
        precision=precision,
        tile=tile,
        ensemble=ensemble,
        back_projection=back_projection,
    )

    def work(job: Job, progress: Progress) -> None:
        picture = images.open_picture(job.source)
        height, width = (upscaler.scale * n for n in picture.pixels.shape[:2])
        images.check_writable(job.target, width, height, alpha=picture.alpha is not None)
        result = upscaler.upscale(picture, progress)
        images.write(job.target, result, icc=picture.icc, quality=quality)

    raise typer.Exit(batch.run(jobs, work, overwrite=overwrite, failed=failed))


def build_upscaler(weights: str | None, **options: Any) -> Upscaler:
    """The upscaler for options of the command line; bad ones end the command with status 2."""
    from otsr.inference import Upscaler
    from otsr.weights import DEFAULT, WeightsError, catalogue

    name = weights or DEFAULT
    try:
        return Upscaler.from_pretrained(name, **options)
    except WeightsError as error:
        if name in [entry.name for entry in catalogue()]:
            fail(error)  # a right name, but the download failed or its package is missing
        refuse(error)
    except ValueError as error:
        refuse(error)


def _nothing(job: Job, progress: Progress) -> None:
    """Work for jobs of which none is left to do."""
