"""`otsr download`: fetch by name what is not here yet."""

from __future__ import annotations

from typing import Annotated

import typer

from otsr.cli.root import app, fail, refuse


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
        refuse(f"{'no name given' if name is None else f'{name!r} is not known'}; see otsr download --list")
    try:
        typer.echo(locate(name))
    except WeightsError as error:
        fail(error)
