"""The exercises of notebook 08: right answers pass, and each usual slip is told apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from otsr.course import exercises

Enlarge = Callable[[torch.Tensor], torch.Tensor]


def said(capsys: pytest.CaptureFixture[str], answer: Any, name: str) -> str:
    exercises.check(name, answer)
    return capsys.readouterr().out


def field(layers: list[tuple[int, int]]) -> int:
    width, step = 1, 1
    for kernel, stride in layers:
        width += step * (kernel - 1)
        step *= stride
    return width


def test_a_right_field_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, field, "field") == "field: correct\n"


def own_stride(layers: list[tuple[int, int]]) -> int:
    width, step = 1, 1
    for kernel, stride in layers:
        step *= stride
        width += step * (kernel - 1)
    return width


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda layers: (field(layers) - 1) // 2, "to one side"),
        (lambda layers: field(layers) - 1, "one pixel: itself"),
        (lambda layers: sum(kernel for kernel, _ in layers), "adds 2 new pixels"),
        (lambda layers: math.prod(kernel for kernel, _ in layers), "do not multiply"),
        (lambda layers: 1 + sum(kernel - 1 for kernel, _ in layers), "2 input pixels apart"),
        (own_stride, "own stride spreads the layers after it"),
        (lambda layers: field(layers[::-1]), "not those after it"),
        (lambda layers: 100, "Begin with one pixel"),
        (lambda layers: layers, "One number is expected"),
        (lambda layers: layers.nonsense, "Your function stopped with AttributeError"),
    ],
)
def test_a_wrong_field_is_told_what_is_wrong(
    wrong: Callable[[Any], Any], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, wrong, "field")
    assert text.startswith("field: not yet. ")
    assert hint in text


def tiles(enlarge: Enlarge, lr: torch.Tensor, tile: int, overlap: int, s: int) -> torch.Tensor:
    height, width = lr.shape[1:]
    sr = torch.empty(3, s * height, s * width)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            above, before = max(0, top - overlap), max(0, left - overlap)
            seen = enlarge(lr[:, above : bottom + overlap, before : right + overlap])
            y, x = s * (top - above), s * (left - before)
            kept = seen[:, y : y + s * (bottom - top), x : x + s * (right - left)]
            sr[:, s * top : s * bottom, s * left : s * right] = kept
    return sr


def padded(mode: str) -> Callable[..., torch.Tensor]:
    def function(enlarge: Enlarge, lr: torch.Tensor, tile: int, overlap: int, s: int) -> torch.Tensor:
        height, width = lr.shape[1:]
        around = F.pad(lr[None], [overlap] * 4, mode=mode)[0]
        sr = torch.empty(3, s * height, s * width)
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                bottom, right = min(top + tile, height), min(left + tile, width)
                seen = enlarge(around[:, top : bottom + 2 * overlap, left : right + 2 * overlap])
                cut = s * overlap
                sr[:, s * top : s * bottom, s * left : s * right] = seen[:, cut:-cut, cut:-cut]
        return sr

    return function


def margins_kept(enlarge: Enlarge, lr: torch.Tensor, tile: int, overlap: int, s: int) -> torch.Tensor:
    width = lr.shape[2]
    starts = range(0, width, tile)
    return torch.cat([enlarge(lr[:, :, max(0, x - overlap) : x + tile + overlap]) for x in starts], 2)


def one_overlap(enlarge: Enlarge, lr: torch.Tensor, tile: int, overlap: int, s: int) -> torch.Tensor:
    return tiles(enlarge, lr, tile, 1, s)


def strips(enlarge: Enlarge, lr: torch.Tensor, tile: int, overlap: int, s: int) -> torch.Tensor:
    parts = []
    for left in range(0, lr.shape[2], tile):
        right, before = min(left + tile, lr.shape[2]), max(0, left - overlap)
        seen = enlarge(lr[:, :, before : right + overlap])
        parts.append(seen[:, :, s * (left - before) : s * (right - before)])
    return torch.cat(parts, 2)


def test_right_tiles_are_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, tiles, "tiles") == "tiles: correct\n"


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda e, lr, tile, overlap, s: e(lr), "largest window is 30×26"),
        (strips, "memory that was not asked for"),
        (lambda e, lr, tile, overlap, s: tiles(e, lr, tile, 0, s), "nothing beside it"),
        (one_overlap, "see 1 pixels beside their tile, not 3"),
        (padded("replicate"), "border of the picture is wrong"),
        (padded("reflect"), "border of the picture is wrong"),
        (padded("constant"), "border of the picture is wrong"),
        (margins_kept, "keep too much"),
        (lambda e, lr, tile, overlap, s: tiles(e, lr, tile, overlap, s)[:, 4:], "keep too little"),
        (lambda e, lr, tile, overlap, s: tiles(e, lr, tile, overlap, s).mT, "changed places"),
        (lambda e, lr, tile, overlap, s: tiles(e, lr, tile, overlap, s)[:, ::s, ::s], "s times as large"),
        (lambda e, lr, tile, overlap, s: F.pad(tiles(e, lr, tile, overlap, s), (0, 16)), "smaller"),
        (lambda e, lr, tile, overlap, s: tiles(e, lr, tile, overlap, s) + 1, "draw what it sees"),
        (lambda e, lr, tile, overlap, s: 3.0, "your function returned float"),
        (lambda e, lr, tile, overlap, s: e(lr, tile), "Your function stopped with TypeError"),
    ],
)
def test_wrong_tiles_are_told_what_is_wrong(
    wrong: Callable[..., Any], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, wrong, "tiles")
    assert text.startswith("tiles: not yet. ")
    assert hint in text
