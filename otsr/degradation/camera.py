"""A camera from its photos: one kernel a photo, noise and JPEG quality of all. What `otsr estimate` does.

A photo's kernel is taken from its sharpest tiles: what lies nearer or farther than the lens was set to, or moved, tells
how the scene was, not the camera. Photos without texture (a sky) give no kernel, photos without smooth parts (a meadow)
no noise: each is used for what it shows.
"""

import io
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from otsr.degradation import doubts, kernels
from otsr.degradation.estimation import Method, check, estimate_blur, estimate_kernel, kernel_of
from otsr.degradation.noise import DegradationError, NoisePool, collect_noise
from otsr.degradation.pipeline import Degradation
from otsr.degradation.spectrum import NoTextureError
from otsr.images import ImageError, label, read

TILE, ROWS = 192, 5  # side in LR pixels; at most so many tiles along either side
SHARPEST = (0.1, 0.4)  # quantiles of the tiles that count: the sharpest may be luck, the rest out of focus
PATCHES = (64, 32, 16)  # sides of noise patches: the largest that there are
_OUT_OF_FOCUS = 2.0  # a photo whose sharpest tiles are so many times wider than the median photo's


@dataclass(frozen=True)
class Focus:
    """What the tiles of a photo show."""

    kernel: Tensor  # (k, k), mean of the tiles in focus
    sigma: float  # `Blur.sigma` of these tiles, their geometric mean
    deviation: float = 0.0  # standard error of log(variance) of one tile, the mean of the tiles in focus
    tiles: Sequence[float] = ()  # `Blur.sigma` of every tile with texture, ascending; none with KernelGAN
    doubts: Sequence[str] = ()  # reasons to doubt the kernel, in words


@dataclass(frozen=True)
class Camera:
    """What photos show of the camera that took them."""

    degradation: Degradation  # ready to degrade clean photos; None of what was not found
    photos: dict[str, Focus]  # those with texture and in focus, by name
    names: dict[Path, str]  # of all photos that could be read
    warnings: list[str]  # reasons to doubt; what was not found, what is done instead, and a way out
    failures: list[str]  # what could not be read, in words


def photo_kernel(lr: Tensor, scale: int) -> Focus:
    """The kernel of the tiles of a photo (3, H, W) that are in focus.

    Tiles of 192 pixels are laid evenly over the photo, 25 at most; those without texture are left out (NoTextureError
    if all are). Of the clearer half, sorted by blur, those from the first tenth to 0.4 give their mean.
    """
    check(lr, scale)
    blurs, reason = [], None
    for top, left in product(*map(_starts, lr.shape[1:])):
        try:
            blurs.append(estimate_blur(lr[:, top : top + TILE, left : left + TILE], scale))
        except NoTextureError as error:
            reason = error
    if reason and not blurs:
        raise reason
    blurs.sort(key=lambda blur: blur.sigma)
    clear = statistics.median_high(blur.unclear for blur in blurs)
    known = [blur for blur in blurs if blur.unclear <= clear]
    first = int(SHARPEST[0] * len(known))
    sharp = known[first : max(first + 1, math.ceil(SHARPEST[1] * len(known)))]
    kernel = kernels.average([kernel_of(blur, scale) for blur in sharp])
    return Focus(
        kernel,
        sigma=statistics.geometric_mean(blur.sigma for blur in sharp),
        deviation=statistics.fmean(blur.deviation[0] for blur in sharp),
        tiles=[blur.sigma for blur in blurs],
        doubts=doubts.of_photo(lr, sharp, kernel, scale) + doubts.of_tiles(blurs),
    )


def _starts(length: int) -> list[int]:
    """First pixels of tiles along a side: as many as cover it, evenly spaced."""
    count = min(ROWS, math.ceil(length / TILE))
    return torch.linspace(0, max(0, length - TILE), count).round().int().tolist()


