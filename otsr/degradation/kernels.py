"""Blur kernels: make, move, compose, compare and average them, and blur-and-downsample with them.

>>> ramp = torch.arange(12.0).expand(1, 12, 12)
>>> [round(value, 1) for value in downsample(ramp, gaussian(4, 1.0), scale=2)[0, 3, 1:-1].tolist()]
[2.5, 4.5, 6.5, 8.5]

A kernel is a (k, k) tensor that sums to 1, on the HR grid, read as a point spread function: x runs right, y runs down,
and the origin is the array's geometric centre (k − 1)/2. There is ONE sampling grid, that of bicubic: LR pixel i sits
at HR coordinate s·(i + ½) − ½, the middle of its block of s pixels. A kernel for scale s therefore has a size of the
parity of s (even for ×2 and ×4), else it would shift the picture.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from otsr.images import resize
from otsr.images.resampling import keys

_ENTROPY = 0.36  # of the mean variance; less leaves rings between kernels of unlike widths, more blurs
_LEAST_ENTROPY = 1.25  # px²; the smallest that still reaches the exact optimum of the grid (0.8 does not)


def gaussian(
    size: int, variance_x: float, variance_y: float | None = None, angle: float = 0.0,
    *, dtype: torch.dtype = torch.float32,
) -> Tensor:  # fmt: skip
    """Gaussian kernel k(p) ∝ exp(−½ pᵀ Σ⁻¹ p), Σ = R diag(variance_x, variance_y) Rᵀ, sampled at the taps.

    Args:
        size: k. Below about 3 standard deviations to each side the tails are cut and the variance shrinks.
        variance_x, variance_y: along the first and second axis, in HR pixels²; without the second it is isotropic.
        angle: degrees by which the first axis is turned counter-clockwise, as seen on screen.
    """
    _check_whole("size", size)
    variance_y = variance_x if variance_y is None else variance_y
    for name, value in {"variance_x": variance_x, "variance_y": variance_y}.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}, expected a positive number of pixels²")
    x, y = _grid(size).unbind(-1)
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    first, second = cosine * x - sine * y, sine * x + cosine * y  # y runs down
    exponent = -0.5 * (first**2 / variance_x + second**2 / variance_y)
    kernel = (exponent - exponent.max()).exp()
    return without_dust(kernel / kernel.sum()).to(dtype)


def without_dust(kernel: Tensor) -> Tensor:
    """The kernel with 0 for taps below 1e-20: no picture shows them, and a CPU is many times slower below 1e-38."""
    return kernel.masked_fill(kernel.abs() < 1e-20, 0)


def motion(size: int, length: float, angle: float = 0.0, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Straight uniform motion: a centred segment of `length` HR pixels, spread bilinearly on the taps.

    Its variance along the motion is length²/12, plus the footprint's (below ¼ pixel² an axis). Angle 0 is horizontal.
    """
    _check_whole("size", size)
    if not (math.isfinite(length) and length >= 0):
        raise ValueError(f"length is {length}, expected a number of pixels, not negative")
    direction = np.array([math.cos(math.radians(angle)), -math.sin(math.radians(angle))])
    if length * np.abs(direction).max() > size - 1 + 1e-9:
        raise ValueError(f"a motion of length {length} at {angle}° does not fit size {size}; enlarge size")
    steps = max(1, math.ceil(64 * length))
    along = ((np.arange(steps) + 0.5) / steps - 0.5) * length
    place = along[:, None] * direction + (size - 1) / 2
    # Bilinear shares of each point of the path: (steps, size) along either axis.
    columns, rows = np.clip(1 - np.abs(place[..., None] - np.arange(size)), 0, None).swapaxes(0, 1)
    return torch.from_numpy(np.einsum("ny,nx->yx", rows, columns) / steps).to(dtype)


