"""`otsr evaluate`: how good weights are, in a table with intervals."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otsr.cli.root import DeviceName, ManyValues, app, fail, refuse, require_writable
from otsr.cli.upscale import build_upscaler

if TYPE_CHECKING:
    from otsr.evaluation import Data, Table
    from otsr.inference import Upscaler


@app.command(cls=ManyValues)
def evaluate(
    data: Annotated[
        str | None,
        typer.Option(
            help="Folder of HR pictures, or photos/test, photos/val (of the course), or phone (its crops, no truth).",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME...",
            help="Names (see `otsr info`), files, or folders of trainings.",
            show_default=False,
        ),
    ] = None,
    sr: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER...",
            help="Pictures upscaled by any program, named like those in --data; without --data, no truth is needed.",
            show_default=False,
        ),
    ] = None,
    lr: Annotated[
        Path | None,
        typer.Option(help="Folder of LR pictures with the same names; without --data they have no truth."),
    ] = None,
    degradation: Annotated[
        str | None,
        typer.Option(
            help="Makes LR from HR: phone, general, bicubic, or a file from `otsr estimate`.  [default: phone]"
        ),
    ] = None,
    cleanup: Annotated[
        float | None, typer.Option(min=1.0, help="Shrink HR pictures by this factor first.  [default: 1]")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Row to compare the others with.  [default: the first]")
    ] = None,
    ot_weight: Annotated[
        list[float] | None,
        typer.Option(
            metavar="T...", help="0: fidelity, 1: transport; several values walk from one to the other."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of kernels and noise.")] = 0,
    draws: Annotated[int, typer.Option(min=1, help="Draws of kernel and noise for each picture.")] = 1,
    scale: Annotated[
        int | None,
        typer.Option(min=1, help="HR pixels per LR pixel.  [default: that of the weights, else 4]"),
    ] = None,
    border: Annotated[
        int | None,
        typer.Option(min=0, help="HR pixels that PSNR and SSIM leave out.  [default: the scale]"),
    ] = None,
    crop: Annotated[
        int | None,
        typer.Option(min=16, help="Take only the middle of each picture, this many LR pixels a side."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all numbers here.")] = None,
    markdown_file: Annotated[Path | None, typer.Option("--markdown", help="Write the tables here.")] = None,
    tile: Annotated[
        int | None, typer.Option(help="LR pixels on each side of a tile.  [default: 512, CUDA 2048]")
    ] = None,
    device: DeviceName = "auto",
    precision: Annotated[
        str, typer.Option(help="fp32 (the same numbers on every machine), auto, bf16, fp16.")
    ] = "fp32",
) -> None:
    """Measure weights, or pictures from any program.

    The columns are PSNR, SSIM, ST-LPIPS, NIQE, patch-SWD and LR consistency, as far as they can be had. Each number is
    a mean over pictures with its 95 % interval. The second table holds the differences, picture by picture; these
    decide. --ot-weight 0 0.5 1 walks from the weights' partner (fidelity) to the weights (transport).

    \b
    Example:
      otsr evaluate --weights realsr-df2k --data photos/test --cleanup 2
      otsr evaluate --weights a.safetensors b.safetensors --against a.safetensors --data hr/ --lr lr/ --json out.json
      otsr evaluate --sr by_some_program/ by_another/ --data hr/
      otsr evaluate --sr by_some_program/
    """
    for file in (json_file, markdown_file):
        if file is not None:
            _require_file(file)
    names, steps = weights or [], sorted(ot_weight or [1.0])
    for option, values in (("--weights", names), ("--ot-weight", steps), ("--sr", sr or [])):
        if len(set(values)) < len(values):
            refuse(f"{option} names the same value twice")
    if ot_weight and not names:
        refuse("--ot-weight needs --weights")
    options: dict[str, Any] = {"device": device, "precision": precision, "tile": tile}
    networks = {
        name if steps == [1.0] else f"{name}@{t:g}": build_upscaler(name, ot_weight=t, **options)
        for name in names
        for t in steps
    }
    from otsr import evaluation
    from otsr.cli.jobs import say

    try:
        chosen = evaluation.choose(
            data, lr, sr or [], degradation=degradation, cleanup=cleanup, seed=seed,
            scale=scale or next((upscaler.scale for upscaler in networks.values()), None), note=say,
        )  # fmt: skip
        table = _measure(networks, chosen, crop, against, border=border, draws=draws, settings={
            **chosen.described, "crop": crop, "weights": evaluation.hashes(names), **options,
        })  # fmt: skip
    except evaluation.NothingMeasured as error:
        fail(error)
    except evaluation.EvaluationError as error:
        refuse(error)
    against = against or table.rows[0]
    text = evaluation.markdown(table, against)
    if len(steps) > 1:
        for name in names:
            text += f"\n\n{evaluation.monotony(table, [f'{name}@{t:g}' for t in steps])}"
    typer.echo(text)
    if json_file:
        _write(json_file, json.dumps(evaluation.to_json(table, against), indent=1, ensure_ascii=False))
    if markdown_file:
        _write(markdown_file, text)
    raise typer.Exit(1 if table.failures else 0)


def _require_file(path: Path) -> None:
    if path.is_dir():
        refuse(f"{path} is a folder; name a file")
    if not path.parent.is_dir():
        refuse(f"{path}: the folder {path.parent} does not exist")
    require_writable(path)


def _measure(
    networks: dict[str, Upscaler], chosen: Data, crop: int | None, against: str | None, **options: Any
) -> Table:
    from tqdm import tqdm

    from otsr.cli.jobs import say
    from otsr.evaluation import BICUBIC, EvaluationError, evaluate, middle

    made = dict.fromkeys(row for scene in chosen.scenes for row in scene.made)
    rows = [*([BICUBIC] if chosen.lr else []), *made, *networks]
    if against and against not in rows:
        raise EvaluationError(f"--against {against}: no such row; there are {', '.join(rows)}")
    if networks and not chosen.lr:
        raise EvaluationError("--weights need LR pictures to upscale; name their folder with --lr")
    if crop and made:
        raise EvaluationError("--crop and --sr do not go together; crop the pictures beforehand")
    scenes = [middle(scene, crop, chosen.scale) for scene in chosen.scenes] if crop else chosen.scenes
    with tqdm(desc="evaluating", unit="picture", leave=False, disable=None, file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return evaluate(
            networks, scenes, bicubic=chosen.lr, progress=progress,
            on_error=lambda text: say(f"error: {text}"), scale=chosen.scale, **options,
        )  # fmt: skip


def _write(path: Path, content: str) -> None:
    from otsr.images import atomic_path

    try:
        with atomic_path(path) as temporary:
            temporary.write_text(content + "\n", encoding="utf-8")
    except OSError as error:
        fail(f"{path}: cannot be written ({error.strerror or error})")
