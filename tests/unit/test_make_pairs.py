"""What `data/weights/make_pairs.py` writes for the weights for any photo to learn from."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from otsr.datasets import data_dir
from otsr.degradation import families, general
from otsr.images import read, resize


class Shifted(nn.Module):
    """Bicubic enlargement, brighter by a number."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, lr: Tensor) -> Tensor:
        return resize(lr, 4) + self.shift


@pytest.fixture
def make_pairs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.syspath_prepend(str(data_dir() / "weights"))
    import make_pairs

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(make_pairs, "COUNTS", {"pairs": 1, "fine": 1, "shrunk": 1})
    return make_pairs


def teachers(make_pairs: Any, bold: float, clean: float) -> Any:
    """Two networks that are brighter than they should be, judged by their pixels."""
    made = object.__new__(make_pairs.Teachers)
    made.device, made.vgg = torch.device("cpu"), lambda picture: {"pixels": picture}
    made.bold, made.clean, made.mixed = Shifted(bold), Shifted(clean), Shifted(0.0)
    return made


def test_of_two_teachers_the_second_is_taken_where_it_is_clearly_closer(make_pairs: Any) -> None:
    lr = torch.full((3, 24, 24), 0.5)
    hr = resize(lr, 4)
    bold, clean = teachers(make_pairs, 0.2, 0.1).choose(lr, hr)
    assert clean is not None and float(clean.mean()) == pytest.approx(0.6, abs=1e-3)
    assert float(bold.mean()) == pytest.approx(0.7, abs=1e-3)
    assert teachers(make_pairs, 0.2, 0.19).choose(lr, hr)[1] is None  # closer, but not clearly


def test_the_goal_is_the_photo_or_a_teachers_picture_of_the_same_lr(
    make_pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other crop is the second teacher's here: there the goal is the photo, in the last touch its picture."""
    made, number = teachers(make_pairs, 0.3, 0.1), count()

    def choose(lr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor | None]:
        return made.answer(made.bold, lr), made.answer(made.clean, lr) if next(number) % 2 else None

    made.choose = choose
    monkeypatch.setattr(make_pairs, "Teachers", lambda: made)
    monkeypatch.setattr(make_pairs, "BATCH", 8)
    monkeypatch.setattr(general, "bank", lambda scale, *_: families.bank(scale, 20, 4))  # 1,500 take seconds
    make_pairs.main(["photos/train"])

    def compare(folder: str, name: str, shift: float | None) -> None:
        lr, goal = (read(f"{folder}/{kind}/{name}.png") for kind in ("LR", "HR"))
        expected = (
            read(f"{folder}/TRUTH/{name}.png") if shift is None else (resize(lr, 4) + shift).clamp(0, 1)
        )
        torch.testing.assert_close(goal, expected, atol=0.6 / 255, rtol=0)

    compare("pairs", "000002", 0.3)
    compare("pairs", "000003", None)
    compare("pairs_fine", "0002", 0.3)
    compare("pairs_fine", "0003", 0.1)
    compare("pairs_fine", "c0003", 0.0)
