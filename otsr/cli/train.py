"""`otsr pack` and `otsr train`: photos into a store, a recipe into weights."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from otsr.cli.root import Inputs, Overwrite, app, fail, refuse, require_writable

if TYPE_CHECKING:
    from otsr.training.schema import Config


@app.command()
def pack(
    inputs: Inputs,
    out: Annotated[Path, typer.Option("-o", "--out", help="Store to write (.lmdb).", show_default=False)],
    cleanup: Annotated[
        float, typer.Option(min=1.0, max=16.0, help="Shrink photos by this much first.")
    ] = 1.0,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Threads that decode.  [default: one per core]", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Pack photos into a store, from which a training reads crops without decoding whole photos each time.

    \b
    Example:
      otsr pack DIV2K_train_HR Flickr2K_HR -o df2k.lmdb --cleanup 2
    """
    if out.suffix != ".lmdb":
        refuse(f"{out}: name the store with the suffix .lmdb")
    if not out.parent.is_dir():
        refuse(f"the folder {out.parent} does not exist")
    if out.exists() and not overwrite:
        refuse(f"{out} is there already; choose another name, or give --overwrite")
    require_writable(out)
    from otsr.training.sources import pack as write_store
    from otsr.training.store import StoreError

    try:
        packed = write_store(inputs, out, cleanup, overwrite=overwrite, workers=workers)
    except (StoreError, OSError, MemoryError) as error:
        fail(error)
    for failure in packed.failures:
        typer.echo(f"error: {failure}", err=True)
    typer.echo(f"{packed.path}: {packed.photos} photos, {packed.size / 1e6:.1f} MB")
    raise typer.Exit(1 if packed.failures else 0)


@app.command()
def train(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE",
            help="A .yml file, the name of a recipe that comes with the package (tiny, small, df2k, …), or options of "
            "RealSR or OTSR.",
            show_default=False,
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Replace a value of the recipe; may be given several times."
        ),
    ] = None,
    camera: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Train for this camera: a file from `otsr estimate`, as data.degradation.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last checkpoint in the folder.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder of the run.  [default: runs/NAME, by the recipe's name]"),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Show the recipe with every value written out, and do not train.")
    ] = False,
) -> None:
    """Train a generator as a recipe says.

    The folder of the run holds best.safetensors and last.safetensors (weights), validation.tsv (scores), log/ (for
    tensorboard) and config.yml (the recipe with every value).

    \b
    Example:
      otsr train tiny
      otsr train tiny --set steps=600 --set data.batch=8 -o runs/longer
      otsr train tiny --resume
      otsr train adapt --camera phone.safetensors
      torchrun --nproc-per-node 3 -m otsr train df2k
      otsr train my_recipe.yml
      otsr train options_of_realsr.yml --show > mine.yml
    """
    from otsr.training.recipe import dump, load_config
    from otsr.training.schema import ConfigError

    changes = list(overrides or ())
    if camera is not None:
        if not camera.is_file():
            refuse(f"--camera {camera}: no such file; make it with: otsr estimate PHOTOS -o {camera}")
        changes.append(f"data.degradation={json.dumps(str(camera))}")
    try:
        config = load_config(recipe, changes)
    except ConfigError as error:
        _refuse_all(error.problems)
    if _speaks():
        for note in config.notes:
            typer.echo(f"note: {note}", err=True)
    if show:
        typer.echo(dump(config), nl=False)
        return
    folder = out or Path("runs") / config.name
    require_writable(folder)
    if _speaks():
        every = min(config.every.log, config.steps)
        typer.echo(
            f"{config.name}: {config.steps:,} steps, into {folder}; from step {every} on each line says how long a "
            "step takes and how much time is left",
            err=True,
        )
        if config.data.degradation == "phone" and not resume:
            typer.echo(
                "first the blur of the course's phone is estimated; that takes up to a minute", err=True
            )
    _run(config, folder, resume, _again(recipe, changes, out))


def _run(config: Config, folder: Path, resume: bool, again: str) -> None:
    from otsr.training import train
    from otsr.training.schema import ConfigError

    try:
        result = train(config, folder, resume)
    except ConfigError as error:
        _refuse_all(error.problems)
    except KeyboardInterrupt:
        if _speaks():
            kept = (folder / "last.state").exists()
            advice = (
                f". Go on from the last checkpoint with: {again}" if kept else " before the first checkpoint"
            )
            typer.echo(f"interrupted{advice}", err=True)
        raise typer.Exit(130) from None
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        fail(error)
    if _speaks():
        scores = "".join(f", {name} {value:.4g}" for name, value in result.scores.items())
        typer.echo(f"{result.folder}: {result.step} steps{scores}")


def _speaks() -> bool:
    """Of several processes the first one speaks."""
    return os.environ.get("RANK", "0") == "0"


def _refuse_all(problems: tuple[str, ...]) -> NoReturn:
    """End with status 2, each problem on a line of its own."""
    if _speaks():
        for problem in problems[:-1]:
            typer.echo(f"error: {problem}", err=True)
        refuse(problems[-1])
    raise typer.Exit(2)


def _again(recipe: Path, overrides: list[str], out: Path | None) -> str:
    """The command that resumes, ready to paste."""
    words = ["otsr", "train", str(recipe)]
    for override in overrides:
        words += ["--set", override]
    words += [] if out is None else ["-o", str(out)]
    return shlex.join([*words, "--resume"])
