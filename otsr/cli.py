"""The command line: `otsr upscale`, `estimate`, `degrade`, `download`, `info`.

Exit status: 0 all done; 1 something could not be done (each named on stderr); 2 the command line is wrong; 130
interrupted. torch takes seconds to import, so each command imports what it needs when it runs: `otsr --help` is
instant.
"""

from __future__ import annotations

import signal
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from otsr.batch import Job, Progress
    from otsr.inference import Upscaler

app = typer.Typer(
    name="otsr",
    help="Blind super-resolution guided by optimal transport: estimate how a camera degrades, upscale its photos.",
    epilog="Each command shows an example: otsr upscale --help",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

_DEFAULT = "realsr-df2k"
_PHOTO = (4000, 3000)  # what `info` speaks of


class Format(str, Enum):
    """Formats that can be written; `keep` takes that of each input."""

    png = "png"
    jpg = "jpg"
    webp = "webp"
    tiff = "tiff"
    keep = "keep"


class Method(str, Enum):
    """Kernel estimators; see `otsr.degradation.estimate_kernel`."""

    spectrum = "spectrum"
    kernelgan = "kernelgan"


class Rule(str, Enum):
    """Rules of smoothness; see `otsr.degradation.collect_noise`."""

    otsr = "otsr"
    realsr = "realsr"


Inputs = Annotated[list[Path], typer.Argument(help="Pictures, and folders of pictures.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Make outputs again that are there already.")]
Weights = Annotated[
    str | None,
    typer.Option(help="Name (see `otsr info`) or path of weights.  [default: realsr-df2k]"),
]
DeviceName = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, bf16, fp16.")]


def main() -> None:
    """Entry point of the command `otsr`."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exit that removes temporary files on its way
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


def _show_version(asked: bool) -> None:
    if asked:
        from otsr import __version__

        typer.echo(f"otsr {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Options that come before a command."""


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
    tile: Annotated[int, typer.Option(help="LR pixels a side of a tile; smaller takes less memory.")] = 512,
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
        _refuse(error)
    if not overwrite and all(job.done for job in jobs):
        raise typer.Exit(batch.run(jobs, _nothing, failed=failed))
    from otsr import images

    upscaler = _upscaler(
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


@app.command()
def estimate(
    photos: Annotated[
        list[Path], typer.Argument(help="Photos of one camera, as it wrote them.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="Degradation file to write (.safetensors).", show_default=False),
    ],
    scale: Annotated[int, typer.Option(help="2 or 4: the super-resolution that it is for.")] = 4,
    method: Annotated[Method, typer.Option(help="Of kernel estimation.")] = Method.spectrum,
    rule: Annotated[Rule, typer.Option(help="By which patches count as smooth.")] = Rule.otsr,
    patch: Annotated[int, typer.Option(min=8, help="Side of a noise patch in pixels.")] = 64,
    jpeg: Annotated[
        tuple[int, int] | None, typer.Option(metavar="LOW HIGH", help="JPEG qualities to add, such as 60 95.")
    ] = None,
    cleanup: Annotated[
        float, typer.Option(min=1.0, help="Shrink clean photos by this much before degrading them.")
    ] = 1.0,
) -> None:
    """Estimate how a camera degrades: blur kernels and a noise pool, in one file.

    A report is written beside it: OUT.json with the numbers and OUT.png with kernels, noise patches and spectra.

    \b
    Example:
      otsr estimate phone/*.jpg -o phone.safetensors
    """
    from otsr import batch

    report = (out.with_suffix(".json"), out.with_suffix(".png"))
    if scale not in (2, 4):
        _refuse(f"--scale is {scale}, expected 2 or 4")
    if not out.parent.is_dir():
        _refuse(f"the folder {out.parent} does not exist")
    if out.suffix != ".safetensors":
        _refuse(f"{out}: name the degradation file with the suffix .safetensors")
    from otsr.degradation.camera import estimate_camera, write_report
    from otsr.images import find_images

    problems: list[str] = []
    found = find_images(photos, lambda path, reason: problems.append(f"{path}: {reason}"))
    clash = {path.resolve() for path in found} & {path.resolve() for path in (out, *report)}
    if clash:
        _refuse(f"{clash.pop()} is a photo and would be overwritten by the report; choose another name")
    try:
        with batch.Progress("estimating") as progress:
            camera = estimate_camera(
                found, scale, method=method.value, rule=rule.value, patch=patch, jpeg=jpeg, cleanup=cleanup,
                note=lambda text: batch.say(f"note: {text}"), progress=progress,
            )  # fmt: skip
        camera.degradation.save(out)
        write_report(camera, *report)
    except (OSError, ValueError, MemoryError) as error:
        for problem in problems:
            batch.say(f"error: {problem}")
        _fail(error)
    for failure in (*problems, *camera.failures):
        batch.say(f"error: {failure}")
    typer.echo(f"{out}: {camera.degradation}\n{report[0]}, {report[1]}: the report")
    raise typer.Exit(1 if problems or camera.failures else 0)


@app.command()
def degrade(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="HR...", help="Clean photos, and folders of them.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for LR/ and HR/.", show_default=False)],
    degradation: Annotated[Path, typer.Option(help="File that `otsr estimate` wrote.", show_default=False)],
    seed: Annotated[int, typer.Option(help="The same seed gives the same pairs.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Make LR/HR pairs: degrade clean photos as a camera would have.

    Each photo becomes OUT/LR/name.png and OUT/HR/name.png; both show the same scene, HR `scale` times as large.

    \b
    Example:
      otsr degrade photos/ -o pairs/ --degradation phone.safetensors
    """
    from otsr import batch

    try:
        jobs, failed = batch.plan(inputs, out, places=("LR", "HR"), single_file=False)
    except batch.UsageError as error:
        _refuse(error)
    import zlib

    from otsr import images
    from otsr.degradation import Degradation

    try:
        camera = Degradation.load(degradation)
    except (OSError, ValueError) as error:
        _refuse(error)

    def work(job: Job, progress: Progress) -> None:
        below = job.target.relative_to(out / "LR")
        hr_path = out / "HR" / below
        hr_path.parent.mkdir(parents=True, exist_ok=True)
        # From the name, so that a pair depends neither on the order nor on what was done before.
        own_seed = zlib.crc32(f"{seed}/{below.as_posix()}".encode())
        hr, lr = camera.pair(images.read(job.source), own_seed)
        images.write(hr_path, hr)
        images.write(job.target, lr)  # last: a pair counts as done when its LR is there
        progress(1, 1)

    raise typer.Exit(batch.run(jobs, work, overwrite=overwrite, failed=failed))


@app.command()
def download(
    name: Annotated[str | None, typer.Argument(help="Name of weights.", show_default=False)] = None,
    show: Annotated[
        bool, typer.Option("--list", help="Show what can be downloaded, and what is here.")
    ] = False,
) -> None:
    """Download weights, checked and resumed, so that they are here when there is no network.

    \b
    Example:
      otsr download --list
      otsr download otsr-dped
    """
    from otsr.weights import WeightsError, catalogue, locate

    if show:
        for entry in catalogue():
            place = "here" if entry.present else f"not here ({entry.where})"
            typer.echo(f"{entry.name:<12} {entry.size / 1e6:5.1f} MB  {place:<20} {entry.licence}")
        return
    if name not in [entry.name for entry in catalogue()]:
        _refuse(f"{'no name given' if name is None else f'{name!r} is not known'}; see otsr download --list")
    try:
        typer.echo(locate(name))
    except WeightsError as error:
        _fail(error)


@app.command()
def info(
    weights: Weights = None,
    device: DeviceName = "auto",
    precision: Precision = "auto",
) -> None:
    """Show versions, the device, the weights that are here, and what a 12-megapixel photo will take.

    \b
    Example:
      otsr info
      otsr info --weights realsr-df2k --device cpu
    """
    import os
    import platform
    from importlib.metadata import version

    import torch

    from otsr import machine
    from otsr.weights import catalogue

    names = ("otsr", "torch", "numpy", "pot", "pillow")
    typer.echo(f"Versions   {', '.join(f'{name} {version(name)}' for name in names)}")
    typer.echo(
        f"System     Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} CPU cores"
    )
    try:
        chosen = machine.choose_device(device)
        dtype = machine.choose_dtype(precision, chosen)
    except ValueError as error:
        _refuse(error)
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else platform.machine()
    free = machine.available_memory()
    memory = f", {free / 1e9:.1f} GB of memory free" if free is not None else ""
    typer.echo(f"Device     {chosen} ({name}), {str(dtype).removeprefix('torch.')}{memory}")
    typer.echo("Weights")
    for entry in catalogue():
        place = str(entry.path) if entry.present else f"not here ({entry.where})"
        typer.echo(f"  {entry.name:<12} {entry.what}\n  {'':<12} {entry.size / 1e6:.1f} MB, {place}")
    upscaler = _upscaler(weights, device=device, precision=precision)
    megapixels = _PHOTO[0] * _PHOTO[1] / 1e6
    seconds = upscaler.predict_seconds(*_PHOTO)
    needed = upscaler.predict_memory(*_PHOTO)
    typer.echo(
        f"A photo of {megapixels:.0f} megapixels with {weights or _DEFAULT}, ×{upscaler.scale}: about "
        f"{_duration(seconds)} and {needed / 1e9:.1f} GB of memory (measured on one small tile)"
    )


def _upscaler(weights: str | None, **options: Any) -> Upscaler:
    """The upscaler for options of the command line; bad ones end the command with status 2."""
    from otsr.inference import Upscaler
    from otsr.weights import WeightsError, catalogue

    name = weights or _DEFAULT
    try:
        return Upscaler.from_pretrained(name, **options)
    except WeightsError as error:
        if name in [entry.name for entry in catalogue()]:
            _fail(error)  # a right name, but the download failed or its package is missing
        _refuse(error)
    except ValueError as error:
        _refuse(error)


def _nothing(job: Job, progress: Progress) -> None:
    """Work for jobs of which none is left to do."""


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _refuse(reason: object) -> NoReturn:
    """End with status 2: the command line is wrong, nothing was done."""
    typer.echo(f"error: {reason}", err=True)
    raise typer.Exit(2)


def _fail(reason: object) -> NoReturn:
    """End with status 1: something could not be done."""
    typer.echo(f"error: {reason}", err=True)
    raise typer.Exit(1)
