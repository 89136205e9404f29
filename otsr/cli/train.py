"""`otsr pack` and `otsr train`: photos into a store, a recipe into weights."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer
from typer import Argument, Option

from otsr.cli.root import Inputs, Overwrite, app, fail, refuse, require_file, require_writable

if TYPE_CHECKING:
    from otsr.training.schema import ConfigError


@app.command()
def pack(
    inputs: Inputs,
    out: Path = Option(..., "-o", "--out", help="Store to write (.lmdb)."),
    cleanup: float = Option(1.0, min=1.0, max=16.0, help="Shrink photos by this much first."),
    workers: int | None = Option(None, min=1, help="Threads that decode.  [default: one per core]"),
    overwrite: Overwrite = False,
) -> None:
    """Pack photos into a store, from which a training reads crops without decoding whole photos each time.

    \b
    Example:
      otsr pack DIV2K_train_HR Flickr2K_HR -o df2k.lmdb --cleanup 2
    """
    require_file(out, ".lmdb", overwrite=overwrite)
    from otsr.training.sources import pack as write_store
    from otsr.training.store import DataError

    try:
        packed = write_store(inputs, out, cleanup, overwrite=overwrite, workers=workers)
    except (DataError, OSError, MemoryError) as error:
        fail(error)
    for failure in packed.failures:
        typer.echo(f"error: {failure}", err=True)
    typer.echo(f"{packed.path}: {packed.photos} photos, {packed.size / 1e6:.1f} MB")
    raise typer.Exit(1 if packed.failures else 0)


@app.command()
def train(
    recipe: Path = Argument(
        metavar="RECIPE", help="A file (also of RealSR or OTSR), or tiny, small, df2k, …"
    ),
    overrides: list[str] | None = Option(
        None, "--set", metavar="KEY=VALUE", help="Replace a value; repeatable."
    ),
    camera: Path | None = Option(None, metavar="FILE", help="Train for it: a file of `otsr estimate`."),
    resume: bool = Option(False, "--resume", help="Continue from the last checkpoint in the folder."),
    out: Path | None = Option(None, "-o", "--out", help="Folder of the run.  [default: runs/NAME]"),
    show: bool = Option(False, "--show", help="Show the recipe with every value, and do not train."),
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
    from otsr.images import suggestion
    from otsr.training.recipe import dump, load_config
    from otsr.training.schema import ConfigError

    changes = list(overrides or ())
    if camera is not None:
        if camera.is_dir():
            refuse(f"--camera {camera} is a folder; first: otsr estimate {camera} -o camera.safetensors")
        if not camera.is_file():
            make = f"make it with: otsr estimate PHOTOS -o {camera}"
            refuse(f"--camera {camera}: no such file; {make}{suggestion(camera)}")
        changes.append(f"data.degradation={json.dumps(str(camera))}")
    try:
        config = load_config(recipe, changes)
    except ConfigError as error:
        _refuse_all(error)
    for note in config.notes:
        _tell(f"note: {note}")
    if show:
        typer.echo(dump(config), nl=False)
        return
    folder = out or Path("runs") / config.name
    require_writable(folder)
    times = f"from step {min(config.every.log, config.steps)} on each line says how much time is left"
    _tell(f"{config.name}: {config.steps:,} steps, into {folder}; {times}")
    if config.data.degradation == "phone" and not resume:
        _tell("first the blur of the course's phone is estimated; that takes up to a minute")
    from otsr.training import train as run

    try:
        result = run(config, folder, resume)
    except ConfigError as error:
        _refuse_all(error)
    except KeyboardInterrupt:
        if (folder / "last.state").exists():
            _tell(f"interrupted. Go on from the last checkpoint with: {_again(recipe, changes, out)}")
        else:
            _tell("interrupted before the first checkpoint")
        raise typer.Exit(130) from None
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        fail(error)
    if _IS_FIRST:
        scores = "".join(f", {name} {value:.4g}" for name, value in result.scores.items())
        typer.echo(f"{result.folder}: {result.step} steps{scores}")


_IS_FIRST = os.environ.get("RANK", "0") == "0"  # of several processes the first one speaks


def _tell(line: str) -> None:
    if _IS_FIRST:
        typer.echo(line, err=True)


def _refuse_all(error: ConfigError) -> NoReturn:
    for problem in error.problems:
        _tell(f"error: {problem}")
    raise typer.Exit(2)


def _again(recipe: Path, overrides: list[str], out: Path | None) -> str:
    """The command that resumes, ready to paste."""
    changes = [word for override in overrides for word in ("--set", override)]
    folder = [] if out is None else ["-o", str(out)]
    return shlex.join(["otsr", "train", str(recipe), *changes, *folder, "--resume"])
