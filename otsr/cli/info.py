"""`otsr info`: what is here, and what to expect of it."""

from __future__ import annotations

import typer

from otsr.cli.root import DeviceName, Precision, Weights, app, refuse
from otsr.cli.upscale import build_upscaler

_PHOTO = (4000, 3000)  # the photo whose time and memory are predicted


@app.command()
def info(
    weights: Weights = None,
    device: DeviceName = "auto",
    precision: Precision = "auto",
) -> None:
    """Show what is installed, and how long a photo will take.

    Versions, the device, the weights that are here, time and memory for a photo of 12 megapixels.

    \b
    Example:
      otsr info
      otsr info --weights realsr-df2k --device cpu
    """
    import os
    import platform
    from importlib.metadata import version

    import torch

    from otsr import machine
    from otsr.weights import DEFAULT, catalogue

    names = ("otsr", "torch", "numpy", "pot", "pillow")
    typer.echo(f"Versions   {', '.join(f'{name} {version(name)}' for name in names)}")
    typer.echo(
        f"System     Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} CPU cores"
    )
    try:
        chosen = machine.choose_device(device)
        dtype = machine.choose_dtype(precision, chosen)
    except ValueError as error:
        refuse(error)
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else platform.machine()
    free = machine.available_memory()
    memory = f", {free / 1e9:.1f} GB of memory free" if free is not None else ""
    typer.echo(f"Device     {chosen} ({name}), {str(dtype).removeprefix('torch.')}{memory}")
    typer.echo("Weights")
    for entry in catalogue():
        place = str(entry.path) if entry.present else f"not here ({entry.where})"
        typer.echo(f"  {entry.name:<18} for {entry.use}")
        typer.echo(f"  {'':<18} {entry.what}\n  {'':<18} {entry.size / 1e6:.1f} MB, {place}")
    upscaler = build_upscaler(weights, device=device, precision=precision)
    megapixels = _PHOTO[0] * _PHOTO[1] / 1e6
    seconds = upscaler.predict_seconds(*_PHOTO)
    needed = upscaler.predict_memory(*_PHOTO)
    typer.echo(
        f"A photo of {megapixels:.0f} megapixels with {weights or DEFAULT}, ×{upscaler.scale}: about "
        f"{_duration(seconds)} and {needed / 1e9:.1f} GB of memory (measured on one small tile)"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