def estimate_camera(
    photos: Sequence[Path], scale: int = 4, *, method: Method = "spectrum", rule: str = "otsr",
    max_variance: float | None = None, cleanup: float = 1.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Camera:  # fmt: skip
    """Estimate a kernel from each photo, and noise and JPEG quality from all.

    A photo's kernel is that of its tiles in focus ("kernelgan": of the whole photo). Photos that are nowhere in focus,
    more than twice as wide as the median, are left out. Where no photo has a smooth patch of 64 pixels, smaller ones
    are tried. The JPEG qualities are those that the files were saved with; none if none is a JPEG.

    Args:
        method, rule, max_variance: see `estimate_kernel` and `collect_noise`.
        cleanup: stored as it is; see `Degradation`.
        progress: called with (photos done, photos in all).

    Raises:
        ImageError: no photo could be read.
        DegradationError: neither a kernel nor noise was found.
    """
    estimate = photo_kernel if method == "spectrum" else _untiled
    found: dict[str, Focus] = {}
    names: dict[Path, str] = {}
    warnings: list[str] = []
    failures: list[str] = []
    for done, path in enumerate(photos):
        progress(done, len(photos))
        try:
            picture = read(path)
        except ImageError as error:
            failures.append(str(error))
            continue
        name = names.setdefault(path, label(path, names.values()))
        try:
            found[name] = estimate(picture, scale)
        except ValueError as error:
            warnings.append(f"{name}: no kernel ({error}); used for noise only")
    progress(len(photos), len(photos))
    if not names:
        raise ImageError("; ".join(["none of the photos could be read", *failures]))
    sharp, blur_warnings = _in_focus(found)
    pool, noise_warnings = _noise(list(names), rule, max_variance)
    warnings += blur_warnings + noise_warnings
    if pool is None and not found:
        raise DegradationError("; ".join(warnings))
    qualities = [quality for path in names if (quality := quality_of(path))]
    jpeg = (min(qualities), max(qualities)) if qualities else None
    taps = [focus.kernel for focus in sharp.values()]
    return Camera(Degradation(scale, taps or None, pool, jpeg, cleanup), sharp, names, warnings, failures)


def _untiled(picture: Tensor, scale: int) -> Focus:
    """KernelGAN's kernel, of the whole photo."""
    kernel = estimate_kernel(picture, scale, "kernelgan")
    return Focus(kernel, float(kernels.moments(kernel)[1].det()) ** 0.25)


def _in_focus(found: dict[str, Focus]) -> tuple[dict[str, Focus], list[str]]:
    """The photos that are in focus somewhere, and what is to be said about them and the others."""
    if not found:
        reason = "none of the photos has texture to measure blur on, so the degradation takes bicubic's"
        return {}, [f"no kernel: {reason}; add sharp, detailed photos"]
    limit = _OUT_OF_FOCUS * statistics.median(focus.sigma for focus in found.values())
    sharp = {name: focus for name, focus in found.items() if focus.sigma <= limit}
    warnings = [f"{name}: nowhere in focus, so its kernel is left out" for name in found if name not in sharp]
    warnings += [f"{name}: {doubt}" for name, focus in sharp.items() for doubt in focus.doubts]
    return sharp, warnings + doubts.of_photos({name: focus.sigma for name, focus in sharp.items()})


def _noise(photos: list[Path], rule: str, limit: float | None) -> tuple[NoisePool | None, list[str]]:
    """The pool of the largest patches that there are, and what is to be said about it."""
    reasons = []
    for side in PATCHES:
        try:
            pool = collect_noise(photos, rule, side, window=side // 2, max_variance=limit)
        except DegradationError as error:
            reasons.append(error)
            continue
        used = f"{len(pool)} patches of {side} pixels are used instead. A photo of a plain wall or sky would give more"
        return pool, [f"no smooth patch of {PATCHES[0]} pixels; {used}"] if reasons else []
    return None, [
        f"no noise, so the degradation adds none: {reasons[0]}. Patches down to {side} pixels were tried too. Add a "
        "photo of a plain wall or sky, or try --max-variance 150 if the camera is noisy, or --rule realsr"
    ]


def quality_of(path: Path) -> int | None:
    """The quality, 1 to 100, whose standard JPEG tables (libjpeg's) are closest to the file's; None if it is no JPEG.

    Closest in the mean absolute logarithm of the steps, so cameras with tables of their own get the standard quality
    that rounds about as much.
    """
    try:
        with Image.open(path) as image:
            tables = image.quantization
    except (OSError, AttributeError):
        return None
    steps = np.log([tables[key] for key in sorted(tables)[:2]])  # of luma and colours, (2, 64)
    standard = {quality: _standard_steps(quality)[: len(steps)] for quality in range(1, 101)}
    return min(standard, key=lambda quality: np.abs(standard[quality] - steps).mean())


@cache
def _standard_steps(quality: int) -> np.ndarray:
    """log of the steps of luma and colours, (2, 64), as Pillow's libjpeg writes them."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.log([image.quantization[0], image.quantization[1]])
