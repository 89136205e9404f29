"""`otsr pack` and `otsr train`: photos into a store, a recipe into weights."""

import json
from pathlib import Path

import typer
from typer import Argument, Option

from otsr.cli.options import Inputs, Overwrite
from otsr.cli.root import IS_FIRST, app, ends, fail, refuse, require_file, require_writable, say


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

    with ends(fail, DataError, OSError, MemoryError):
        packed = write_store(inputs, out, cleanup, overwrite=overwrite, workers=workers)
    for failure in packed.failures:
        say(f"error: {failure}")
    typer.echo(f"{packed.path}: {packed.photos} photos, {packed.size / 1e6:.1f} MB")
    raise typer.Exit(1 if packed.failures else 0)


@app.command()
def train(
    recipe: Path = Argument(metavar="RECIPE", help="A file, also of RealSR or OTSR; or tiny, small, df2k, …"),
    overrides: list[str] | None = Option(None, "--set", metavar="KEY=VALUE", help="Replace a value. Repeatable."),
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
        if not camera.is_file():
            make = "make one with: otsr estimate PHOTOS -o camera.safetensors"
            refuse(f"--camera {camera}: no such file; {make}{suggestion(camera)}")
        changes.append(f"data.degradation={json.dumps(str(camera), ensure_ascii=False)}")
    try:
        config = load_config(recipe, changes)
    except ConfigError as error:
        refuse(*error.problems)
    for note in config.notes:
        say(f"note: {note}")
    if show:
        typer.echo(dump(config), nl=False)
        return
    folder = out or Path("runs") / config.name
    require_writable(folder)
    times = f"from step {min(config.every.log, config.steps)} on each line says how much time is left"
    say(f"{config.name}: {config.steps:,} steps, into {folder}; {times}")
    if config.data.degradation == "phone" and not resume:
        say("It is for the course's phone, whose blur is estimated first, in up to a minute. For your own:")
        say("otsr estimate PHOTOS -o camera.safetensors, then this command with --camera camera.safetensors")
    from otsr.training import train as run

    try:
        result = run(config, folder, resume)
    except ConfigError as error:
        refuse(*error.problems)
    except KeyboardInterrupt:
        there = (folder / "last.state").exists()
        go_on = "; the same command with --resume goes on from the last checkpoint"
        say(f"interrupted{go_on if there else ' before the first checkpoint'}")
        raise typer.Exit(130) from None
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        fail(error)
    if IS_FIRST:
        scores = "".join(f", {name} {value:.4g}" for name, value in result.scores.items())
        typer.echo(f"{result.folder}: {result.step} steps{scores}")
