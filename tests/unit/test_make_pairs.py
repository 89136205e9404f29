"""What `data/weights/make_pairs.py` writes for the weights for any photo to learn from."""

import copy
import functools
import importlib
import random
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest import MonkeyPatch
from small_networks import lively, rrdbnet
from torch import Tensor, nn

from otsr import weights
from otsr.datasets import data_dir, phone_crops, photos
from otsr.degradation import families, general
from otsr.degradation.kernels import downsample, gaussian
from otsr.degradation.noise import collect_noise
from otsr.images import read, resize, write


@pytest.fixture
def make_pairs(monkeypatch: MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.syspath_prepend(str(data_dir() / "weights"))
    import make_pairs

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(make_pairs, "COUNTS", dict.fromkeys(make_pairs.COUNTS, 1))
    return make_pairs


@pytest.fixture
def make_general(make_pairs: Any) -> Any:
    return importlib.import_module("make_general")


def teachers(make_pairs: Any, bold: float, clean: float) -> Any:
    """Networks that enlarge bicubically and are brighter than they should be by a number, judged by their pixels."""

    def brighter(shift: float) -> Callable[[Tensor], Tensor]:
        return lambda lr: resize(lr, 4) + shift

    made = object.__new__(make_pairs.Teachers)
    made.device, made.vgg = torch.device("cpu"), lambda picture: {"pixels": picture}
    made.bold, made.clean, made.fine, made.mild = map(brighter, (bold, clean, -0.1, 0.0))
    return made


def test_of_two_teachers_the_second_is_taken_where_it_is_clearly_closer(make_pairs: Any) -> None:
    lr = torch.full((3, 24, 24), 0.5)
    hr = resize(lr, 4)
    bold, clean = teachers(make_pairs, 0.2, 0.1).choose(lr, hr)
    assert clean is not None and float(clean.mean()) == pytest.approx(0.6, abs=1e-3)
    assert float(bold.mean()) == pytest.approx(0.7, abs=1e-3)
    assert teachers(make_pairs, 0.2, 0.19).choose(lr, hr)[1] is None  # closer, but not clearly


def test_the_goal_is_the_photo_or_a_teachers_picture_of_its_lr(make_pairs: Any, monkeypatch: MonkeyPatch) -> None:
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

    def pair(name: str) -> list[Tensor]:
        folder, file = name.split("/")
        return [read(f"{folder}/{kind}/{file}.png") for kind in ("LR", "HR")]

    close = functools.partial(torch.testing.assert_close, atol=0.6 / 255, rtol=0)
    close(pair("pairs/000003")[1], read("pairs/TRUTH/000003.png"))
    brighter = {"pairs/000002": 0.3, "pairs_plain/c0003": 0.0}
    for folder in ("pairs_plain", "pairs_fine"):
        brighter |= {f"{folder}/0002": 0.3, f"{folder}/0003": 0.1}
    for name, shift in brighter.items():
        lr, goal = pair(name)
        close(goal, (resize(lr, 4) + shift).clamp(0, 1))
    lr, goal = pair("pairs_sharper/000002")
    assert float((resize(goal - resize(lr, 4), 1 / 8)).abs().mean()) < 0.05  # HR's colours, not 0.3 brighter
    for folder in ("pairs_sharper", "pairs_fine"):
        lr, goal = pair(f"{folder}/c0003")
        close(goal, made.of_clean(lr))
        assert pair(f"{folder}/p0003")[1].shape == goal.shape


def test_where_a_clean_crop_is_flat_its_goal_is_the_bold_teachers_picture_held_to_lr(make_pairs: Any) -> None:
    made = teachers(make_pairs, 0.3, 0.0)
    flat = torch.full((3, 32, 32), 0.5)
    texture = flat + 0.1 * torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0)).clamp(-3, 3)
    assert float(make_pairs.busy(flat).max()) == 0 and float(make_pairs.busy(texture).min()) == 1
    for lr, mean in ((flat, 0.5), (texture, 0.45)):  # the bold one is held to 0.5, the fine one has 0.4
        middle = made.of_clean(lr)[:, 32:-32, 32:-32]
        assert float(middle.mean()) == pytest.approx(mean, abs=0.01)


