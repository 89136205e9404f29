"""Rulers of artefacts: what an upscaled picture has that its LR picture does not.

None needs a truth: they compare with bicubic's enlargement, which invents nothing, with the LR picture, or look for a
lattice in the SR of a picture that has none. Bicubic itself reads 1, 1, 1 and 0. All but the shift of colours leave
out `_MARGIN` LR pixels on every side, where networks see the picture's end.
"""

import math
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from otsr.images import as_batch, luma, resize
from otsr.metrics.inputs import as_float64, as_scaled, cut_border, like_input

_MARGIN = 8  # LR pixels
_GRID = 8  # LR pixels between the lines of a JPEG's grid
_UNSEEN = 0.1 / 255  # deviation that nobody sees: ratios of less are drawn to 1
_ERRORS = 3  # standard errors that a grid must stand out by
_FEWEST = 32  # LR pixels a side inside the margin


@torch.no_grad()
def noise_gain(sr: Tensor, lr: Tensor) -> Tensor:
    """Deviation of the high frequencies in SR, over that in bicubic's enlargement of the same LR.

    √((d(SR)² + u²) / (d(bicubic)² + u²)), with d the deviation, over pixels and channels, of a picture minus its blur
    by a Gaussian of σ = 1 LR pixel, and u a tenth of a grey level: where both are that smooth the gain is 1. Meant
    for flat areas, where all that varies is noise: 1 keeps it, less removes it, more makes texture of it.

    Args:
        sr: (3, s·h, s·w) or (B, 3, s·h, s·w) in [0, 1].
        lr: (3, h, w) or (B, 3, h, w) in [0, 1], 48 pixels a side or more.
    """
    large, small, scale = as_scaled(sr, lr)
    cut_border(small, _MARGIN, _FEWEST, "a ruler of artefacts")
    gained, kept = (_deviation(image, scale).square() + _UNSEEN**2 for image in (large, resize(small, scale)))
    return like_input((gained / kept).sqrt(), sr)


@torch.no_grad()
def block_gain(sr: Tensor, lr: Tensor, scale: int) -> Tensor:
    """Energy of the JPEG grid, lines 8 LR pixels apart, in SR over that in bicubic's enlargement of the same LR.

    The energy of a line is the mean square of luma's gradient across it, in the `scale` pixels around the line, after
    averaging along it over 4 LR pixels; that of the grid is its lines' mean minus the mean of all parallels beside
    them, across both axes. The grid's place is where LR has most of it. Noise and texture put some energy on any
    grid by chance, so each energy counts as no less than the smallest that is safely more than chance: three
    standard errors, of the worse of the two pictures. The gain is therefore 1 where neither has a grid to speak of,
    above 1 only if SR has one, and right where both do.

    Args:
        sr, lr: as in `noise_gain`.
        scale: s; sizes must fit.
    """
    large, small, _ = as_scaled(sr, lr, scale)
    cut_border(small, _MARGIN, _FEWEST, "a ruler of artefacts")
    gains = []
    for upscaled, image in zip(luma(large), luma(small), strict=True):
        found = [[_excess(energy, at)[0] for at in range(_GRID)] for energy in _lines(image, 1)]
        place = [contrasts.index(max(contrasts)) for contrasts in found]
        pairs = [_grid(picture, scale, place) for picture in (upscaled, resize(image, scale))]
        chance = max(_ERRORS * error for _, error in pairs) + _UNSEEN**2
        gains.append(max(pairs[0][0], chance) / max(pairs[1][0], chance))
    return like_input(torch.tensor(gains, device=sr.device), sr)


