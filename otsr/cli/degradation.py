"""`otsr estimate` and `otsr degrade`: learn how a camera degrades, and degrade clean photos alike."""

import zlib
from enum import Enum
from pathlib import Path

import typer
from typer import Argument, Option

from otsr.cli.jobs import Job, Progress, find, plan, run
from otsr.cli.options import Overwrite
from otsr.cli.root import app, ends, fail, refuse, require_file, require_writable, say

# Kernel estimators (`otsr.degradation.estimate_kernel`) and rules of smoothness (`otsr.degradation.collect_noise`).
Method = Enum("Method", {"spectrum": "spectrum", "kernelgan": "kernelgan"}, type=str)
Rule = Enum("Rule", {"otsr": "otsr", "realsr": "realsr"}, type=str)


@app.command()
def estimate(
    photos: list[Path] = Argument(help="Photos of one camera, as it wrote them."),
    out: Path = Option(..., "-o", "--out", help="Degradation file to write (.safetensors)."),
    scale: int = Option(4, help="Scale of the super-resolution it is for: 2 or 4."),
    method: Method = Option(Method.spectrum, help="How kernels are estimated."),
    rule: Rule = Option(Rule.otsr, help="Which patches count as smooth."),
    max_variance: float | None = Option(None, min=1, help="Of noise, grey levels².  [default: 50, realsr: 20]"),
    cleanup: float = Option(1.0, min=1.0, help="Shrink clean photos by this much before degrading them."),
    overwrite: Overwrite = False,
) -> None:
    """Estimate how a camera degrades: blur kernels, noise and JPEG quality, in one file.

    A report is written beside it: of phone.safetensors, phone.json has the numbers and phone_report.png shows kernels,
    noise patches and spectra.

    \b
    Example:
      otsr estimate phone/*.jpg -o phone.safetensors
    """
    report = (out.with_suffix(".json"), out.with_name(f"{out.stem}_report.png"))
    if scale not in (2, 4):
        refuse(f"--scale is {scale}, expected 2 or 4")
    require_file(out, ".safetensors", overwrite=overwrite)
    for beside in report:
        require_file(beside, overwrite=overwrite)
    from otsr.degradation.camera import estimate_camera
    from otsr.degradation.report import write_report

    found, failed = find(photos)
    clash = {path.resolve() for path in found} & {path.resolve() for path in (out, *report)}
    if clash:
        refuse(f"{clash.pop()} is one of the photos and would be overwritten; choose another name for --out")
    with ends(fail, OSError, ValueError, MemoryError), Progress("estimating") as progress:
        camera = estimate_camera(
            found, scale, method=method.value, rule=rule.value, max_variance=max_variance, cleanup=cleanup,
            progress=progress,
        )  # fmt: skip
        camera.degradation.save(out)
        write_report(camera, *report)
    for warning in camera.warnings:
        say(f"warning: {warning}")
    for failure in camera.failures:
        say(f"error: {failure}")
    typer.echo(f"{out}: {camera.degradation}\n{report[0]}, {report[1]}: the report")
    use = f"otsr train adapt --camera {out}   or   otsr degrade HR -o pairs --degradation {out}"
    say(f"next: {use if camera.degradation.noise is not None else 'add photos with a plain wall or sky'}")
    raise typer.Exit(1 if failed or camera.failures else 0)


@app.command()
def degrade(
    inputs: list[Path] = Argument(metavar="HR...", help="Clean photos, and folders of them."),
    out: Path = Option(..., "-o", "--out", help="Folder for LR/ and HR/."),
    degradation: str = Option(..., help="File that `otsr estimate` wrote; general (any camera, ×4); phone."),
    seed: int = Option(0, help="The same seed gives the same pairs."),
    overwrite: Overwrite = False,
) -> None:
    """Make LR/HR pairs: degrade clean photos as a camera would have.

    Each photo becomes OUT/LR/name.png and OUT/HR/name.png; both show the same scene, HR `scale` times as large.

    \b
    Example:
      otsr degrade photos/ -o pairs/ --degradation phone.safetensors
    """
    planned, failed = plan(inputs, out, places=("LR", "HR"))
    require_writable(out)
    import numpy as np

    from otsr import images
    from otsr.evaluation.scenes import named_degradation

    with ends(refuse, OSError, ValueError):
        camera = named_degradation(degradation)
    if camera.noise is None:
        say(f"warning: {degradation} has no noise, so none is added to the LR images")

    def work(job: Job, progress: Progress) -> None:
        below = job.target.relative_to(out / "LR")
        hr_path = out / "HR" / below
        hr_path.parent.mkdir(parents=True, exist_ok=True)
        # From the name, so that a pair depends neither on the order nor on what was done before.
        own_seed = zlib.crc32(f"{seed}/{images.name_of(below.as_posix())}".encode())
        hr, lr = camera.pair(images.read(job.source), own_seed)
        begun = hr_path.exists() and not (overwrite or job.target.exists())
        if begun and not np.array_equal(images.open_picture(hr_path).pixels, images.to_array(hr)):
            advice = "move it, or give --overwrite"
            raise images.ImageError(f"{job.source}: {hr_path} is another picture; {advice}")
        images.write(hr_path, hr)
        images.write(job.target, lr)  # last: a pair counts as done when its LR is there

    raise typer.Exit(run(planned, work, overwrite=overwrite, failed=failed))
