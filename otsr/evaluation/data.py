"""What `otsr evaluate` is asked to measure on: its words to scenes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pooch

from otsr import datasets
from otsr.degradation import Degradation
from otsr.evaluation.report import EvaluationError
from otsr.evaluation.scenes import (
    Scene,
    View,
    by_name,
    degraded,
    failing,
    paired,
    phone_degradation,
    rounded,
    with_made,
    without_truth,
)
from otsr.images import SUFFIXES, find_images, read
from otsr.weights import WeightsError, file_of, locate


class Data(NamedTuple):
    """What to evaluate on.

    Attributes:
        lr: whether there are LR pictures, which bicubic and networks need.
        described: for the JSON.
    """

    scenes: list[Scene]
    scale: int
    lr: bool
    described: dict[str, Any]


def choose(
    data: str | None = None,
    lr: Path | None = None,
    sr: Sequence[Path] = (),
    *,
    degradation: str | None = None,
    cleanup: float | None = None,
    seed: int = 0,
    scale: int | None = None,
    note: Callable[[str], None] = print,
) -> Data:
    """The scenes that the options of `otsr evaluate` name.

    Args:
        data: folder of HR pictures; photos/test, photos/val or photos/train (of the course); or phone (its crops).
        lr: folder of LR pictures of the same names; without `data` they have no truth.
        sr: folders of pictures that other programs made, of the same names.
        degradation: makes LR of HR: phone (the default), general, bicubic, or a file of `otsr estimate`.
        cleanup: HR pictures are shrunk by this much first; 1 by default.
        seed: of kernels and noise.
        scale: what the networks are for; 4 by default.
        note: told what takes a while.

    Raises:
        EvaluationError: options that contradict each other, a folder or file that is not there or holds no pictures.
    """
    described: dict[str, Any] = {"data": data, "lr": None if lr is None else str(lr)}
    if not (data or lr or sr):
        raise EvaluationError(
            "name --data (a folder of HR pictures, photos/test, or phone), --lr for pictures without truth, or --sr "
            "for pictures that are upscaled already"
        )
    if data == "phone" and (lr or sr):
        raise EvaluationError(
            "--data phone brings its own LR pictures, without truth; leave out --lr and --sr, or write --data ./phone "
            "for a folder"
        )
    if (lr or sr or data == "phone") and (degradation or cleanup):
        raise EvaluationError("--degradation and --cleanup make LR pictures, but these are there already")
    if data == "phone":
        return Data(without_truth(datasets.phone_crops()), scale or 4, True, described)
    if lr or sr:
        if sr:
            described["sr"] = [str(folder) for folder in sr]
        return Data(_given(data, lr, sr, scale or 4), scale or 4, lr is not None, described)
    assert data is not None
    camera = _degradation(degradation or "phone", cleanup, scale, note)
    described |= {"degradation": degradation or "phone", "details": repr(camera), "seed": seed}
    split = data.removeprefix("photos/")
    if data.startswith("photos/") and split in ("train", "val", "test"):
        scenes = degraded(datasets.photos(split), camera, seed)
    else:
        found, broken = _pictures(Path(data))
        scenes = [*degraded(found, camera, seed, Path(data)), *broken]
    return Data(scenes, camera.scale, True, described)


def hashes(weights: Sequence[str]) -> dict[str, str]:
    """sha256 of each weights' file (of an ncnn pair, the network's description)."""
    found = {}
    for name in weights:
        try:
            path = locate(name, download=False)
        except WeightsError:
            path = file_of(Path(name))
        found[name] = pooch.file_hash(str(path))
    return found


def _given(data: str | None, lr: Path | None, sr: Sequence[Path], scale: int) -> list[Scene]:
    """Scenes of HR and LR pictures as far as they are there, with what other programs made of them."""
    folders = [Path(folder) for folder in (data, lr, *sr) if folder]
    broken = [scene for folder in folders for scene in _pictures(folder)[1]]
    if data and lr:
        scenes = paired(Path(data), lr, scale)
    elif lr:
        scenes = without_truth(by_name(lr).values(), lr)
    elif data:
        scenes = [Scene(name, partial(_truth, path)) for name, path in by_name(Path(data)).items()]
    else:
        names = dict.fromkeys(name for folder in sr for name in by_name(folder))
        scenes = [Scene(name, lambda _: View(None)) for name in names]
    if sr:
        scenes = with_made(scenes, {str(folder): folder for folder in sr}, scale)
    return [*scenes, *broken]


def _truth(path: Path, _: int) -> View:
    return View(None, rounded(read(path)))


def _pictures(folder: Path) -> tuple[list[Path], list[Scene]]:
    """The pictures below a folder, and what could not be read there, as scenes that fail."""
    if folder.is_file():
        raise EvaluationError(f"{folder}: a file; name the folder that holds it")
    if not folder.is_dir():
        raise EvaluationError(f"{folder}: no such folder; name one that holds pictures")
    broken: list[Scene] = []
    found = find_images([folder], lambda path, reason: broken.append(failing(str(path), reason)))
    if not found:
        raise EvaluationError(
            f"{folder}: no pictures in this folder (looked for {', '.join(sorted(SUFFIXES))})"
        )
    return found, broken


def _degradation(
    name: str, cleanup: float | None, scale: int | None, note: Callable[[str], None]
) -> Degradation:
    if name == "phone":
        note("estimating how the course's phone degrades")
        return phone_degradation(scale or 4, cleanup or 1.0)
    if name == "general":
        return Degradation.general(scale or 4, cleanup or 1.0)
    if name == "bicubic":
        return Degradation(scale or 4, cleanup=cleanup or 1.0)
    try:
        camera = Degradation.load(name)
    except (OSError, ValueError) as error:
        raise EvaluationError(str(error)) from None
    if scale is not None and camera.scale != scale:
        raise EvaluationError(
            f"{name} degrades by ×{camera.scale}, but the weights are for ×{scale}; estimate it with --scale {scale}"
        )
    if cleanup is not None:
        camera.cleanup = cleanup
    return camera
