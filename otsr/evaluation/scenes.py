"""What is evaluated: LR pictures, with their truth where there is one. Each is made when it is asked for.

All pictures are rounded to 8 bit, as a file would hold them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from otsr.datasets import phone_crops
from otsr.degradation import Degradation
from otsr.degradation.camera import estimate_camera
from otsr.evaluation.report import EvaluationError
from otsr.images import find_images, read


class View(NamedTuple):
    """LR (3, h, w) and its truth HR (3, s·h, s·w) in [0, 1]; None if unknown."""

    lr: Tensor | None
    hr: Tensor | None = None


@dataclass(frozen=True)
class Scene:
    """One picture to evaluate on.

    Attributes:
        name: unique among the scenes.
        draw: makes the view number 0, 1, …; the same number gives the same view. A fixed scene ignores it.
        random: whether views of different numbers differ.
        made: files that other programs made of it, by row.
    """

    name: str
    draw: Callable[[int], View]
    random: bool = False
    made: Mapping[str, Path] = field(default_factory=dict)


def degraded(
    photos: Sequence[Path], degradation: Degradation, seed: int = 0, folder: Path | None = None
) -> list[Scene]:
    """Clean photos, degraded anew in each draw: pair number d is what `otsr degrade --seed (seed + d)` writes.

    Args:
        photos: files; those below `folder` are named by their path in it, the others by their file name.
        degradation: its clean-up is applied to the truth too.
    """

    def scene(path: Path) -> Scene:
        name = _name(path, folder)

        def draw(number: int) -> View:
            own_seed = zlib.crc32(f"{seed + number}/{name}.png".encode())
            hr, lr = degradation.pair(read(path), own_seed)
            return View(rounded(lr), rounded(hr))

        return Scene(name, draw, random=degradation.noise is not None or _many_kernels(degradation))

    return [scene(path) for path in photos]


def paired(hr_folder: Path, lr_folder: Path, scale: int) -> list[Scene]:
    """HR and LR pictures of the same name (or 0801.png and 0801x4.png, as in DIV2K) in two folders.

    A picture without its partner becomes a scene too: drawing it raises, so that it is named among the failures.
    HR pictures may be up to scale − 1 pixels too large at the right and bottom; these are cut off.

    Raises:
        EvaluationError: two pictures of one folder have the same name.
    """
    large = by_name(hr_folder)
    small = by_name(lr_folder, known=large, scale=scale)
    scenes = []
    for name in sorted({*large, *small}):
        if name not in small:
            scenes.append(
                failing(name, f"{large[name]}: no LR partner called {name}.* in {lr_folder}; add it")
            )
        elif name not in large:
            scenes.append(
                failing(name, f"{small[name]}: no HR partner called {name}.* in {hr_folder}; add it")
            )
        else:
            scenes.append(Scene(name, _fixed_pair(large[name], small[name], scale)))
    return scenes


def with_made(scenes: Sequence[Scene], folders: Mapping[str, Path], scale: int) -> list[Scene]:
    """The scenes with the pictures of the same name that other programs made of them.

    A picture without its partner becomes a scene that fails, as in `paired`. The truth may be up to scale − 1 pixels
    too large at the right and bottom; these are cut off.

    Args:
        folders: of the pictures, by the name of their row.
    """
    known = {scene.name: scene for scene in scenes}
    found = {row: by_name(folder, known, scale) for row, folder in folders.items()}
    complete = []
    for name, scene in known.items():
        missing = next((folders[row] for row in found if name not in found[row]), None)
        if missing is None:
            made = {row: paths[name] for row, paths in found.items()}
            complete.append(replace(scene, draw=_fitting(scene, made, scale), made=made))
        else:
            complete.append(failing(name, f"{missing}: no picture called {name}.*; add it"))
    for row, paths in found.items():
        for name, path in paths.items():
            if name not in known:
                complete.append(
                    failing(f"{row}/{name}", f"{path}: nothing to compare it with is called {name}.*")
                )
    return complete


def without_truth(pictures: Iterable[Path], folder: Path | None = None) -> list[Scene]:
    """LR pictures as they are: real photos, named by their path in `folder`, or else by their file name."""

    def draw(path: Path) -> Callable[[int], View]:
        return lambda _: View(rounded(read(path)))

    return [Scene(_name(path, folder), draw(path)) for path in pictures]


def failing(name: str, reason: str) -> Scene:
    """A picture that cannot be had: drawing it raises the reason, which is then named among the failures."""

    def draw(_: int) -> View:
        raise ValueError(reason)

    return Scene(name, draw)


def middle(scene: Scene, side: int, scale: int) -> Scene:
    """The scene's middle window, `side` LR pixels a side (or all where it has fewer), and the same place in HR."""

    def draw(number: int) -> View:
        lr, hr = scene.draw(number)
        assert lr is not None  # there are no windows of pictures that other programs made
        height, width = lr.shape[-2:]
        top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)

        def window(image: Tensor, s: int) -> Tensor:
            return image[..., s * top : s * (top + side), s * left : s * (left + side)].contiguous()

        return View(window(lr, 1), None if hr is None else window(hr, scale))

    return Scene(scene.name, draw, scene.random)


