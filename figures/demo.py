"""Draw the demo: the whole method on one phone's photos, from estimated degradation to a ×4 picture.

    python scripts/course.py demo        (or: python figures/demo.py [OUT.png], by default figures/demo.png)

1. Estimate the camera from the phone's crops, as `otsr estimate` does. 2. Degrade a clean photo with them. 3. Upscale a
real crop ×4. 4. Draw. What was measured is printed. Two CPU cores need less than three minutes.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from otsr import Upscaler
from otsr.datasets import phone_crops, photos, sources
from otsr.degradation import NoisePool, kernels
from otsr.degradation.camera import Focus, estimate_camera
from otsr.images import atomic_path, read, resize, to_array
from otsr.metrics import lr_consistency, niqe

SCALE = 4
REAL = "iso1792_texture.jpg"
WINDOW = (slice(232, 352), slice(560, 720))  # rows and columns of the real crop that is upscaled
CLEAN = "moose.webp"


def iso_of(name: str) -> str:
    return next(row["iso"] for row in sources("phone") if row["file"] == name)


def upscale(real: Tensor, name: str) -> Tensor:
    """A picture by the weights of that name; the seconds that it took are printed."""
    start = time.perf_counter()
    restored = read(Upscaler.from_pretrained(name).upscale(real))
    (_, height, width), (_, rows, columns) = real.shape, restored.shape
    seconds = time.perf_counter() - start
    print(f"  {name:14} upscaled {width}×{height} to {columns}×{rows} in {seconds:.1f} s", flush=True)
    return restored


def show(ax: Axes, image: Tensor, title: str) -> None:
    ax.imshow(to_array(image), interpolation="nearest")
    ax.set_title(title, fontsize=12)
    ax.axis("off")


def draw_pictures(figure: Figure, real: Tensor, pictures: dict[str, Tensor]) -> None:
    axes = figure.subplots(1, 1 + len(pictures))
    rows, columns = WINDOW
    show(axes[0], real, f"a real phone photo, ISO {iso_of(REAL)}")
    size = (columns.stop - columns.start, rows.stop - rows.start)
    axes[0].add_patch(Rectangle((columns.start, rows.start), *size, fill=False, ec="#D55E00", lw=2))
    for ax, (name, picture) in zip(axes[1:], pictures.items(), strict=True):
        show(ax, picture, f"the box, {name} ×{SCALE}")


def draw_kernels(figure: Figure, found: dict[str, Focus]) -> None:
    """The kernels of the crops called `mixed`, one an ISO, each scaled to its own maximum."""
    of_iso = {int(iso_of(name)): focus.kernel for name, focus in found.items() if "mixed" in name}
    figure.suptitle("estimated blur kernels (crops called mixed)", fontsize=12)
    axes = figure.subplots(1, len(of_iso))
    for ax, (iso, kernel) in zip(axes, sorted(of_iso.items()), strict=True):
        half = kernel.shape[-1] / 2
        ax.set_facecolor(plt.get_cmap("viridis")(0.0))
        ax.imshow(kernel.numpy(), cmap="viridis", extent=(-half, half, half, -half))
        ax.set(xlim=(-12, 12), ylim=(12, -12), xticks=[-8, 0, 8], yticks=[-8, 0, 8])
        ax.tick_params(labelleft=ax is axes[0])
        ax.set_title(f"ISO {iso}", fontsize=11)
    axes[0].set_xlabel("HR pixels", fontsize=10)


def draw_noise(figure: Figure, pool: NoisePool) -> None:
    """One patch an ISO, mean removed, contrast ×8."""
    figure.suptitle("collected noise, contrast ×8", fontsize=12)
    tags = tags_of(pool)
    for ax, tag in zip(figure.subplots(1, len(tags)), tags, strict=True):
        noise = pool.subset(tag).sample(1, pool.size, torch.Generator().manual_seed(0))[0]
        show(ax, 0.5 + 8 * noise, tag)


def draw_twins(figure: Figure, generated: Tensor, real: Tensor) -> None:
    figure.suptitle("two LR pictures", fontsize=12)
    axes = figure.subplots(1, 2)
    show(axes[0], generated, "made from a clean photo")
    show(axes[1], real, "taken by the phone")


def tags_of(pool: NoisePool) -> list[str]:
    return sorted(set(pool.tags), key=lambda tag: int(tag.split()[-1]))


def main(out: Path) -> None:
    start = time.perf_counter()
    camera = estimate_camera(phone_crops(), SCALE)
    pool = camera.degradation.noise
    assert pool is not None
    pool = NoisePool(pool.patches, pool.sources, [f"ISO {iso_of(name)}" for name in pool.sources])
    for name, focus in camera.photos.items():
        widths = torch.linalg.eigvalsh(kernels.moments(focus.kernel)[1]).sqrt().flip(0)
        print(f"  {name:22} blur σ = {widths[0]:.2f} × {widths[1]:.2f} HR pixels")
    for tag in tags_of(pool):
        patches = pool.subset(tag)
        noise = patches.sample(64, patches.size, torch.Generator().manual_seed(0))
        print(f"  {tag:9} {len(patches):5} noise patches, σ = {255 * float(noise.std()):.2f} grey levels")

    clean = read(next(path for path in photos("val") if path.name == CLEAN))
    _, generated = camera.degradation.pair(clean, seed=0)

    real = read(phone_crops("texture", 1792)[0])
    window = real[:, WINDOW[0], WINDOW[1]]
    pictures = {
        "bicubic": resize(window, SCALE).clamp(0, 1),
        "RealSR (DF2K)": upscale(window, "realsr-df2k"),
        "otsr (ours)": upscale(window, "otsr"),
    }
    for name, picture in pictures.items():
        consistency = float(lr_consistency(picture, window, SCALE))
        natural = float(niqe(picture))
        print(f"  {name:18} NIQE {natural:.2f} (lower: more natural), agrees with its LR to {consistency:.1f} dB")
    print("  NIQE is fooled by RealSR's grain: look at the picture before you believe a number.")

    figure = plt.figure(figsize=(16, 5.6), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.7, 1])
    draw_pictures(top, real, pictures)
    left, middle, right = bottom.subfigures(1, 3, width_ratios=[1.25, 1.25, 1])
    draw_kernels(left, camera.photos)
    draw_noise(middle, pool)
    draw_twins(right, generated[:, 30:150, 60:220], window)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=100)
    print(f"\nWrote {out} after {time.perf_counter() - start:.0f} s.")
    otsr = Path(sys.executable).with_name("otsr")
    print("Next: python scripts/course.py lab opens the course (or make lab);")
    print(f"{otsr} upscale YOUR.jpg -o big.png enlarges a photo of yours.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("demo.png"))
