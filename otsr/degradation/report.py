"""What `otsr estimate` shows of a camera: a JSON file with the numbers, a picture with kernels, noise and spectra."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from otsr.degradation import kernels
from otsr.degradation.camera import Camera, Focus
from otsr.degradation.noise import NoisePool
from otsr.degradation.spectrum import radial_spectrum
from otsr.images import atomic_path, read

_LR, _KERNEL = "#666666", "#0072B2"
_SHOWN_KERNELS, _SHOWN_PATCHES = 4, 16
_CONTRAST = 4.0  # of the noise patches shown


def describe(camera: Camera) -> dict[str, Any]:
    """The report in numbers, ready for JSON: blur of each photo, noise pool, failures."""
    made = camera.degradation
    photos = camera.photos.items()
    return {
        "scale": made.scale,
        "jpeg": made.jpeg,
        "cleanup": made.cleanup,
        "kernels": {name: _describe_kernel(focus.kernel) | _describe_tiles(focus) for name, focus in photos},
        "noise": _describe_noise(made.noise),
        "warnings": camera.warnings,
        "failures": camera.failures,
    }


def _describe_kernel(kernel: Tensor) -> dict[str, float | int]:
    """Size and shape of a kernel: standard deviations in HR pixels along its axes, angle in degrees, negative part."""
    variances, axes = torch.linalg.eigh(kernels.moments(kernel.clamp(min=0))[1].double())
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


def _describe_noise(pool: NoisePool | None) -> dict[str, Any] | None:
    if pool is None:
        return None
    slope, intercept = pool.signal_dependence()
    correlation = pool.correlation(1)
    return {
        "patches": len(pool),
        "patch_size": pool.size,
        "patches_of": dict(Counter(pool.sources)),
        "variance_at_mid_grey": round(slope * 128 + intercept, 3),
        "variance_slope": round(slope, 5),
        "variance_intercept": round(intercept, 3),
        "correlation_with_right_neighbour": round(float(correlation[0, 1]), 3),
        "correlation_with_lower_neighbour": round(float(correlation[1, 0]), 3),
    }


def write_report(camera: Camera, json_path: Path, picture_path: Path) -> None:
    """Write `describe` as JSON and `draw` as PNG, each atomically."""
    numbers = json.dumps(describe(camera), indent=2, ensure_ascii=False)
    with atomic_path(json_path) as temporary:
        temporary.write_text(numbers + "\n", encoding="utf-8")
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
    for path in camera.readable:
        frequency, power = radial_spectrum(read(path), bins=48)
        colour = _KERNEL if path.name in camera.photos else _LR
        right.plot(frequency, 10 * np.log10(255**2 * power + 1e-6), color=colour, alpha=0.6)
    title = "Spectra of the photos (blue: gave a kernel)"
    right.set(title=title, xlabel="cycles per pixel", ylabel="power, dB")
    return figure


def _draw_kernels(figure: Any, found: dict[str, Tensor], scale: int) -> None:
    figure.suptitle(f"Blur kernels, HR pixels at ×{scale} ({len(found)} found)")
    names = list(found)
    chosen = np.linspace(0, len(names) - 1, min(len(names), _SHOWN_KERNELS)).round().astype(int)
    shown = {names[i]: found[names[i]] for i in chosen}
    widest = max((kernel.shape[-1] / 2 for kernel in shown.values()), default=1.0)
    if len(found) > 1:
        shown["Wasserstein barycentre"] = kernels.barycentre(list(found.values()))
    empty = matplotlib.colormaps["cividis"](0.0)
    plots = np.atleast_1d(figure.subplots(1, max(1, len(shown))))
    for axes, (name, kernel) in zip(plots, shown.items(), strict=False):  # without a kernel one stays empty
        size = kernel.shape[-1] / 2
        axes.imshow(kernel.numpy(), cmap="cividis", extent=(-size, size, size, -size))
        axes.set(xlim=(-widest, widest), ylim=(widest, -widest), facecolor=empty)
        numbers = _describe_kernel(kernel)
        axes.set_title(f"{name}\nσ {numbers['sigma_major']:.2f}, {numbers['sigma_minor']:.2f}", fontsize=8)


def _draw_noise(axes: Any, pool: NoisePool | None) -> None:
    axes.axis("off")
    if pool is None:
        axes.set_title("No noise found")
        return
    shown = min(len(pool), _SHOWN_PATCHES)
    chosen = torch.linspace(0, len(pool) - 1, shown).round().long()
    patches = pool.patches[chosen].float()
    patches = (patches - patches.mean((-2, -1), keepdim=True)) * _CONTRAST + 128
    patches = patches.clamp(0, 255).to(torch.uint8)
    side = math.ceil(math.sqrt(shown))
    framed = torch.nn.functional.pad(patches, (1, 1, 1, 1), value=255)
    framed = torch.cat([framed, framed.new_full((side * side - shown, *framed.shape[1:]), 255)])
    rows = framed.unflatten(0, (side, side)).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    axes.imshow(rows.numpy(), interpolation="nearest")
    axes.set_title(f"Noise, contrast × {_CONTRAST:g}: {shown} of {len(pool)} patches of {pool.size} pixels")
