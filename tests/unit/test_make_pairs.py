"""What `data/weights/make_pairs.py` writes for the weights for any photo to learn from."""

from __future__ import annotations

import random
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import lively, rrdbnet
from torch import Tensor, nn

from otsr import weights
from otsr.datasets import data_dir, phone_crops, photos
from otsr.degradation import families, general
from otsr.degradation.kernels import downsample, gaussian
from otsr.degradation.noise import collect_noise
from otsr.images import read, resize, write


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
    monkeypatch.setattr(make_pairs, "COUNTS", dict.fromkeys(make_pairs.COUNTS, 1))
    return make_pairs


def teachers(make_pairs: Any, bold: float, clean: float) -> Any:
    """Two networks that are brighter than they should be, judged by their pixels."""
    made = object.__new__(make_pairs.Teachers)
    made.device, made.vgg = torch.device("cpu"), lambda picture: {"pixels": picture}
    made.bold, made.clean, made.fine, made.mild = map(Shifted, (bold, clean, -0.1, 0.0))
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
    monkeypatch.setattr(make_pairs, "spoiled", lambda lr, draw: lr)
    make_pairs.main(["photos/train", "photos/train"])

    def compare(folder: str, name: str, expected: Tensor | float) -> None:
        lr, goal = (read(f"{folder}/{kind}/{name}.png") for kind in ("LR", "HR"))
        if isinstance(expected, float):
            expected = (resize(lr, 4) + expected).clamp(0, 1)
        torch.testing.assert_close(goal, expected, atol=0.6 / 255, rtol=0)

    compare("pairs", "000002", 0.3)
    compare("pairs", "000003", read("pairs/TRUTH/000003.png"))
    for folder in ("pairs_plain", "pairs_fine"):
        compare(folder, "0002", 0.3)
        compare(folder, "0003", 0.1)
    compare("pairs_plain", "c0003", 0.0)
    lr, goal = (read(f"pairs_sharper/{kind}/000002.png") for kind in ("LR", "HR"))
    assert float((resize(goal - resize(lr, 4), 1 / 8)).abs().mean()) < 0.05  # HR's colours, not 0.3 brighter
    for folder in ("pairs_sharper", "pairs_fine"):
        lr, goal = (read(f"{folder}/{kind}/c0003.png") for kind in ("LR", "HR"))
        torch.testing.assert_close(goal, made.of_clean(lr), atol=0.6 / 255, rtol=0)
        assert read(f"{folder}/HR/p0003.png").shape == goal.shape


def test_where_a_clean_crop_is_flat_its_goal_is_the_bold_teachers_picture_held_to_lr(make_pairs: Any) -> None:
    made = teachers(make_pairs, 0.3, 0.0)
    flat = torch.full((3, 32, 32), 0.5)
    texture = flat + 0.1 * torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0)).clamp(-3, 3)
    assert float(make_pairs.busy(flat).max()) == 0 and float(make_pairs.busy(texture).min()) == 1
    for lr, mean in ((flat, 0.5), (texture, 0.45)):  # the bold one is held to 0.5, the fine one has 0.4
        middle = made.of_clean(lr)[:, 32:-32, 32:-32]
        assert float(middle.mean()) == pytest.approx(mean, abs=0.01)


def test_a_third_of_the_clean_crops_stays_clean_and_no_other_changes_much(make_pairs: Any) -> None:
    lr = (
        resize(torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0)), 8)
        .clamp(0, 1)
        .expand(3, -1, -1)
    )
    draw = random.Random(0)
    moved = [float((make_pairs.spoiled(lr, draw) - lr).abs().mean()) for _ in range(60)]
    assert 10 <= moved.count(0.0) <= 30
    assert max(moved) < 8 / 255


def test_a_shade_with_noise_is_to_become_the_shade(make_pairs: Any) -> None:
    photo, pool = read(photos("train")[0])[:, :48, :48], collect_noise(phone_crops())
    shade = downsample(photo, gaussian(31, 6.0**2), 1)
    for seed in range(6):
        lr, hr = make_pairs.shaded(photo, random.Random(seed), pool)
        assert hr.shape == (3, 192, 192)
        small = resize(hr, 1 / 4)
        brightness = float((small / shade).mean())
        assert 0.1 <= brightness <= 1.01
        torch.testing.assert_close(small, brightness * shade, atol=0.6 / 255, rtol=0.01)
        assert 0.1 / 255 < float((small - lr).std()) < 8 / 255


def test_shipped_weights_are_the_mean_of_the_runs_and_go_beyond_it(
    make_pairs: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import make_general

    def run(name: str, value: float) -> Path:
        network = rrdbnet()
        for weight in network.parameters():
            weight.data.fill_(value)
        (tmp_path / name).mkdir()
        weights.save(network, tmp_path / name / "last.safetensors", {"recipe": name})
        return tmp_path / name

    monkeypatch.setattr(make_general, "START", str(run("psnr", 1.0) / "last.safetensors"))

    def plus_one(network: nn.Module, crops: Path) -> None:  # the last step, seen in the weights
        for weight in network.parameters():
            weight.data.add_(1)

    monkeypatch.setattr(make_general, "without_weave", plus_one)
    made = make_general.moved_on([run("a", 2.0), run("b", 4.0)], tmp_path)
    assert weights.read_metadata(made)["recipe"] == "a"
    for weight in weights.load(made).parameters():
        torch.testing.assert_close(weight, torch.full_like(weight, 1 + make_general.BEYOND * (3 - 1) + 1))


def test_weave_is_what_alternates_from_pixel_to_pixel_and_no_edge(make_pairs: Any) -> None:
    import make_general

    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    board = (1.0 - 2 * ((rows + columns) % 2)).expand(1, 3, 24, 24)
    torch.testing.assert_close(make_general.weave(board), board)
    stripes, edge, wave = 1.0 - 2 * (rows % 2), 1.0 * (columns > 11), torch.sin(columns / 2)
    for plain in (stripes, edge, wave):
        assert float(make_general.weave(plain.expand(1, 3, 24, 24)).abs().max()) < 1e-5


def test_the_layers_that_enlarge_learn_to_draw_the_same_without_weave(
    make_pairs: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import make_general

    monkeypatch.setattr(make_general, "BATCH", 2)
    monkeypatch.setattr(make_general, "RATE", 4e-3)
    photo = read(photos("train")[0])
    for number in range(4):
        write(tmp_path / f"{number}.png", photo[:, 40 * number :][:, :36, :36])
    network, board = lively(rrdbnet()), torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, -1.0, 1.0]])
    with torch.no_grad():
        network.last.weight += 2 * network.last.weight.abs().mean() * board
    trunk = {name: weight.clone() for name, weight in network.trunk.named_parameters()}
    lr = photo[None, :, 200:232, 100:132]
    with torch.no_grad():
        before = network(lr)
    make_general.without_weave(network, tmp_path, steps=120)
    after = network(lr)
    for name, weight in network.trunk.named_parameters():
        assert torch.equal(weight, trunk[name])
    weave = make_general.weave
    assert float(weave(after).abs().mean()) < 0.75 * float(weave(before).abs().mean())
    plain = before - weave(before)
    assert float((after - plain).abs().mean()) < 0.1 * float(plain.std())