def bicubic(scale: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """MATLAB's antialiased bicubic as 4·scale taps a side (one less for odd scales), some of them negative.

    They are what `images.resize` answers to single bright pixels, so `downsample` with them is `resize` by 1/scale.
    """
    _check_whole("scale", scale)
    size = 4 * scale - scale % 2
    line = torch.eye(9 * scale, dtype=torch.float64)[:, None, None, :]
    taps = resize(line, 1 / scale, size=(1, 9))[(9 * scale - size) // 2 :, 0, 0, 4][:size]
    return torch.outer(taps, taps).to(dtype)


def centre(kernel: Tensor, scale: int) -> Tensor:
    """Move the centre of mass to the geometric centre, in an array whose size has the parity of `scale`.

    Nothing is cut: the array grows by what a shift between taps needs (13 taps become 16 for ×2), and outer rings of
    zeros go. A kernel that is centred already comes back as it is.
    """
    _check_whole("scale", scale)
    dx, dy = (0.0 if abs(value) < 1e-6 else value for value in moments(kernel)[0].tolist())
    size = len(kernel)
    if dx == dy == 0 and (size - scale) % 2 == 0:
        return kernel
    grown = size + 2 * (math.ceil(max(abs(dx), abs(dy))) + 2)
    grown += (grown - scale) % 2
    apart = _line(grown)[:, None] - _line(size)
    moved = keys(apart + dy).to(kernel) @ kernel @ keys(apart + dx).to(kernel).T
    used = moved.detach().abs() > 1e-12 * float(moved.detach().abs().max())
    lines = torch.nonzero(used.any(0) | used.any(1)).flatten().tolist()
    ring = min(lines[0], grown - 1 - lines[-1])
    return moved[ring : grown - ring, ring : grown - ring].contiguous()


def compose(kernel: Tensor) -> Tensor:
    """The ×4 kernel of two ×2 steps with the same kernel: k₄ = k₂ * (k₂ ↑ 2), (k, k) to (3k − 2, 3k − 2).

    ↑ 2 puts a zero between taps: one LR pixel of the first step is two HR pixels. Bell-Kligler et al., NeurIPS 2019.
    """
    check_kernel(kernel)
    size = len(kernel)
    dilated = kernel.new_zeros(2 * size - 1, 2 * size - 1)
    dilated[::2, ::2] = kernel
    return F.conv2d(dilated[None, None], kernel.flip(0, 1)[None, None], padding=size - 1)[0, 0]


def downsample(image: Tensor, kernel: Tensor, scale: int) -> Tensor:
    """Blur and downsample, y = (x * k)↓s, on the one sampling grid.

    y_i = Σ_p k(p) x(s·(i + ½) − ½ − p) along both axes: a convolution, so a bright pixel becomes the picture of the
    kernel. Borders are reflected, or replicated where the image is smaller than k.

    From a floating image (C, H, W) or (B, C, H, W) on any device and a kernel (k, k), or (B, k, k) with one kernel a
    sample, k of the parity of `scale`, to (…, C, ⌈H/s⌉, ⌈W/s⌉) in image's dtype, not clipped. Gradients flow to both.
    """
    _check_whole("scale", scale)
    if image.dim() not in (3, 4) or not image.is_floating_point():
        found = f"{tuple(image.shape)} {image.dtype}"
        raise ValueError(f"image is {found}, expected floating (C, H, W) or (B, C, H, W)")
    taps = kernel if kernel.dim() == 3 else kernel[None]
    check_kernel(taps[0], scale)
    batch = image if image.dim() == 4 else image[None]
    if len(taps) not in (1, len(batch)):
        raise ValueError(f"{len(taps)} kernels for a batch of {len(batch)}, expected one, or one an image")
    taps = F.pad(taps, [max(0, scale - taps.shape[-1]) // 2] * 4).to(image).flip(-1, -2)
    reach = (taps.shape[-1] - scale) // 2
    count, channels, height, width = batch.shape
    right, below = reach + -width % scale, reach + -height % scale
    mode = "reflect" if right < width and below < height else "replicate"
    planes = F.pad(batch, (reach, right, reach, below), mode=mode).flatten(0, 1)
    if len(taps) > 1:  # as the channels of one image, each with a kernel of its own
        weight = taps[:, None].repeat_interleave(channels, 0)
        flat = F.conv2d(planes[None], weight, stride=scale, groups=len(planes))
    else:
        flat = F.conv2d(planes[:, None], taps[:, None], stride=scale)
    lr = flat.reshape(count, channels, *flat.shape[-2:])
    return lr if image.dim() == 4 else lr[0]


def moments(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (2,), from the geometric centre, and covariance (2, 2) of a kernel, order (x, y), HR pixels(²), float64.

    y runs down, so a blur that rises to the right on screen has a negative covariance of x and y.
    """
    check_kernel(kernel)
    values = kernel.double()
    total = values.sum()
    if not total > 0:
        raise ValueError(f"kernel sums to {float(total):.3g}; it needs positive mass to have a mean")
    points = _grid(len(kernel)).to(values)
    mean = torch.einsum("yx,yxc->c", values, points) / total
    points = points - mean
    return mean, torch.einsum("yx,yxa,yxb->ab", values, points, points) / total


def l2_distance(kernel: Tensor, truth: Tensor) -> float:
    """Relative distance ‖k − truth‖ / ‖truth‖ over the taps, the smaller array padded with zeros."""
    first, second = same_size([kernel, truth])
    return float((first - second).norm() / second.norm())


def w2_distance(first: Tensor, second: Tensor) -> float:
    """Exact Wasserstein distance W₂ (not its square) between two kernels as distributions, in HR pixels.

    W₂² = min over plans P of Σ P_ij ‖p_i − q_j‖², solved by POT's network simplex. Both kernels are placed about their
    centres and scaled to mass 1; negative taps count as zero. 46×46 taps take 2 seconds.
    """
    import ot  # takes a second, so only where it is needed

    (mass_a, points_a), (mass_b, points_b) = _support(first), _support(second)
    cost = ot.dist(points_a, points_b)  # squared Euclidean
    return math.sqrt(max(0.0, float(ot.emd2(mass_a, mass_b, cost, numItermax=10_000_000))))


def average(kernels: Sequence[Tensor] | Tensor, weights: Sequence[float] | None = None) -> Tensor:
    """Plain (or weighted) average of the taps: mixes the blurs, so two crossed ones become a cross."""
    stack = same_size(kernels)
    return torch.einsum("n,nyx->yx", _check_weights(weights, len(stack)).to(stack), stack)


def barycentre(kernels: Sequence[Tensor] | Tensor, weights: Sequence[float] | None = None) -> Tensor:
    """Wasserstein barycentre: the kernel b with the smallest Σ w_i W₂²(b, k_i). It moves mass and mixes none.

    Of two perpendicular Gaussians (variances 6 and 1) the average has variances of 3.5, the barycentre 2.975 (Bures).
    POT's debiased entropic barycentre (Janati, Cuturi, Gramfort, ICML 2020), with an entropy of 0.36 mean variances,
    comes closest: 2.982. Negative taps count as zero.
    """
    import ot

    stack = same_size(kernels)
    proportions = _check_weights(weights, len(stack))
    margin = 4  # the solver's entropy spreads mass beyond the support
    values = F.pad(stack.detach().cpu().double().clamp(min=0), [margin] * 4).numpy()
    values /= values.sum((1, 2), keepdims=True)
    size = values.shape[1]
    variance = sum(float(moments(kernel.clamp(min=0))[1].trace()) / 2 for kernel in stack) / len(stack)
    entropy = max(_ENTROPY * variance, _LEAST_ENTROPY)
    # Ten kernels of one camera may take 20,000 rounds and minutes; their mean and covariance stand after a hundred.
    found = ot.bregman.convolutional_barycenter2d_debiased(
        values, entropy / (size - 1) ** 2, proportions.numpy(), numItermax=500, stopThr=1e-9, warn=False
    )
    found = found[margin : size - margin, margin : size - margin]
    return torch.from_numpy(found / found.sum()).to(stack)


def _line(size: int) -> Tensor:
    """Places of the taps along an axis, counted from the geometric centre, (size,) float64."""
    return torch.arange(size, dtype=torch.float64) - (size - 1) / 2


def _grid(size: int) -> Tensor:
    """x (right) and y (down) of every tap, counted from the geometric centre, (size, size, 2) float64."""
    return torch.stack(torch.meshgrid(_line(size), _line(size), indexing="xy"), -1)


def _support(kernel: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Masses (n,) that sum to 1 and places (n, 2) of the positive taps."""
    check_kernel(kernel)
    values = kernel.detach().cpu().double()
    used = values > 0
    if not used.any():
        raise ValueError("kernel has no positive tap, so it is no distribution")
    return (values[used] / values[used].sum()).numpy(), _grid(len(kernel))[used].numpy()


def same_size(kernels: Sequence[Tensor] | Tensor) -> Tensor:
    """The kernels, padded about their centres to the largest size, (N, k, k) like the first."""
    if len(kernels) == 0:
        raise ValueError("no kernels given, expected at least one")
    for kernel in kernels:
        check_kernel(kernel)
    sizes = {len(kernel) for kernel in kernels}
    if len({size % 2 for size in sizes}) > 1:
        found = f"kernels of sizes {sorted(sizes)} do not share a centre"
        raise ValueError(f"{found}; call kernels.centre on each first")
    padded = [F.pad(kernel, [(max(sizes) - len(kernel)) // 2] * 4) for kernel in kernels]
    return torch.stack([kernel.to(kernels[0]) for kernel in padded])


def _check_weights(weights: Sequence[float] | None, count: int) -> Tensor:
    values = torch.as_tensor([1] * count if weights is None else weights, dtype=torch.float64)
    if values.shape != (count,) or not (values >= 0).all() or not values.sum() > 0:
        raise ValueError(f"weights are {values.tolist()}, expected {count} numbers >= 0, not all zero")
    return values / values.sum()


def check_kernel(kernel: Tensor, scale: int | None = None, name: str = "kernel") -> None:
    """Refuse what is no kernel, or none for the sampling grid of `scale`."""
    square = kernel.dim() == 2 and kernel.shape[0] == kernel.shape[1] > 0
    if not (square and kernel.is_floating_point()):
        raise ValueError(f"{name} is {tuple(kernel.shape)} {kernel.dtype}, expected a floating square (k, k)")
    if scale is not None and (len(kernel) - scale) % 2:
        found = f"{name} has {len(kernel)} taps a side, which puts its centre off the grid of scale {scale}"
        raise ValueError(f"{found} by half a pixel; call kernels.centre(kernel, {scale}) first")


def _check_whole(name: str, value: int) -> None:
    if value < 1 or value != int(value):
        raise ValueError(f"{name} is {value}, expected a whole number, at least 1")
