"""`otsr download`: fetch by name what is not here yet, weights and data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otsr.cli.root import app, refuse

if TYPE_CHECKING:
    from otsr.download.sets import DataSet


@app.command()
def download(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="Names of weights and data sets.", show_default=False),
    ] = None,
    show: Annotated[
        bool, typer.Option("--list", help="Show what can be downloaded, and what is here.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder of data sets.  [default: $OTSR_DATASETS, else datasets]"),
    ] = None,
) -> None:
    """Download weights and data sets by name.

    Files are checked. After an interruption the same command goes on where it stopped.

    \b
    Example:
      otsr download --list
      otsr download otsr-dped
      otsr download div2k flickr2k -o /data
    """
    from otsr import weights
    from otsr.cli.jobs import say
    from otsr.download import sets

    root = out or sets.home()
    if show:
        _list(root)
        return
    if not names:
        refuse("no name given; see otsr download --list")
    data_sets = [one.name for one in sets.catalogue()]
    known = [*data_sets, *(entry.name for entry in weights.catalogue())]
    for name in names:
        if name not in known:
            refuse(f"{name!r} is not known; see otsr download --list")
    failed = 0
    for name in names:
        try:
            typer.echo(sets.get(name, root, say) if name in data_sets else weights.locate(name))
        except (sets.DataSetError, weights.WeightsError) as error:
            say(f"error: {error}")
            failed += 1
    raise typer.Exit(1 if failed else 0)


def _list(root: Path) -> None:
    from otsr import weights
    from otsr.download import sets

    typer.echo("Weights")
    for entry in weights.catalogue():
        place = "here" if entry.present else f"not here ({entry.where})"
        typer.echo(f"  {entry.name:<18} {_size(entry.size):>8}  {place:<23}  {entry.licence}")
    typer.echo(f"Data sets, in {root}")
    for one in sets.catalogue():
        typer.echo(f"  {one.name:<18} {_size(one.size):>8}  {_place(one, root):<23}  {one.licence}")
        typer.echo(f"  {'':<18} {one.what}")


def _place(one: DataSet, root: Path) -> str:
    if one.present(root):
        return "here"
    return "not here (registration)" if one.needs_registration else "not here (web)"


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
