"""What is evaluated: LR pictures, with their truth where there is one. Each is made when it is asked for.

All pictures are rounded to 8 bits, as a file would hold them.
"""

import zlib
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from otsr.datasets import data_dir, phone_crops, photos
from otsr.degradation import Degradation, DegradationError
from otsr.degradation.camera import estimate_camera
from otsr.images import find_images, name_of, read


class EvaluationError(ValueError):
    """An evaluation that makes no sense or gave nothing."""


class View(NamedTuple):
    """LR (3, h, w) and its truth HR (3, s·h, s·w) in [0, 1]; None if unknown."""

    lr: Tensor | None
    hr: Tensor | None = None


@dataclass(frozen=True)
class Scene:
    """One picture to evaluate on."""

    name: str  # unique among the scenes
    draw: Callable[[int], View]  # view number 0, 1, …; the same number gives the same view
    made: Mapping[str, Path] = field(default_factory=dict)  # what other programs made of it, by row


def degraded(files: Sequence[Path], degradation: Degradation, seed: int = 0, folder: Path | None = None) -> list[Scene]:
    """Clean photos, degraded anew in each draw: pair number d is what `otsr degrade --seed (seed + d)` writes.

    A photo is named by its path in `folder`, or by its file name. The degradation's clean-up shrinks the truth too.
    """

    def draw(path: Path, name: str, number: int) -> View:
        hr, lr = degradation.pair(read(path), zlib.crc32(f"{seed + number}/{name}.png".encode()))
        return View(rounded(lr), rounded(hr))

    names = {path: _name(path, folder or path.parent) for path in files}
    return [Scene(name, partial(draw, path, name)) for path, name in names.items()]


def matched(
    *, hr: Path | None = None, lr: Path | None = None, made: Sequence[Path] = (), scale: int = 4
) -> list[Scene]:
    """Pictures of the same name (0801.png and 0801x4.png too, as in DIV2K) in folders of HR, LR, and what was made.

    Each folder in `made` becomes a row of its name. HR pictures may be up to scale − 1 pixels too large at the right
    and bottom. A picture that one folder lacks becomes a scene that fails, so that it is named among the failures.

    Raises EvaluationError: a folder is missing or holds no pictures, or two of its pictures have the same name.
    """
    found: dict[Path, dict[str, Path]] = {}
    scenes: list[Scene] = []
    for folder in filter(None, (hr, lr, *made)):
        paths, unreadable = _pictures_below(folder)
        scenes += unreadable
        found[folder] = _by_name(paths, folder, next(iter(found.values()), {}), scale)
    for name in sorted(set().union(*found.values())):
        places = {folder: paths[name] for folder, paths in found.items() if name in paths}
        if missing := [folder for folder in found if folder not in places]:
            there = next(iter(places.values()))
            scenes.append(_failing(name, f"{there}: no picture called {name}.* in {missing[0]}; add it"))
            continue
        of = {str(folder): places[folder] for folder in made}
        scenes.append(Scene(name, partial(_view, hr and places[hr], lr and places[lr], of, scale), of))
    return scenes


def choose(
    data: str | None, lr: Path | None, sr: Sequence[Path], *, degradation: str | None, cleanup: float | None,
    seed: int, scale: int | None, note: Callable[[str], None],
) -> tuple[list[Scene], int, dict[str, Any]]:  # fmt: skip
    """The scenes that the options of `otsr evaluate` name (see its help), their scale, and settings for the JSON.

    Args:
        scale: what the networks are for; None takes that of the degradation, or 4.
        note: told what takes a while.

    Raises EvaluationError: options that contradict each other, a folder or file that is not there or holds no pictures.
    """
    settings: dict[str, Any] = {"data": data, "lr": lr and str(lr)}
    settings |= {"sr": [str(folder) for folder in sr]} if sr else {}
    if not (data or lr or sr):
        raise EvaluationError("name --data (HR pictures, photos/test or phone), --lr (no truth) or --sr (SR)")
    if data == "phone":
        if lr or sr:
            own = "--data phone brings its own LR pictures"
            raise EvaluationError(f"{own}; leave out --lr and --sr, or write ./phone for a folder")
        data, lr = None, data_dir() / "phone"
    if data is None or lr or sr:
        if degradation or cleanup:
            raise EvaluationError("--degradation and --cleanup make LR pictures, but these are there already")
        scale = scale or 4
        return matched(hr=Path(data) if data else None, lr=lr, made=sr, scale=scale), scale, settings
    split = data.removeprefix("photos/")
    folder = None if data.startswith("photos/") and split in ("train", "val", "test") else Path(data)
    found, unreadable = _pictures_below(folder) if folder else (photos(split), [])
    degradation = degradation or "phone"
    if degradation == "phone":
        note("estimating how the course's phone degrades")
    try:
        camera = named_degradation(degradation, scale, cleanup)
    except (OSError, ValueError) as error:
        raise EvaluationError(str(error)) from None
    settings |= {"degradation": degradation, "details": repr(camera), "seed": seed}
    return [*degraded(found, camera, seed, folder), *unreadable], camera.scale, settings