@torch.no_grad()
def checkerboard(sr: Tensor, scale: int) -> Tensor:
    """Power at the periods of upsampling over the power beside them, for the SR of a flat or evenly rising grey.

    A layer that upsamples can leave a lattice whose periods divide the scale: at ×4 of 4 and 2 pixels, along rows,
    columns or both. The largest of the scale² − 1 powers at these frequencies is compared with the mean in a ring
    around it, 3 to 6 steps away, in the spectrum of luma under a Hann window, which keeps the grey's rise to the
    lowest frequencies. To both is added the power of a wave with a deviation of a tenth of a grey level, so that what
    nobody sees is no peak. 1 is no lattice.

    Args:
        sr: (3, H, W) or (B, 3, H, W) in [0, 1], 48 LR pixels a side or more.
    """
    if scale < 2:
        raise ValueError(f"scale is {scale}, expected 2 or more: what enlarges nothing makes no lattice")
    batch = cut_border(luma(as_batch(sr, "sr")), _MARGIN * scale, _FEWEST * scale, "checkerboard")[:, 0]
    height, width = (side // scale * scale for side in batch.shape[-2:])  # the periods are whole frequencies
    batch = as_float64(batch[:, :height, :width])
    hann = [torch.hann_window(side, dtype=torch.float64, device=batch.device) for side in (height, width)]
    window = torch.outer(*hann)
    spectrum = torch.fft.fft2((batch - 0.5) * window)
    power = 2 * spectrum.abs().square() / window.sum().square()  # a wave's squared deviation
    ring = [(i, j) for i, j in product(range(-6, 7), repeat=2) if max(abs(i), abs(j)) > 2]
    ratios = []
    for row, column in list(product(range(scale), repeat=2))[1:]:
        y, x = row * height // scale, column * width // scale
        beside = torch.stack([power[:, (y + i) % height, (x + j) % width] for i, j in ring]).mean(0)
        ratios.append((power[:, y, x] + _UNSEEN**2) / (beside + _UNSEEN**2))
    return like_input(torch.stack(ratios).amax(0), sr)


@torch.no_grad()
def colour_shift(sr: Tensor, lr: Tensor) -> Tensor:
    """How much each channel's mean changed: of SR shrunk by MATLAB's bicubic, minus that of LR, in grey levels of 255.

    Args:
        sr, lr: as in `noise_gain`, of any size.

    Returns:
        (3,) or (B, 3): red, green, blue; the whole picture counts, its border too.
    """
    large, small, scale = as_scaled(sr, lr)
    shrunk = resize(large, 1 / scale, (small.shape[-2], small.shape[-1])).clamp(0, 1)
    return like_input(255 * (shrunk - small).mean(dim=(2, 3)), sr)


def _deviation(image: Tensor, scale: int) -> Tensor:
    """(B,) of what a Gaussian of σ = `scale` pixels takes away, inside the margin."""
    reach = 3 * scale
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=image.device) / scale) ** 2).to(image)
    taps = (taps / taps.sum()).expand(3, 1, 1, -1)
    blurred = F.conv2d(F.conv2d(image, taps, groups=3), taps.mT, groups=3)
    high = image[..., reach:-reach, reach:-reach] - blurred
    margin = _MARGIN * scale - reach
    return high[..., margin:-margin, margin:-margin].std(dim=(1, 2, 3))


def _lines(image: Tensor, scale: int) -> list[Tensor]:
    """Squared gradients of (1, H, W) across columns, then rows: (segments, lines), lines being LR pixels apart.

    Line j lies between the LR pixels j − 1 and j, counted from the margin.
    """
    energies = []
    for across in (image, image.mT):
        steps = F.avg_pool2d(across.diff(dim=-1), (4 * scale, 1))[0]  # along it, white noise averages out
        first = _MARGIN * scale - scale // 2 - 1  # step i lies between pixels i and i + 1
        lines = across.shape[-1] // scale - 2 * _MARGIN
        band = steps[_MARGIN // 4 : -(_MARGIN // 4), first : first + lines * scale]
        energies.append(band.square().unflatten(1, (lines, scale)).mean(2))
    return energies


def _excess(energy: Tensor, place: int) -> tuple[float, float]:
    """Mean of every eighth line from `place` minus the mean of the others, and its standard error."""
    on = torch.arange(energy.shape[1], device=energy.device) % _GRID == place
    lines, beside = energy[:, on], energy[:, ~on]
    error = lines.var() / lines.numel() + beside.var() / beside.numel()
    return float(lines.mean() - beside.mean()), math.sqrt(float(error))


def _grid(image: Tensor, scale: int, place: list[int]) -> tuple[float, float]:
    """Energy of the grid across both axes, and its standard error."""
    (x, error_x), (y, error_y) = (_excess(*pair) for pair in zip(_lines(image, scale), place, strict=True))
    return x + y, math.hypot(error_x, error_y)
