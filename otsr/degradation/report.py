"""What `otsr estimate` shows of a camera: a JSON file with the numbers, a picture with kernels, noise and spectra."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
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


def write_report(camera: Camera, json_path: Path, picture_path: Path) -> None:
    """Write `describe` as JSON and `draw` as PNG, each atomically."""
    numbers = json.dumps(describe(camera), indent=2, ensure_ascii=False)
    with atomic_path(json_path) as temporary:
        temporary.write_text(numbers + "\n", encoding="utf-8", errors="backslashreplace")
    with atomic_path(picture_path) as temporary:
        draw(camera).savefig(temporary, format="png", dpi=110, metadata={"Software": None})


def describe(camera: Camera) -> dict[str, Any]:
    """The report in numbers, ready for JSON: blur of each photo, noise pool, failures."""
    made = camera.degradation
    noise = (pool := made.noise) and {
        "patches": len(pool),
        "patch_size": pool.size,
        "patches_of": dict(Counter(pool.sources)),
        "sigma": round(float(_without_mean(pool.patches).std()), 3),  # grey levels
    }
    found = {name: _kernel(focus) for name, focus in camera.photos.items()}
    return {
        "scale": made.scale, "jpeg": made.jpeg, "cleanup": made.cleanup, "kernels": found, "noise": noise,
        "warnings": camera.warnings, "failures": camera.failures,
    }  # fmt: skip


def _kernel(focus: Focus) -> dict[str, Any]:
    """Standard deviations in HR pixels along the axes, angle in degrees, and quantiles of σ over the tiles."""
    variances, axes = torch.linalg.eigh(kernels.moments(focus.kernel.clamp(min=0))[1])
    minor, major = variances.clamp(min=0).sqrt().tolist()
    angle = math.degrees(math.atan2(-float(axes[1, 1]), float(axes[0, 1]))) % 180
    found: dict[str, Any] = {
        "taps": focus.kernel.shape[-1],
        "sigma_major": round(major, 3),
        "sigma_minor": round(minor, 3),
        "angle": round(angle, 1),
        "negative": round(float(focus.kernel.clamp(max=0).sum()), 3),
    }
    if focus.tiles:
        found["standard_error_of_log_variance"] = round(focus.deviation, 3)
        found["tiles"] = len(focus.tiles)
        found["tiles_sigma_10_50_90"] = np.quantile(focus.tiles, (0.1, 0.5, 0.9)).round(3).tolist()
        found["doubts"] = list(focus.doubts)
    return found


def _without_mean(patches: Tensor) -> Tensor:
    return patches.float() - patches.float().mean((-2, -1), keepdim=True)


def draw(camera: Camera) -> Figure:
    """The report as a picture: kernels above; noise patches and the photos' spectra below."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(2, 3))  # type: ignore[misc]
    _draw_kernels(upper, camera.photos, camera.degradation.scale)
    left, right = lower.subplots(1, 2)
    left.axis("off")
    title = "No noise found"
    if pool := camera.degradation.noise:
        shown = min(len(pool), _SHOWN_PATCHES)
        left.imshow(_mosaic(pool, shown), interpolation="nearest")
        title = f"Noise, contrast × {_CONTRAST:g}: {shown} of {len(pool)} patches of {pool.size} pixels"
    left.set_title(title)
    for path, name in camera.names.items():
        frequency, power = radial_spectrum(read(path), bins=48)
        colour = _KERNEL if name in camera.photos else _LR
        right.plot(frequency, 10 * np.log10(255**2 * power + 1e-6), color=colour, alpha=0.6)
    right.set(title="Spectra of the photos (blue: gave a kernel)", xlabel="cycles per pixel", ylabel="power, dB")
    return figure


def _draw_kernels(figure: Any, found: dict[str, Focus], scale: int) -> None:
    figure.suptitle(f"Blur kernels, HR pixels at ×{scale} ({len(found)} found)")
    names = list(found)
    chosen = np.linspace(0, len(names) - 1, min(len(names), _SHOWN_KERNELS)).round().astype(int)
    shown = {names[i]: found[names[i]] for i in chosen}
    widest = max((focus.kernel.shape[-1] / 2 for focus in shown.values()), default=1.0)
    if len(found) > 1:
        middle = kernels.barycentre([focus.kernel for focus in found.values()])
        shown["Wasserstein barycentre"] = Focus(middle, 0)
    plots = np.atleast_1d(figure.subplots(1, max(1, len(shown))))
    empty = matplotlib.colormaps["cividis"](0.0)
    for axes, (name, focus) in zip(plots, shown.items(), strict=False):  # without a kernel one stays empty
        size = len(focus.kernel) / 2
        axes.imshow(focus.kernel.numpy(), cmap="cividis", extent=(-size, size, size, -size))
        axes.set(xlim=(-widest, widest), ylim=(widest, -widest), facecolor=empty)
        numbers = _kernel(focus)
        title = f"{name}\nσ {numbers['sigma_major']:.2f}, {numbers['sigma_minor']:.2f}"
        # The error of σ is half that of the variance.
        error = f" (± {focus.deviation / 2:.0%})" if focus.deviation else ""
        axes.set_title(title + error, fontsize=8, parse_math=False)  # $ in a name begins no formula


def _mosaic(pool: NoisePool, shown: int) -> np.ndarray:
    """So many patches of the pool in a square, framed in white."""
    patches = pool.patches[torch.linspace(0, len(pool) - 1, shown).round().long()]
    patches = (_without_mean(patches) * _CONTRAST + 128).clamp(0, 255).byte()
    side = math.ceil(math.sqrt(shown))
    framed = torch.nn.functional.pad(patches, (1, 1, 1, 1), value=255)
    framed = torch.cat([framed, framed.new_full((side * side - shown, *framed.shape[1:]), 255)])
    return framed.unflatten(0, (side, side)).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1).numpy()
