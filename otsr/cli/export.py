"""`otsr export`: weights in, an ONNX file out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from otsr.cli.root import Overwrite, app, fail, refuse, require_writable


@app.command()
def export(
    weights: Annotated[
        str,
        typer.Argument(metavar="WEIGHTS", help="Name (see `otsr info`) or path.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write (.onnx).", show_default=False)],
    overwrite: Overwrite = False,
) -> None:
    """Write a network as an ONNX file.

    Such a file runs without Python: on phones, in browsers, in C++.

    \b
    Example:
      otsr export realsr-df2k -o realsr.onnx
    """
    if out.suffix.lower() != ".onnx":
        refuse(f"{out}: name the file with the suffix .onnx, such as {out.stem}.onnx")
    if out.exists() and not overwrite:
        refuse(f"{out} is there already; name another file, or give --overwrite")
    require_writable(out)
    from otsr.export import export_onnx
    from otsr.weights import WeightsError, load

    try:
        network = load(weights)
    except WeightsError as error:
        refuse(error)
    try:
        export_onnx(network, out)
    except (OSError, ValueError) as error:
        fail(error)
    size = f"{out.stat().st_size / 1e6:.1f} MB"
    typer.echo(f"{out}: {size}, takes lr (batch, 3, height, width), gives sr ×{network.scale}", err=True)
