"""The exercises of notebook 08: how far a chain of convolutions sees, and tiles that leave no seam."""

from collections.abc import Callable
from functools import partial
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from otsr.course.exercises.checking import StoppedError, ask

Enlarge = Callable[[Tensor], Tensor]

_RADIUS = 3  # LR pixels that the exercise's network sees around each


def _field(layers: list[tuple[int, int]]) -> int:
    """1 + Σ (kernel − 1) · product of the strides before it."""
    width, step = 1, 1
    for kernel, stride in layers:
        width += (kernel - 1) * step
        step *= stride
    return width


ask(
    "field",
    cases=lambda: [
        ([(3, 1), (5, 1), (1, 1)],), ([(5, 2), (3, 3), (4, 1)],), ([(3, 1), (4, 2), (3, 1), (4, 2), (3, 1)],),
    ],
    right=_field,
    mistakes=lambda layers: [
        ((_field(layers) - 1) / 2, "That is one side only; count both sides, and the middle."),
        (_field(layers) - 1, "Without any layer an output pixel sees one pixel: itself."),
        (sum(kernel for kernel, _ in layers), "A kernel of 3 adds 2 new pixels: one it had already."),
        (prod(kernel for kernel, _ in layers), "Kernels add up, they do not multiply."),
        (1 + sum(k - 1 for k, _ in layers), "After a stride of 2, neighbours lie 2 input pixels apart."),
        (1 + sum((k - 1) * prod(s for _, s in layers[: i + 1]) for i, (k, _) in enumerate(layers)),
         "A layer's own stride spreads the layers after it, not itself."),
        (_field(layers[::-1]), "The strides before a layer count, not those after: begin at the input."),
    ],
    otherwise="Begin with one pixel; what does each layer add, measured in input pixels?",
    case="The chain {0}, each (kernel, stride), sees {right} input pixels, yours says {got:g}.",
)  # fmt: skip


def _network(scale: int) -> nn.Module:
    """Three 3×3 convolutions and a pixel shuffle: it sees 3 LR pixels around each, and knows where zeros are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        layers = [nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 6, 3, padding=1), nn.Tanh()]
        body = nn.Sequential(*layers, nn.Conv2d(6, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale))
    return body.requires_grad_(False)


def _photo(height: int, width: int, tile: int, scale: int) -> tuple[Enlarge, Tensor, int, int, int]:
    """(enlarge, lr, tile, overlap, s); `enlarge` is the network with a bound on its memory."""
    lr = torch.rand(3, height, width, generator=torch.Generator().manual_seed(scale))
    return partial(_bounded, _network(scale), tile + 2 * _RADIUS), lr, tile, _RADIUS, scale


def _bounded(network: Enlarge, side: int, window: Tensor) -> Tensor:
    height, width = window.shape[-2:]
    if max(height, width) > side:
        raise StoppedError(
            f"One of your windows is {height}×{width}; more than tile + 2·overlap = {side} a side is memory that was "
            "not asked for."
        )
    return network(window)


def _glued(lr: Tensor, tile: int, overlap: int, s: int) -> Tensor:
    height, width = lr.shape[-2:]
    result = torch.empty(3, s * height, s * width)
    for top, left in product(range(0, height, tile), range(0, width, tile)):
        above, before = max(0, top - overlap), max(0, left - overlap)
        seen = _network(s)(lr[:, above : top + tile + overlap, before : left + tile + overlap])
        kept = seen[:, s * (top - above) :, s * (left - before) :][:, : s * tile, : s * tile]
        result[:, s * top : s * (top + tile), s * left : s * (left + tile)] = kept
    return result


def _bordered(lr: Tensor, overlap: int, s: int, mode: str) -> Tensor:
    """What tiles show whose windows see a margin around the picture."""
    cut = s * overlap
    return _network(s)(F.pad(lr[None], [overlap] * 4, mode=mode)[0])[:, cut:-cut, cut:-cut]


def _size_hint(got: Tensor, expected: Tensor, *arguments: Any) -> str:
    *_, tile, _, s = arguments
    (height, width), found = expected.shape[-2:], tuple(got.shape[-2:])
    if found == (width, height):
        return "Rows and columns have changed places."
    if found == tuple(-(-n // s // tile) * tile * s for n in (height, width)):
        return "The last tile is smaller than the others: the picture ends there."
    if found == (height // s, width // s):
        return "In the enlarged picture every length is s times as large."
    if found[0] > height or found[1] > width:
        return "You keep too much of the windows: cut off what was added; enlarged, it is s times as wide."
    return "You keep too little of the windows: count what you cut in enlarged pixels, s of them an LR pixel."


ask(
    "tiles",
    cases=lambda: [_photo(30, 26, tile=10, scale=4), _photo(23, 37, tile=8, scale=2)],
    right=lambda enlarge, lr, tile, overlap, s: _network(s)(lr),
    mistakes=lambda enlarge, lr, tile, overlap, s: [
        (_glued(lr, tile, 0, s),
         "Each window sees its own tile and nothing beside it: widen it by `overlap` on every side first."),
        (_glued(lr, tile, 1, s), "Your windows see 1 pixel beside their tile, not 3: seams are left."),
        (_glued(lr, tile, 2, s), "Your windows see 2 pixels beside their tile, not 3: seams are left."),
        (*(_bordered(lr, overlap, s, mode) for mode in ("constant", "replicate", "reflect")),
         "The seams are gone, but the border of the picture is wrong: a window must end where the picture ends, so "
         "that the network meets its own zeros there."),
    ],
    otherwise="Take one window, and draw what it sees and what of it is kept. Cuts lie at multiples of s · tile.",
    case="With tile = {2}, overlap = {3}, s = {4} it differs from the whole picture.",
    shape_hint=_size_hint,
)  # fmt: skip
