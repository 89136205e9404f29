"""`otsr download`, `otsr export` and `otsr info`: what can be had, what can be handed on, and what is here."""

import os
from pathlib import Path

import typer
from typer import Argument, Option

from otsr.cli.options import DeviceName, Overwrite, Precision, Weights
from otsr.cli.root import app, ends, fail, refuse, require_file, say
from otsr.cli.upscale import build_upscaler


@app.command()
def download(
    names: list[str] | None = Argument(None, metavar="NAME...", help="Weights and data sets."),
    show: bool = Option(False, "--list", help="Show what can be downloaded, and what is here."),
    out: Path | None = Option(None, "-o", "--out", help="Folder.  [default: $OTSR_DATASETS, else datasets]"),
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
    from otsr.download import DownloadError, sets
    from otsr.images import did_you_mean

    root = out or Path(os.environ.get("OTSR_DATASETS", "datasets"))
    if show:
        typer.echo("Weights")
        for entry in weights.catalogue():
            _list(entry.name, entry.size, entry.licence, entry.present, entry.where)
        typer.echo(f"Data sets, in {root}")
        for one in sets.DATA_SETS:
            way = "web" if one.archives[0].url else "registration"
            _list(one.name, one.size, one.licence, one.present(root), way)
            typer.echo(f"  {'':<18} {one.what}")
        return
    if not names:
        refuse("no name given; see otsr download --list")
    data_sets = [one.name for one in sets.DATA_SETS]
    known = [*data_sets, *(entry.name for entry in weights.catalogue())]
    for name in names:
        if name not in known:
            refuse(f"{name!r} is not known; see otsr download --list{did_you_mean(name, known)}")
    failed = 0
    for name in names:
        try:
            typer.echo(sets.get(name, root, say) if name in data_sets else weights.locate(name))
        except (DownloadError, weights.WeightsError) as error:
            say(f"error: {error}")
            failed = 1
    raise typer.Exit(failed)


def _list(name: str, size: float, licence: str, here: bool, way: str) -> None:
    number = f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
    place = "here" if here else f"not here ({way})"
    typer.echo(f"  {name:<18} {number:>8}  {place:<23}  {licence}")


@app.command()
def export(
    weights: str = Argument(metavar="WEIGHTS", help="Name (see `otsr info`) or path."),
    out: Path = Option(..., "-o", "--out", help="File to write (.onnx)."),
    overwrite: Overwrite = False,
) -> None:
    """Write a network as an ONNX file.

    Such a file runs without Python: on phones, in browsers, in C++.

    \b
    Example:
      otsr export realsr-df2k -o realsr.onnx
    """
    require_file(out, ".onnx", overwrite=overwrite)
    from otsr.export import export_onnx
    from otsr.weights import WeightsError, load

    with ends(refuse, WeightsError):
        network = load(weights)
    with ends(fail, OSError, ValueError):
        export_onnx(network, out)
    size = f"{out.stat().st_size / 1e6:.1f} MB"
    say(f"{out}: {size}, takes lr (batch, 3, height, width), gives sr ×{network.scale}")


@app.command()
def info(weights: Weights = None, device: DeviceName = "auto", precision: Precision = "auto") -> None:
    """Show what is installed, and how long a photo will take.

    Versions, the device, the weights that are here, time and memory for a photo of 12 megapixels.

    \b
    Example:
      otsr info
      otsr info --weights realsr-df2k --device cpu
    """
    import platform
    from importlib.metadata import version

    import torch

    from otsr import machine
    from otsr.weights import DEFAULT, catalogue

    upscaler = build_upscaler(weights, device=device, precision=precision)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("otsr", "torch", "numpy", "pot", "pillow"))
    python = f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} CPU cores"
    chosen, dtype = upscaler.device, str(upscaler.dtype).removeprefix("torch.")
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else platform.machine()
    free = machine.available_memory()
    memory = f", {free / 1e9:.1f} GB of memory free" if free is not None else ""
    typer.echo(f"Versions   {libraries}\nSystem     {python}\nDevice     {chosen} ({name}), {dtype}{memory}\nWeights")
    for entry in catalogue():
        place = entry.path if entry.present else f"not here ({entry.where})"
        typer.echo(f"  {entry.name:<18} for {entry.use}\n  {'':<18} {entry.what}")
        typer.echo(f"  {'':<18} {entry.size / 1e6:.1f} MB, {place}")
    seconds, needed = upscaler.predict_seconds(4000, 3000), upscaler.predict_memory(4000, 3000)
    need = f"{machine.duration(seconds)} and {needed / 1e9:.1f} GB of memory (measured on one small tile)"
    typer.echo(f"A photo of 12 megapixels with {weights or DEFAULT}, ×{upscaler.scale}: about {need}")
    typer.echo("Less time: a smaller photo, a smaller network, or a GPU (an NVIDIA H100 takes seconds);")
    typer.echo(f"not --scale 2, as the network always makes ×{upscaler.scale}, which is then shrunk")
