"""What is evaluated: LR pictures, with their truth where there is one. Each is made when it is asked for.

All pictures are rounded to 8 bit, as a file would hold them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from otsr.datasets import phone_crops
from otsr.degradation import Degradation
from otsr.degradation.camera import estimate_camera
from otsr.images import find_images, read


class View(NamedTuple):
    """What there is of a scene: LR (3, h, w) and its truth HR (3, s·h, s·w) in [0, 1]; None where nobody knows it."""

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
        photos: files; those below `folder` are called by their path in it, the others by their file name.
        degradation: its clean-up is applied to the truth too.
    """

    def scene(path: Path) -> Scene:
        below = path.relative_to(folder) if folder else Path(path.name)
        name = below.with_suffix("").as_posix()

        def draw(number: int) -> View:
            own_seed = zlib.crc32(f"{seed + number}/{name}.png".encode())
            hr, lr = degradation.pair(read(path), own_seed)
            return View(rounded(lr), rounded(hr))

        return Scene(name, draw, random=degradation.noise is not None or _many_kernels(degradation))

    return [scene(path) for path in photos]


def paired(hr_folder: Path, lr_folder: Path, scale: int) -> list[Scene]:
    """HR and LR pictures of the same name (or 0801.png and 0801x4.png, as in DIV2K) in two folders.

    A picture without its partner becomes a scene too: drawing it raises, so that it is named among the failures.
    HR pictures may be up to scale − 1 pixels too large at the right and bottom; that is cut.

    Raises:
        ValueError: two pictures of one folder have the same name.
    """
    large, small = _by_name(hr_folder), _by_name(lr_folder)
    for name in [name for name in small if name not in large]:
        plain = name.removesuffix(f"x{scale}")
        if plain in large and plain not in small:
            small[plain] = small.pop(name)
    scenes = []
    for name in sorted({*large, *small}):
        if name not in large or name not in small:
            there, folder, what = (
                (small[name], hr_folder, "HR") if name in small else (large[name], lr_folder, "LR")
            )
            scenes.append(failing(str(there), f"no {what} partner called {name}.* in {folder}; add it"))
        else:
            scenes.append(Scene(name, _fixed_pair(large[name], small[name], scale)))
    return scenes


def without_truth(pictures: Sequence[Path]) -> list[Scene]:
    """LR pictures as they are: real photos."""

    def draw(path: Path) -> Callable[[int], View]:
        return lambda _: View(rounded(read(path)))

    return [Scene(path.name, draw(path)) for path in pictures]


def failing(name: str, reason: str) -> Scene:
    """A picture that cannot be had: drawing it raises ValueError, so that it is named among the failures."""

    def draw(_: int) -> View:
        raise ValueError(f"{name}: {reason}")

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


def _by_name(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in find_images([folder]):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise ValueError(f"{found[name]} and {path} have the same name; keep one, or rename one")
        found[name] = path
    return found


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