def phone_degradation(scale: int = 4, cleanup: float = 1.0) -> Degradation:
    """How the course's phone degrades: kernels and noise estimated from its crops, as `otsr estimate` does."""
    camera = estimate_camera(phone_crops(), scale, cleanup=cleanup, note=lambda _: None)
    return camera.degradation


def rounded(image: Tensor) -> Tensor:
    """The image as an 8-bit file holds it."""
    return image.clamp(0, 1).mul(255).round().div(255)


def _many_kernels(degradation: Degradation) -> bool:
    return degradation.kernels is not None and len(degradation.kernels) > 1


def _name(path: Path, folder: Path | None) -> str:
    below = path.relative_to(folder) if folder else Path(path.name)
    return below.with_suffix("").as_posix()


def by_name(folder: Path, known: Container[str] = (), scale: int = 4) -> dict[str, Path]:
    """The pictures below a folder by their path in it, without suffix; 0801x4.png as 0801 where only that is known.

    Raises:
        EvaluationError: two have the same name.
    """
    found: dict[str, Path] = {}
    for path in find_images([folder], lambda *_: None):
        name = _name(path, folder)
        plain = name.removesuffix(f"x{scale}")
        if name not in known and plain in known:
            name = plain
        if name in found:
            raise EvaluationError(f"{found[name]} and {path} have the same name; keep one, or rename one")
        found[name] = path
    return found


def _fitting(scene: Scene, made: Mapping[str, Path], scale: int) -> Callable[[int], View]:
    """The scene's view, its truth cut to the size of what was made of it."""

    def draw(number: int) -> View:
        lr, hr = scene.draw(number)
        sizes = {path: read(path).shape for path in made.values()}
        (first, (_, height, width)), *others = sizes.items()
        for path, (_, high, wide) in others:
            if (high, wide) != (height, width):
                raise ValueError(
                    f"{path} has {wide}×{high} pixels, {first} {width}×{height}; make them of one size"
                )
        if hr is not None:
            if not all(
                0 <= have - need < scale for have, need in zip(hr.shape[1:], (height, width), strict=True)
            ):
                raise ValueError(
                    f"{first} has {width}×{height} pixels, its truth {hr.shape[2]}×{hr.shape[1]}; make them of one size"
                )
            hr = hr[..., :height, :width]
        return View(lr, hr)

    return draw


def _fixed_pair(large: Path, small: Path, scale: int) -> Callable[[int], View]:
    def draw(_: int) -> View:
        hr, lr = read(large), read(small)
        height, width = (scale * n for n in lr.shape[-2:])
        spare = (hr.shape[-2] - height, hr.shape[-1] - width)
        if not all(0 <= n < scale for n in spare):
            raise ValueError(
                f"{large} has {hr.shape[-1]}×{hr.shape[-2]} pixels, {small} {lr.shape[-1]}×{lr.shape[-2]}; "
                f"at ×{scale} the HR picture must have {width}×{height}: check the scale, or make the pair again"
            )
        return View(rounded(lr), rounded(hr[..., :height, :width]))

    return draw
