"""The exercises of notebook 08: how far a chain of convolutions sees, and tiles that leave no seam."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from otsr.course.exercises.checking import call, exercise

Layers = list[tuple[int, int]]
Enlarge = Callable[[Tensor], Tensor]

_CHAINS: tuple[Layers, ...] = (
    [(3, 1), (5, 1), (1, 1)],
    [(5, 2), (3, 3), (4, 1)],
    [(3, 1), (4, 2), (3, 1), (4, 2), (3, 1)],
)
_RADIUS = 3  # LR pixels that the exercise's network sees around each
_RIGHT = 1e-5


@exercise("field")
def _field(answer: Any) -> str | None:
    """1 + Σ (kernel − 1) · product of the strides before it."""
    for layers in _CHAINS:
        value = call(answer, list(layers))
        try:
            got = float(value)
        except (TypeError, ValueError):
            return f"One number is expected, your function returned {type(value).__name__}."
        expected = _width(layers)
        if got != expected:
            chain = " → ".join(f"{kernel} wide, stride {stride}" for kernel, stride in layers)
            return f"The chain {chain} sees {expected} input pixels, yours says {got:g}. {_field_hint(got, layers)}"
    return None


def _width(layers: Layers) -> int:
    return 1 + sum((kernel - 1) * _steps(layers[:i]) for i, (kernel, _) in enumerate(layers))


def _steps(layers: Layers) -> int:
    return prod(stride for _, stride in layers)


def _field_hint(got: float, layers: Layers) -> str:
    width = _width(layers)
    usual = {
        (width - 1) / 2: "That is how far it sees to one side; count both sides, and the middle.",
        width - 1: "Without any layer an output pixel sees one pixel: itself.",
        sum(kernel for kernel, _ in layers): "A kernel of 3 adds 2 new pixels, not 3: one it had already.",
        prod(kernel for kernel, _ in layers): "Kernels add up, they do not multiply: neighbours see nearly the same.",
        1 + sum(kernel - 1 for kernel, _ in layers): "After a stride of 2, neighbours lie 2 input pixels apart.",
        1 + sum((kernel - 1) * _steps(layers[: i + 1]) for i, (kernel, _) in enumerate(layers)): (
            "A layer's own stride spreads the layers after it, not itself."
        ),
        1 + sum((kernel - 1) * _steps(layers[i + 1 :]) for i, (kernel, _) in enumerate(layers)): (
            "The strides before a layer count, not those after it: go from the input to the output."
        ),
    }  # fmt: skip
    return usual.get(got, "Begin with one pixel; what does each layer add, measured in input pixels?")


@exercise("tiles")
def _tiles(answer: Any) -> str | None:
    """The network on windows of tile + 2·overlap, of each the middle kept: the same as on the whole picture."""
    for scale, size, tile in ((4, (30, 26), 10), (2, (23, 37), 8)):
        network = _network(scale)
        lr = torch.rand(3, *size, generator=torch.Generator().manual_seed(scale))
        windows: list[tuple[int, int]] = []

        def enlarge(window: Tensor, network: Enlarge = network, windows: list = windows) -> Tensor:
            windows.append((window.shape[-2], window.shape[-1]))
            return network(window)

        got = call(answer, enlarge, lr.clone(), tile, _RADIUS, scale)
        expected = network(lr)
        case = f"With lr {tuple(lr.shape)}, tile = {tile}, overlap = {_RADIUS}, s = {scale}"
        if not isinstance(got, Tensor) or got.shape != expected.shape:
            found = f"{tuple(got.shape)}" if isinstance(got, Tensor) else type(got).__name__
            hint = _shape_hint(got, expected, tile, scale) if isinstance(got, Tensor) else ""
            return (
                f"{case} a tensor {tuple(expected.shape)} is expected, your function returned {found}.{hint}"
            )
        if max(max(window) for window in windows) > tile + 2 * _RADIUS:
            largest = max(windows, key=prod)
            return (
                f"{case} your largest window is {largest[0]}×{largest[1]}; more than tile + 2·overlap = "
                f"{tile + 2 * _RADIUS} a side is memory that was not asked for."
            )
        if not float((got - expected).abs().max()) <= _RIGHT:
            return f"{case} it differs from the whole picture. {_seam_hint(got, expected, network, lr, tile, scale)}"
    return None


def _network(scale: int) -> Enlarge:
    """Three 3×3 convolutions and a pixel shuffle: it sees 3 LR pixels around each, and knows where zeros are."""
    generator = torch.Generator().manual_seed(7)
    layers: list[nn.Module] = []
    for inside, outside in ((3, 6), (6, 6), (6, 3 * scale**2)):
        layer = nn.Conv2d(inside, outside, 3, padding=1)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / inside**0.5 / 2)
        layers += [layer, nn.Tanh()]
    body = nn.Sequential(*layers[:-1], nn.PixelShuffle(scale))

    def enlarge(lr: Tensor) -> Tensor:
        with torch.no_grad():
            return body(lr[None])[0]

    return enlarge


def _shape_hint(got: Tensor, expected: Tensor, tile: int, scale: int) -> str:
    height, width = expected.shape[-2:]
    if got.dim() != 3:
        return ""
    whole = [-(-n // scale // tile) * tile * scale for n in (height, width)]
    if tuple(got.shape[-2:]) == (width, height):
        return " Rows and columns have changed places."
    if list(got.shape[-2:]) == whole:
        return " The last tile is smaller than the others: the picture ends there."
    if list(got.shape[-2:]) == [n // scale for n in (height, width)]:
        return " In the enlarged picture every length is s times as large."
    if got.shape[-2] > height or got.shape[-1] > width:
        return " You keep too much of the windows: cut off what was added; enlarged, it is s times as wide."
    return (
        " You keep too little of the windows: count what you cut in enlarged pixels, s of them an LR pixel."
    )


def _seam_hint(got: Tensor, expected: Tensor, network: Enlarge, lr: Tensor, tile: int, scale: int) -> str:
    for overlap in range(_RADIUS):
        variant = _glued(network, lr, tile, overlap, scale)
        if float((got - variant).abs().max()) <= _RIGHT:
            return (
                "Each window sees its own tile and nothing beside it: widen it by `overlap` on every side first."
                if overlap == 0
                else f"Your windows see {overlap} pixels beside their tile, not {_RADIUS}: seams are left."
            )
    for mode in ("constant", "replicate", "reflect"):
        around = F.pad(lr[None], [_RADIUS] * 4, mode=mode)[0]
        inside = _glued(network, around, tile, _RADIUS, scale, offset=_RADIUS)
        if float((got - inside).abs().max()) <= _RIGHT:
            return (
                "The seams are gone, but the border of the picture is wrong: a window must end where the picture ends, "
                "so that the network meets its own zeros there."
            )
    row, column = divmod(int((got - expected).abs().amax(0).argmax()), got.shape[-1])
    return (
        f"The difference is largest at row {row}, column {column} of the enlarged picture; cuts lie at multiples of "
        f"{scale * tile}. Take one window and draw what it sees, and what of it is kept."
    )


def _glued(network: Enlarge, lr: Tensor, tile: int, overlap: int, scale: int, offset: int = 0) -> Tensor:
    """Tiles with that overlap; with an offset, `lr` has a margin of it on every side, which windows may see."""
    height, width = (n - 2 * offset for n in lr.shape[-2:])
    result = torch.empty(3, scale * height, scale * width)
    for top, left in product(range(0, height, tile), range(0, width, tile)):
        bottom, right = min(top + tile, height), min(left + tile, width)
        above, before = max(0, top + offset - overlap), max(0, left + offset - overlap)
        seen = network(lr[:, above : bottom + offset + overlap, before : right + offset + overlap])
        down, across = scale * (top + offset - above), scale * (left + offset - before)
        kept = seen[:, down : down + scale * (bottom - top), across : across + scale * (right - left)]
        result[:, scale * top : scale * bottom, scale * left : scale * right] = kept
    return result
