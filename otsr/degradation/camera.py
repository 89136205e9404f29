"""A camera from its photos: one kernel a photo, noise and JPEG quality of all, and a report that shows them.

What `otsr estimate` does. Photos without texture (a sky) give no kernel, photos without smooth parts (a meadow) give
no noise: each is used for what it shows.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from otsr.degradation import doubts, kernels
from otsr.degradation.estimation import estimate_kernel
from otsr.degradation.focus import Focus, photo_kernel
from otsr.degradation.jpeg import quality_of
from otsr.degradation.noise import NoisePool
from otsr.degradation.pipeline import Degradation
from otsr.degradation.smoothness import collect_noise
from otsr.degradation.storage import DegradationError
from otsr.images import ImageError, atomic_path, luma, read

_LR, _KERNEL, _NOISE = "#666666", "#0072B2", "#D55E00"
_SHOWN_KERNELS, _SHOWN_PATCHES = 4, 16
_SMALLEST_PATCH = 16
_OUT_OF_FOCUS = 2.0  # a photo whose sharpest tiles are so many times wider than the median photo's


@dataclass(frozen=True)
class Camera:
    """What photos tell about the camera that took them.

    Attributes:
        degradation: kernels, noise pool and JPEG qualities, ready to degrade clean photos; None of what was not found.
        kernels: (k, k) kernel of each photo that has texture and is in focus somewhere, by file name.
        photos: what the tiles of each of those photos say, by file name; none with KernelGAN.
        spectra: radial log-spectrum of each photo's luma, by file name; see `radial_spectrum`.
        warnings: reasons to doubt; what was not found and what the degradation does instead, with a way out.
        failures: what could not be read, in words.
    """

    degradation: Degradation
    kernels: dict[str, Tensor]
    photos: dict[str, Focus]
    spectra: dict[str, Tensor]
    warnings: list[str]
    failures: list[str]


def estimate_camera(
    photos: Sequence[Path],
    scale: int = 4,
    *,
    method: Literal["spectrum", "kernelgan"] = "spectrum",
    rule: str = "otsr",
    patch: int = 64,
    max_variance: float | None = None,
    jpeg: tuple[int, int] | None = None,
    cleanup: float = 1.0,
    note: Callable[[str], None] = print,
    progress: Callable[[int, int], None] | None = None,
) -> Camera:
    """Estimate a kernel from each photo, and noise and JPEG quality from all.

    A photo's kernel is that of its tiles in focus ("kernelgan": of the whole photo). Photos that are nowhere in focus,
    more than twice as wide as the median, are left out. Where no photo has a smooth patch of the size asked for,
    patches of half the side are tried, down to 16 pixels.

    Args:
        scale: the super-resolution that the degradation is for, 2 or 4.
        method, rule, patch, max_variance: see `estimate_kernel` and `collect_noise`.
        jpeg: (low, high) qualities; None: those that the files were saved with, none if none is a JPEG.
        cleanup: stored as it is; see `Degradation`.
        note: told what a photo could not give.
        progress: called with (photos done, photos in all).

    Raises:
        ImageError: no photo could be read.
        DegradationError: neither a kernel nor noise was found.
    """
    found: dict[str, Focus] = {}
    spectra: dict[str, Tensor] = {}
    readable: list[Path] = []
    failures: list[str] = []
    for number, path in enumerate(photos, 1):
        try:
            picture = read(path)
        except ImageError as error:
            failures.append(str(error))
            continue
        readable.append(path)
        spectra[path.name] = radial_spectrum(picture)
        try:
            if method == "spectrum":
                found[path.name] = photo_kernel(picture, scale)
            else:
                found[path.name] = _without_tiles(estimate_kernel(picture, scale, method))
        except ValueError as error:
            note(f"{path}: no kernel ({error}); used for noise only")
        if progress:
            progress(number, len(photos))
    if not readable:
        raise ImageError("; ".join(["none of the photos could be read", *failures]))
    sharp, blurred = _in_focus(found)
    warnings = [f"{name}: nowhere in focus; its kernel is left out" for name in blurred]
    warnings += [f"{name}: {doubt}" for name, focus in sharp.items() for doubt in focus.doubts]
    warnings += doubts.of_photos({name: focus.sigma for name, focus in sharp.items()})
    if not found:
        warnings.append(
            "no kernel, so the degradation takes bicubic's: none of the photos has texture to measure blur on; "
            "add sharp, detailed ones"
        )
    pool, complaint = _noise(readable, rule, patch, max_variance)
    warnings += [complaint] if complaint else []
    if pool is None and not found:
        raise DegradationError("; ".join(warnings))
    qualities = [quality for path in readable if (quality := quality_of(path))]
    if jpeg is None and qualities:
        jpeg = (min(qualities), max(qualities))
    taps = {name: focus.kernel for name, focus in sharp.items()}
    degradation = Degradation(scale, list(taps.values()) or None, pool, jpeg, cleanup)
    return Camera(degradation, taps, sharp, spectra, warnings, failures)


def _without_tiles(kernel: Tensor) -> Focus:
    return Focus(kernel, float(kernels.moments(kernel)[1].det()) ** 0.25, 0.0, (), ())


def _in_focus(found: dict[str, Focus]) -> tuple[dict[str, Focus], list[str]]:
    """The photos that are in focus somewhere, and the names of those that are not."""
    if not found:
        return {}, []
    limit = _OUT_OF_FOCUS * float(np.median([focus.sigma for focus in found.values()]))
    blurred = [name for name, focus in found.items() if focus.sigma > limit]
    return {name: focus for name, focus in found.items() if name not in blurred}, blurred


def _noise(
    photos: Sequence[Path], rule: str, patch: int, max_variance: float | None
) -> tuple[NoisePool | None, str]:
    """The pool of the largest patches that there are, and what is to be said about it."""
    side, reason = patch, ""
    while True:
        try:
            pool = collect_noise(photos, rule, side, window=min(32, side // 2), max_variance=max_variance)
        except DegradationError as error:
            reason = reason or str(error)
        else:
            smaller = f"no smooth patch of {patch} pixels; {len(pool)} of {side} pixels are used"
            return pool, smaller if side < patch else ""
        if side // 2 < _SMALLEST_PATCH:
            break
        side //= 2
    way_out = "add a photo of a plain wall or sky, or try --max-variance 150 if the camera is noisy, or --rule realsr"
    return (
        None,
        f"no noise, so the degradation adds none: {reason}. Patches down to {side} pixels neither. {way_out}",
    )


def radial_spectrum(image: Tensor, bins: int = 48) -> Tensor:
    """log10 power of the luma of (3, H, W), averaged over rings from 0 to ½ cycle a pixel, in grey levels²; (bins,)."""
    grey = luma(image)[0] * 255
    height, width = grey.shape
    window = torch.hann_window(height)[:, None] * torch.hann_window(width)[None, :]
    power = torch.fft.fft2((grey - grey.mean()) * window).abs().square() / window.square().sum().clamp(
        min=1e-9
    )
    radius = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)[None, :])
    ring = (radius * 2 * bins).long().clamp(max=bins)
    total = torch.zeros(bins + 1).scatter_add_(0, ring.ravel(), power.ravel())
    count = torch.zeros(bins + 1).scatter_add_(0, ring.ravel(), torch.ones_like(power).ravel())
    return (total / count.clamp(min=1))[:bins].clamp(min=1e-6).log10()


def describe(camera: Camera) -> dict[str, Any]:
    """The report in numbers, ready for JSON: blur of each photo, noise pool, failures."""
    described: dict[str, Any] = {
        "scale": camera.degradation.scale,
        "jpeg": camera.degradation.jpeg,
        "cleanup": camera.degradation.cleanup,
        "kernels": {
            name: _describe_kernel(kernel) | _describe_tiles(camera.photos[name])
            for name, kernel in camera.kernels.items()
        },
        "noise": None,
        "warnings": camera.warnings,
        "failures": camera.failures,
    }
    pool = camera.degradation.noise
    if pool is not None:
        dependence = pool.signal_dependence(min(16, pool.size))
        correlation = pool.correlation(1).spatial
        described["noise"] = {
            "patches": len(pool),
            "patch_size": pool.size,
            "patches_of": dict(Counter(pool.sources)),
            "variance_at_mid_grey": round(dependence.slope * 128 + dependence.intercept, 3),
            "variance_slope": round(dependence.slope, 5),
            "variance_intercept": round(dependence.intercept, 3),
            "correlation_with_right_neighbour": round(float(correlation[0, 1]), 3),
            "correlation_with_lower_neighbour": round(float(correlation[1, 0]), 3),
        }
    return described


def _describe_kernel(kernel: Tensor) -> dict[str, float | int]:
    """Size and shape of a kernel: standard deviations in HR pixels along its axes, angle in degrees, negative part."""
    covariance = kernels.moments(kernel.clamp(min=0))[1].double()
    variances, axes = torch.linalg.eigh(covariance)
    sigma = variances.clamp(min=0).sqrt()
    angle = math.degrees(math.atan2(-float(axes[1, 1]), float(axes[0, 1]))) % 180
    return {
        "taps": kernel.shape[-1],
        "sigma_major": round(float(sigma[1]), 3),
        "sigma_minor": round(float(sigma[0]), 3),
        "angle": round(angle, 1),
        "negative": round(float(kernel.clamp(max=0).sum()), 3),
    }


def _describe_tiles(focus: Focus) -> dict[str, Any]:
    """How blur is spread over a photo (quantiles of its tiles' σ in HR pixels), and how sure and doubtful it is."""
    if not focus.tiles:
        return {}
    return {
        "standard_error_of_log_variance": round(focus.deviation, 3),
        "tiles": len(focus.tiles),
        "tiles_sigma_10_50_90": np.quantile(focus.tiles, (0.1, 0.5, 0.9)).round(3).tolist(),
        "doubts": list(focus.doubts),
    }


def write_report(camera: Camera, json_path: Path, picture_path: Path) -> None:
    """Write `describe` as JSON and `draw` as PNG, each atomically."""
    with atomic_path(json_path) as temporary:
        temporary.write_text(
            json.dumps(describe(camera), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    with atomic_path(picture_path) as temporary:
        draw(camera).savefig(temporary, format="png", dpi=110, metadata={"Software": None})


def draw(camera: Camera) -> Figure:
    """The report as a picture: kernels above; noise patches and the photos' spectra below."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subfigures(2, 1, height_ratios=(2, 3), squeeze=True)  # type: ignore[misc]
    _draw_kernels(upper, camera.kernels, camera.degradation.scale)
    left, right = lower.subplots(1, 2)
    _draw_noise(left, camera.degradation.noise)
    grid = np.linspace(0, 0.5, len(next(iter(camera.spectra.values()))))
    for name, spectrum in camera.spectra.items():
        right.plot(
            grid,
            10 * spectrum.numpy(),
            label=name,
            color=_KERNEL if name in camera.kernels else _LR,
            alpha=0.6,
        )
    right.set(
        title="Spectra of the photos (blue: gave a kernel)", xlabel="cycles per pixel", ylabel="power, dB"
    )
    return figure


def _draw_kernels(figure: Any, found: dict[str, Tensor], scale: int) -> None:
    figure.suptitle(f"Blur kernels, HR pixels at ×{scale} ({len(found)} found)")
    names = list(found)
    chosen = np.linspace(0, len(names) - 1, min(len(names), _SHOWN_KERNELS)).round().astype(int)
    shown = {names[i]: found[names[i]] for i in chosen}
    widest = max((kernel.shape[-1] / 2 for kernel in shown.values()), default=1.0)
    if len(found) > 1:
        shown["Wasserstein barycentre"] = kernels.barycentre(list(found.values()))
    for axes, (name, kernel) in zip(
        np.atleast_1d(figure.subplots(1, max(1, len(shown)))), shown.items(), strict=True
    ):
        size = kernel.shape[-1] / 2
        axes.imshow(kernel.numpy(), cmap="cividis", extent=(-size, size, size, -size))
        axes.set(
            xlim=(-widest, widest), ylim=(widest, -widest), facecolor=matplotlib.colormaps["cividis"](0.0)
        )
        numbers = _describe_kernel(kernel)
        axes.set_title(f"{name}\nσ {numbers['sigma_major']:.2f}, {numbers['sigma_minor']:.2f}", fontsize=8)


def _draw_noise(axes: Any, pool: NoisePool | None) -> None:
    axes.axis("off")
    if pool is None:
        axes.set_title("No noise found")
        return
    chosen = torch.linspace(0, len(pool) - 1, _SHOWN_PATCHES).round().long()
    patches = pool.patches[chosen].float()
    contrast = 4.0
    patches = (
        ((patches - patches.mean((-2, -1), keepdim=True)) * contrast + 128).clamp(0, 255).to(torch.uint8)
    )
    side = int(math.sqrt(_SHOWN_PATCHES))
    framed = torch.nn.functional.pad(patches, (1, 1, 1, 1), value=255)
    rows = framed.reshape(side, side, *framed.shape[1:]).permute(0, 3, 1, 4, 2)
    axes.imshow(
        rows.reshape(side * framed.shape[2], side * framed.shape[3], 3).numpy(), interpolation="nearest"
    )
    axes.set_title(f"Noise, contrast × {contrast:g}: 16 of {len(pool)} patches of {pool.size} pixels")