def test_a_third_of_the_clean_crops_stays_clean_and_no_other_changes_much(make_pairs: Any) -> None:
    small = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0))
    lr = resize(small, 8).clamp(0, 1).expand(3, -1, -1)
    draw = random.Random(0)
    moved = [float((make_pairs.spoiled(lr, draw) - lr).abs().mean()) for _ in range(60)]
    assert 10 <= moved.count(0.0) <= 30 and max(moved) < 8 / 255


def test_a_shade_with_noise_is_to_become_the_shade(make_pairs: Any) -> None:
    photo, pool = read(photos("train")[0])[:, :48, :48], collect_noise(phone_crops())
    shade = downsample(photo, gaussian(31, 6.0**2), 1)
    for seed in range(6):
        lr, hr = make_pairs.shaded(photo, random.Random(seed), pool)
        small = resize(hr, 1 / 4)
        brightness = float((small / shade).mean())
        assert hr.shape == (3, 192, 192) and 0.1 <= brightness <= 1.01
        torch.testing.assert_close(small, brightness * shade, atol=0.6 / 255, rtol=0.01)
        assert 0.1 / 255 < float((small - lr).std()) < 8 / 255


def test_shipped_weights_are_the_mean_of_the_runs_and_go_beyond_it(
    make_general: Any, monkeypatch: MonkeyPatch, tmp_path: Path
) -> None:
    network = rrdbnet()

    def run(name: str, value: float) -> Path:
        for weight in network.parameters():
            weight.data.fill_(value)
        (tmp_path / name).mkdir()
        weights.save(network, tmp_path / name / "last.safetensors", {"recipe": name})
        return tmp_path / name

    def plus_one(network: nn.Module, crops: Path) -> None:  # the last step, seen in the weights
        for weight in network.parameters():
            weight.data.add_(1)

    monkeypatch.setattr(make_general, "START", str(run("psnr", 1.0) / "last.safetensors"))
    monkeypatch.setattr(make_general, "without_weave", plus_one)
    made = make_general.moved_on([run("a", 2.0), run("b", 4.0)], tmp_path)
    assert weights.read_metadata(made)["recipe"] == "a"
    for weight in weights.load(made).parameters():
        torch.testing.assert_close(weight, torch.full_like(weight, 1 + make_general.BEYOND * (3 - 1) + 1))


def test_weave_is_what_alternates_from_pixel_to_pixel_and_no_edge(make_general: Any) -> None:
    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    board = (1.0 - 2 * ((rows + columns) % 2)).expand(1, 3, 24, 24)
    torch.testing.assert_close(make_general.weave(board), board)
    for plain in (
        1.0 - 2 * (rows % 2),
        1.0 * (columns > 11),
        torch.sin(columns / 2),
    ):  # stripes, an edge, a wave
        assert float(make_general.weave(plain.expand(1, 3, 24, 24)).abs().max()) < 1e-5


def test_the_layers_that_enlarge_learn_to_draw_the_same_without_weave(
    make_general: Any, monkeypatch: MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(make_general, "BATCH", 2)
    monkeypatch.setattr(make_general, "RATE", 4e-3)
    photo = read(photos("train")[0])
    for number in range(4):
        write(tmp_path / f"{number}.png", photo[:, 40 * number :][:, :24, :24])
    network, board = lively(rrdbnet()), torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, -1.0, 1.0]])
    lr = photo[None, :, 200:232, 100:132]
    with torch.no_grad():
        network.last.weight += 2 * network.last.weight.abs().mean() * board
        before, trunk = network(lr), copy.deepcopy(network.trunk)
    make_general.without_weave(network, tmp_path, steps=100)
    after, weave = network(lr), make_general.weave
    assert all(map(torch.equal, network.trunk.parameters(), trunk.parameters()))
    assert float(weave(after).abs().mean()) < 0.75 * float(weave(before).abs().mean())
    plain = before - weave(before)
    assert float((after - plain).abs().mean()) < 0.1 * float(plain.std())
