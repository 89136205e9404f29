"""`otsr evaluate`: how good weights are, in a table with intervals."""

import json
from pathlib import Path
from typing import Any

import typer
from typer import Option

from otsr.cli.jobs import Progress, noted
from otsr.cli.options import DeviceName, ManyValues, Tile
from otsr.cli.root import app, ends, fail, refuse, require_file, say
from otsr.cli.upscale import build_upscaler


@app.command(cls=ManyValues)
def evaluate(
    data: str | None = Option(None, help="HR pictures: a folder; or photos/test, photos/val, phone."),
    weights: list[str] | None = Option(None, metavar="NAME...", help="Names (see `otsr info`) or paths."),
    sr: list[Path] | None = Option(None, metavar="FOLDER...", help="By any program, named as in --data."),
    lr: Path | None = Option(None, help="Folder of LR pictures, named as in --data."),
    degradation: str | None = Option(None, help="LR from HR: phone (default), general, bicubic, or a file."),
    cleanup: float | None = Option(None, min=1.0, help="Shrink HR pictures so much first.  [default: 1]"),
    against: str | None = Option(None, help="Row to compare the others with.  [default: the first]"),
    ot_weight: list[float] | None = Option(None, metavar="T...", help="From 0 (fidelity) to 1 (transport)."),
    seed: int = Option(0, help="Seed of kernels and noise."),
    draws: int = Option(1, min=1, help="Draws of kernel and noise for each picture."),
    scale: int | None = Option(None, min=1, help="HR pixels per LR pixel.  [default: the weights', else 4]"),
    crop: int | None = Option(None, min=16, help="Take only the middle, so many LR pixels a side."),
    json_file: Path | None = Option(None, "--json", help="Write all numbers here."),
    tile: Tile = None,
    device: DeviceName = "auto",
    precision: str = Option("fp32", help="fp32 (the same numbers on every machine), auto, bf16, fp16."),
) -> None:
    """Measure weights, or pictures from any program.

    The columns are PSNR, SSIM, ST-LPIPS, NIQE, patch-SWD and LR consistency, as far as they can be had (without --data
    there is no truth). Each number is a mean over pictures with its 95 % interval. The second table holds the
    differences, picture by picture; these decide. --ot-weight 0 0.5 1 walks from fidelity to transport.

    \b
    Example:
      otsr evaluate --weights realsr-df2k --data photos/test --cleanup 2
      otsr evaluate --weights a.safetensors b.safetensors --against a.safetensors --data hr/ --lr lr/ --json out.json
      otsr evaluate --sr by_some_program/ by_another/ --data hr/
      otsr evaluate --sr by_some_program/
    """
    if json_file:
        require_file(json_file)
    names, steps = weights or [], sorted(ot_weight or [1.0])
    for option, values in (("--weights", names), ("--ot-weight", steps), ("--sr", sr or [])):
        if len(set(values)) < len(values):
            refuse(f"{option} names the same value twice")
    if ot_weight and not names:
        refuse("--ot-weight needs --weights")
    if names and sr and not lr:
        refuse("--weights need LR pictures to upscale; name their folder with --lr")
    if crop and sr:
        refuse("--crop and --sr do not go together; crop the pictures beforehand")
    if draws > 1 and (lr or sr or data == "phone"):
        refuse("--draws varies kernels and noise, but these LR pictures are fixed; leave it at 1")
    options: dict[str, Any] = {"device": device, "precision": precision, "tile": tile}
    networks = {
        name if steps == [1.0] else f"{name}@{t:g}": build_upscaler(name, ot_weight=t, **options)
        for name in names
        for t in steps
    }
    import pooch

    from otsr import evaluation
    from otsr.images import atomic_path
    from otsr.weights import file_of

    rows = [*([evaluation.BICUBIC] if lr or not sr else []), *map(str, sr or []), *networks]
    against = against or rows[0]
    if against not in rows:
        refuse(f"--against {against}: no such row; there are {', '.join(rows)}")
    with ends(refuse, evaluation.EvaluationError), ends(fail, evaluation.NothingMeasured):
        scenes, scale, settings = evaluation.choose(
            data, lr, sr or [], degradation=degradation, cleanup=cleanup, seed=seed,
            scale=scale or next((upscaler.scale for upscaler in networks.values()), None), note=say,
        )  # fmt: skip
        if crop:
            scenes = [evaluation.middle(scene, crop, scale) for scene in scenes]
        with Progress("evaluating") as progress, noted():
            table = evaluation.evaluate(
                networks, scenes, scale=scale, draws=draws, progress=progress,
                on_error=lambda text: say(f"error: {text}"),
            )  # fmt: skip
    files = {name: file_of(name, download=False) for name in names}
    hashes = {
        # Of ncnn's two files that with the numbers: many networks share the graph in the other.
        name: pooch.file_hash(str(file.with_suffix(".bin") if file.suffix == ".param" else file))
        for name, file in files.items()
    }
    table.settings.update(settings, crop=crop, weights=hashes, **options)
    typer.echo(evaluation.markdown(table, against))
    if len(steps) > 1:
        for name in names:
            typer.echo(f"\n{evaluation.monotony(table, [f'{name}@{t:g}' for t in steps])}")
    if json_file:
        numbers = json.dumps(evaluation.to_json(table, against), indent=1, ensure_ascii=False)
        with ends(fail, OSError), atomic_path(json_file) as temporary:
            temporary.write_text(numbers + "\n", encoding="utf-8", errors="backslashreplace")
    raise typer.Exit(1 if table.failures else 0)
