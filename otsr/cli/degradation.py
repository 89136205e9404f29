"""`otsr estimate` and `otsr degrade`: learn how a camera degrades, and degrade clean photos alike."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otsr.cli.root import Overwrite, app, fail, refuse, require_writable

if TYPE_CHECKING:
    from otsr.cli.jobs import Job, Progress
    from otsr.degradation import Degradation


class Method(str, Enum):
    """Kernel estimators; see `otsr.degradation.estimate_kernel`."""

    spectrum = "spectrum"
    kernelgan = "kernelgan"


class Rule(str, Enum):
    """Rules of smoothness; see `otsr.degradation.collect_noise`."""

    otsr = "otsr"
    realsr = "realsr"


@app.command()
def estimate(
    photos: Annotated[
        list[Path], typer.Argument(help="Photos of one camera, as it wrote them.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="Degradation file to write (.safetensors).", show_default=False),
    ],
    scale: Annotated[int, typer.Option(help="Scale of the super-resolution it is for: 2 or 4.")] = 4,
    method: Annotated[Method, typer.Option(help="How kernels are estimated.")] = Method.spectrum,
    rule: Annotated[Rule, typer.Option(help="Which patches count as smooth.")] = Rule.otsr,
    patch: Annotated[int, typer.Option(min=8, help="Side of a noise patch in pixels.")] = 64,
    max_variance: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Largest variance of a noise patch, grey levels².  [default: 50, realsr: 20]",
            show_default=False,
        ),
    ] = None,
    jpeg: Annotated[
        tuple[int, int] | None,
        typer.Option(
            metavar="LOW HIGH", help="JPEG qualities.  [default: those of the photos]", show_default=False
        ),
    ] = None,
    cleanup: Annotated[
        float, typer.Option(min=1.0, help="Shrink clean photos by this much before degrading them.")
    ] = 1.0,
) -> None:
    """Estimate how a camera degrades: blur kernels, noise and JPEG quality, in one file.

    A report is written beside it: OUT.json with the numbers and OUT.png with kernels, noise patches and spectra.

    \b
    Example:
      otsr estimate phone/*.jpg -o phone.safetensors
    """
    from otsr.cli import jobs

    report = (out.with_suffix(".json"), out.with_suffix(".png"))
    if scale not in (2, 4):
        refuse(f"--scale is {scale}, expected 2 or 4")
    if not out.parent.is_dir():
        refuse(f"the folder {out.parent} does not exist")
    if out.suffix != ".safetensors":
        refuse(f"{out}: name the degradation file with the suffix .safetensors")
    require_writable(out)
    for path in (out, *report):
        if path.exists():
            jobs.say(f"note: {path} exists and will be replaced")
    from otsr.degradation import Degradation
    from otsr.degradation.camera import estimate_camera
    from otsr.degradation.report import write_report
    from otsr.images import find_images

    try:
        Degradation(scale, jpeg=jpeg, cleanup=cleanup)
    except ValueError as error:
        refuse(error)
    problems: list[str] = []
    found = find_images(photos, lambda path, reason: problems.append(f"{path}: {reason}"))
    clash = {path.resolve() for path in found} & {path.resolve() for path in (out, *report)}
    if clash:
        refuse(f"{clash.pop()} is one of the photos and would be overwritten; choose another name for --out")
    try:
        with jobs.Progress("estimating") as progress:
            camera = estimate_camera(
                found, scale, method=method.value, rule=rule.value, patch=patch, max_variance=max_variance,
                jpeg=jpeg, cleanup=cleanup, note=lambda text: jobs.say(f"note: {text}"), progress=progress,
            )  # fmt: skip
        camera.degradation.save(out)
        write_report(camera, *report)
    except (OSError, ValueError, MemoryError) as error:
        for problem in problems:
            jobs.say(f"error: {problem}")
        fail(error)
    for warning in camera.warnings:
        jobs.say(f"warning: {warning}")
    for failure in (*problems, *camera.failures):
        jobs.say(f"error: {failure}")
    typer.echo(f"{out}: {_summary(camera.degradation)}\n{report[0]}, {report[1]}: the report")
    jobs.say(f"next: otsr train adapt --camera {out}   or   otsr degrade HR -o pairs --degradation {out}")
    raise typer.Exit(1 if problems or camera.failures else 0)


def _summary(degradation: Degradation) -> str:
    """What was found, for people: "12 blur kernels, 40 noise patches, JPEG quality 95 to 97"."""
    kernels = 0 if degradation.kernels is None else len(degradation.kernels)
    noise = 0 if degradation.noise is None else len(degradation.noise)
    jpeg = "no JPEG" if degradation.jpeg is None else "JPEG quality {} to {}".format(*degradation.jpeg)
    return f"{kernels} blur kernels, {noise} noise patches, {jpeg}, for ×{degradation.scale}"


@app.command()
def degrade(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="HR...", help="Clean photos, and folders of them.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for LR/ and HR/.", show_default=False)],
    degradation: Annotated[
        str,
        typer.Option(
            help="File that `otsr estimate` wrote; or general, for any camera, ×4.", show_default=False
        ),
    ],
    seed: Annotated[int, typer.Option(help="The same seed gives the same pairs.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Make LR/HR pairs: degrade clean photos as a camera would have.

    Each photo becomes OUT/LR/name.png and OUT/HR/name.png; both show the same scene, HR `scale` times as large.

    \b
    Example:
      otsr degrade photos/ -o pairs/ --degradation phone.safetensors
    """
    from otsr.cli import jobs

    try:
        planned, failed = jobs.plan(inputs, out, places=("LR", "HR"), single_file=False)
    except jobs.UsageError as error:
        refuse(error)
    require_writable(out)
    import zlib

    from otsr import images
    from otsr.degradation import Degradation

    try:
        camera = Degradation.general() if degradation == "general" else Degradation.load(degradation)
    except (OSError, ValueError) as error:
        refuse(error)
    if camera.noise is None:
        jobs.say(f"warning: {degradation} has no noise, so none is added to the LR images")

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

    raise typer.Exit(jobs.run(planned, work, overwrite=overwrite, failed=failed))