def middle(scene: Scene, side: int, scale: int) -> Scene:
    """The scene's middle window, `side` LR pixels a side (or all where it has fewer), and the same place in HR."""

    def window(image: Tensor | None, s: int) -> Tensor | None:
        if image is None:
            return None
        top, left = (s * max(0, (n // s - side) // 2) for n in image.shape[-2:])
        return image[..., top : top + s * side, left : left + s * side].contiguous()

    def draw(number: int) -> View:
        view = scene.draw(number)
        return View(window(view.lr, 1), window(view.hr, scale))

    return Scene(scene.name, draw)


def named_degradation(name: str, scale: int | None = None, cleanup: float | None = None) -> Degradation:
    """A degradation by its name ("bicubic", "phone" or "general"), or from a file of `otsr estimate`.

    `scale` and `cleanup` are those of the file where they are None, or 4 and 1; `cleanup` goes before the file's.

    Raises DegradationError: no such file, damaged, or made for another scale.
    """
    named: dict[str, Callable[..., Degradation]]
    named = {"phone": phone_degradation, "general": Degradation.general, "bicubic": Degradation}
    if name in named:
        return named[name](scale or 4, cleanup=cleanup or 1.0)
    found = Degradation.load(name)
    if scale not in (None, found.scale):
        raise DegradationError(f"{name}: made for ×{found.scale}, not ×{scale}; estimate it with --scale {scale}")
    found.cleanup = cleanup or found.cleanup
    return found


def phone_degradation(scale: int = 4, cleanup: float = 1.0) -> Degradation:
    """How the course's phone degrades: kernels and noise estimated from its crops, as `otsr estimate` does."""
    return estimate_camera(phone_crops(), scale, cleanup=cleanup).degradation


def rounded(image: Tensor) -> Tensor:
    """The image as an 8-bit file holds it."""
    return image.clamp(0, 1).mul(255).round().div(255)


def _pictures_below(folder: Path) -> tuple[list[Path], list[Scene]]:
    """The pictures below a folder, and what cannot be read there, as scenes that fail."""
    if folder.is_file():
        raise EvaluationError(f"{folder}: a file; name the folder that holds it")
    reports: list[tuple[Path, str]] = []
    found = find_images([folder], lambda path, reason: reports.append((path, reason)))
    if not found:
        raise EvaluationError("; ".join(f"{path}: {reason}" for path, reason in reports))
    return found, [_failing(str(path), reason) for path, reason in reports]


def _failing(name: str, reason: str) -> Scene:
    def draw(_: int) -> View:
        raise ValueError(reason)

    return Scene(name, draw)


def _name(path: Path, folder: Path) -> str:
    return name_of(path.relative_to(folder).with_suffix("").as_posix())


def _by_name(paths: Sequence[Path], folder: Path, known: Container[str], scale: int) -> dict[str, Path]:
    """Pictures by their path in the folder, without suffix; 0801x4.png as 0801 where only that is known."""
    found: dict[str, Path] = {}
    for path in paths:
        name = _name(path, folder)
        plain = name.removesuffix(f"x{scale}")
        name = plain if name not in known and plain in known else name
        if name in found:
            raise EvaluationError(f"{found[name]} and {path} have the same name; keep one, or rename one")
        found[name] = path
    return found


def _view(hr: Path | None, lr: Path | None, made: Mapping[str, Path], scale: int, _: int) -> View:
    """The files; HR is cut to the size that fits LR, or else what was made."""
    images = {path: read(path) for path in (lr, *made.values(), hr) if path}
    source, first = next(iter(images.items()))
    height, width = (n * scale if source == lr else n for n in first.shape[1:])
    for path, image in images.items():
        spare = scale if path == hr else 1
        high, wide = image.shape[1:]
        if path != lr and not (0 <= high - height < spare and 0 <= wide - width < spare):
            expected = f"expected {width}×{height} to fit {source}; check the scale, or make them again"
            raise ValueError(f"{path} has {wide}×{high} pixels, {expected}")
    truth = rounded(images[hr][:, :height, :width]) if hr else None
    return View(rounded(images[lr]) if lr else None, truth)
