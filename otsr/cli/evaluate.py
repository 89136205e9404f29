"""`otsr evaluate`: how good weights are, in a table with intervals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from otsr.cli.root import DeviceName, app, fail, refuse, require_writable
from otsr.cli.upscale import build_upscaler

if TYPE_CHECKING:
    from otsr.evaluation import Scene, Table
    from otsr.inference import Upscaler


class ManyValues(TyperCommand):
    """A command whose `--weights a b` means `--weights a --weights b`, and `--ot-weight` alike."""

    _OPTIONS = ("--weights", "--ot-weight")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the name of such an option before each of its further values."""
        option, first, repeated = "", False, []
        for arg in args:
            if arg.startswith("-"):
                option, first = (arg, True) if arg in self._OPTIONS else ("", False)
            elif option:
                repeated += [] if first else [option]
                first = False
            repeated.append(arg)
        return super().parse_args(ctx, repeated)


@app.command(cls=ManyValues)
def evaluate(
    data: Annotated[
        str | None,
        typer.Option(
            help="Folder of HR pictures; or photos/test, photos/val (of the course); or phone (its crops, no truth).",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME...", help="Names (see `otsr info`) or paths.", show_default=False),
    ] = None,
    lr: Annotated[
        Path | None,
        typer.Option(help="Folder of LR pictures of the same names; without --data they have no truth."),
    ] = None,
    degradation: Annotated[
        str | None,
        typer.Option(
            help="Makes LR of HR: phone, general, bicubic, or a file of `otsr estimate`.  [default: phone]"
        ),
    ] = None,
    cleanup: Annotated[
        float | None, typer.Option(min=1.0, help="Shrink HR pictures by this much first.  [default: 1]")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Row that the others are compared with.  [default: bicubic]")
    ] = None,
    ot_weight: Annotated[
        list[float] | None,
        typer.Option(metavar="T...", help="0: fidelity, 1: transport; several show the path between them."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of kernels and noise.")] = 0,
    draws: Annotated[int, typer.Option(min=1, help="Of kernels and noise for each picture.")] = 1,
    border: Annotated[
        int | None,
        typer.Option(min=0, help="HR pixels that PSNR and SSIM leave out.  [default: the scale]"),
    ] = None,
    crop: Annotated[
        int | None, typer.Option(min=16, help="Only the middle of each picture, so many LR pixels a side.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all numbers here.")] = None,
    markdown_file: Annotated[Path | None, typer.Option("--markdown", help="Write the tables here.")] = None,
    tile: Annotated[
        int | None, typer.Option(help="LR pixels a side of a tile.  [default: 512, CUDA 2048]")
    ] = None,
    device: DeviceName = "auto",
    precision: Annotated[
        str, typer.Option(help="fp32 (the same numbers on every machine), auto, bf16, fp16.")
    ] = "fp32",
) -> None:
    """Measure weights: PSNR, SSIM, ST-LPIPS, NIQE, patch-SWD and LR consistency, beside bicubic interpolation.

    Each number is a mean over pictures with its 95 % interval; below it the differences, picture by picture, which
    decide. --ot-weight 0 0.5 1 walks from the weights' partner (fidelity) to the weights.

    \b
    Example:
      otsr evaluate --weights realsr-df2k --data photos/test --cleanup 2
      otsr evaluate --weights a.safetensors b.safetensors --against a.safetensors --data hr/ --lr lr/ --json out.json
    """
    for file in (json_file, markdown_file):
        if file is not None and (not file.parent.is_dir() or file.is_dir()):
            refuse(
                f"{file}: {'is a folder' if file.is_dir() else f'the folder {file.parent} does not exist'}"
            )
        if file is not None:
            require_writable(file)
    if weights and len(set(weights)) < len(weights):
        refuse("--weights names the same weights twice")
    options: dict[str, Any] = {"device": device, "precision": precision, "tile": tile}
    networks = _networks(weights or [], ot_weight or [1.0], options)
    scale = next(iter(networks.values())).scale if networks else None
    scenes, scale, described = _scenes(data, lr, degradation, cleanup, seed, scale)
    from otsr import evaluation

    if crop is not None:
        scenes = [evaluation.middle(scene, crop, scale) for scene in scenes]
    against = against or evaluation.BICUBIC
    if against not in (evaluation.BICUBIC, *networks):
        refuse(f"--against {against}: no such row; there are {', '.join((evaluation.BICUBIC, *networks))}")
    settings = {**described, "crop": crop, "weights": _provenance(weights or []), **options}
    table = _evaluate(networks, scenes, scale=scale, border=border, draws=draws, settings=settings)
    text = evaluation.markdown(table, against)
    if ot_weight and len(ot_weight) > 1:
        rows = [[_row(name, t) for t in sorted(ot_weight)] for name in weights or []]
        text += "".join(f"\n\n{evaluation.monotony(table, path)}" for path in rows)
    typer.echo(text)
    _write(json_file, lambda: json.dumps(evaluation.to_json(table, against), indent=1, ensure_ascii=False))
    _write(markdown_file, lambda: text)
    raise typer.Exit(1 if table.failures else 0)


def _row(name: str, t: float) -> str:
    return f"{name}@{t:g}"


def _networks(weights: list[str], steps: list[float], options: dict[str, Any]) -> dict[str, Upscaler]:
    """By row: the weights, or each blend of them with their partner."""
    if len(set(steps)) < len(steps):
        refuse("--ot-weight names the same value twice")
    if steps == [1.0]:
        return {name: build_upscaler(name, **options) for name in weights}
    if not weights:
        refuse("--ot-weight needs --weights")
    return {
        _row(name, t): build_upscaler(name, ot_weight=t, **options) for name in weights for t in sorted(steps)
    }


def _scenes(
    data: str | None,
    lr: Path | None,
    degradation: str | None,
    cleanup: float | None,
    seed: int,
    scale: int | None,
) -> tuple[list[Scene], int, dict[str, Any]]:
    """What to evaluate on, its scale, and its description for the JSON; a wrong choice ends with status 2."""
    from otsr import datasets, evaluation

    described: dict[str, Any] = {"data": data, "lr": None if lr is None else str(lr)}
    if data is None and lr is None:
        refuse(
            "name --data: a folder of HR pictures, photos/test, or phone; or --lr for pictures without truth"
        )
    if lr is not None or data == "phone":
        if degradation is not None or cleanup is not None:
            refuse(
                "--degradation and --cleanup make LR of HR pictures, but the LR pictures are there already"
            )
        return _given(data, lr, scale or 4), scale or 4, described
    assert data is not None
    split = data.removeprefix("photos/")
    course = data.startswith("photos/") and split in ("train", "val", "test")
    photos, broken = (datasets.photos(split), []) if course else _pictures(Path(data))
    camera = _degradation(degradation or "phone", cleanup, scale)
    described |= {"degradation": degradation or "phone", "details": repr(camera), "seed": seed}
    scenes = evaluation.degraded(photos, camera, seed, None if course else Path(data))
    return [*scenes, *broken], camera.scale, described


def _given(data: str | None, lr: Path | None, scale: int) -> list[Scene]:
    """LR pictures that are there, with their truth if `data` names it."""
    from otsr import datasets, evaluation

    if data == "phone":
        if lr is not None:
            refuse(
                "--data phone has its own LR pictures; leave out --lr, or write --data ./phone for a folder"
            )
        return evaluation.without_truth(datasets.phone_crops())
    assert lr is not None
    found, broken = _pictures(lr)
    if data is None:
        return [*evaluation.without_truth(found), *broken]
    _pictures(Path(data))
    try:
        return evaluation.paired(Path(data), lr, scale)
    except ValueError as error:
        refuse(error)


def _pictures(folder: Path) -> tuple[list[Path], list[Scene]]:
    """The pictures below a folder, and what could not be read there, as scenes that fail."""
    from otsr.evaluation import failing
    from otsr.images import SUFFIXES, find_images

    if folder.is_file():
        refuse(f"{folder}: a file; name the folder that holds it")
    if not folder.is_dir():
        refuse(f"{folder}: no such folder; name one that holds pictures")
    broken: list[Scene] = []
    found = find_images([folder], lambda path, reason: broken.append(failing(str(path), reason)))
    if not found:
        refuse(f"{folder}: no pictures in this folder (looked for {', '.join(sorted(SUFFIXES))})")
    return found, broken


def _degradation(name: str, cleanup: float | None, scale: int | None) -> Any:
    from otsr.cli.jobs import say
    from otsr.degradation import Degradation
    from otsr.evaluation import phone_degradation

    if name == "phone":
        say("estimating how the course's phone degrades")
        return phone_degradation(scale or 4, cleanup or 1.0)
    if name == "general":
        return Degradation.general(scale or 4, cleanup or 1.0)
    if name == "bicubic":
        return Degradation(scale or 4, cleanup=cleanup or 1.0)
    try:
        camera = Degradation.load(name)
    except (OSError, ValueError) as error:
        refuse(error)
    if scale is not None and camera.scale != scale:
        refuse(
            f"{name} degrades by ×{camera.scale}, but the weights are for ×{scale}; estimate it with --scale {scale}"
        )
    if cleanup is not None:
        camera.cleanup = cleanup
    return camera


def _evaluate(networks: dict[str, Upscaler], scenes: list[Scene], **options: Any) -> Table:
    import sys

    from tqdm import tqdm

    from otsr.cli.jobs import say
    from otsr.evaluation import EvaluationError, NothingMeasured, evaluate

    with tqdm(desc="evaluating", unit="picture", leave=False, disable=None, file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        try:
            return evaluate(
                networks, scenes, progress=progress, on_error=lambda text: say(f"error: {text}"), **options
            )
        except NothingMeasured as error:
            fail(error)
        except EvaluationError as error:
            refuse(error)


def _provenance(weights: list[str]) -> dict[str, str]:
    """sha256 of each weights' file (of an ncnn pair, the network's description)."""
    import hashlib

    from otsr.weights import WeightsError, locate

    hashes = {}
    for name in weights:
        try:
            path = locate(name, download=False)
        except WeightsError:
            path = Path(name)
        hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashes


def _write(path: Path | None, content: Callable[[], str]) -> None:
    if path is None:
        return
    from otsr.images import atomic_path

    try:
        with atomic_path(path) as temporary:
            temporary.write_text(content() + "\n", encoding="utf-8")
    except OSError as error:
        fail(f"{path}: cannot be written ({error.strerror or error})")
