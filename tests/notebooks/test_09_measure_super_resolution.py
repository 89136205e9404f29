"""What notebook 09 writes from scratch is what the package does, and its claims hold."""

import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from test_style import ROOT
from torch import Tensor

from otsr import images, metrics
from otsr.evaluation import rounded

GLOBALS = ("CHANNELS", "README", "better")


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    drawing = torch.Generator().manual_seed(0)
    hr = torch.rand(3, 40, 56, generator=drawing)
    return (hr + 0.1 * torch.randn(3, 40, 56, generator=drawing)).clamp(0, 1), hr


def test_its_measures_are_the_package_s(written: Any, pair: tuple[Tensor, Tensor]) -> None:
    for channel, border in itertools.product(("rgb", "y"), (0, 4)):
        expected = float(metrics.psnr(*pair, border, channel))
        assert written.psnr(*pair, channel, border) == pytest.approx(expected, abs=1e-4)
    torch.testing.assert_close(written.luma(pair[0]), images.luma(pair[0]))
    wide = 1.4 * pair[0] - 0.2
    torch.testing.assert_close(written.eight_bit(wide), rounded(wide), rtol=0, atol=1e-7)


def test_its_rank_correlation_is_scipy_s(written: Any) -> None:
    drawing = np.random.default_rng(0)
    for count in (2, 6, 15):
        first, second = drawing.permutation(count), drawing.permutation(count)
        expected = stats.kendalltau(first, second).statistic
        assert written.kendall(list(first), list(second)) == pytest.approx(expected)


def test_shuffled_blocks_are_the_same_blocks_elsewhere(written: Any) -> None:
    image = torch.arange(3 * 6 * 9, dtype=torch.float32).view(3, 6, 9)
    shuffled = written.shuffle(image, side=3)
    assert shuffled.shape == image.shape and not torch.equal(shuffled, image)

    def blocks(picture: Tensor) -> set[tuple[float, ...]]:
        return {tuple(picture[:, y : y + 3, x : x + 3].flatten().tolist()) for y in (0, 3) for x in (0, 3, 6)}

    assert blocks(shuffled) == blocks(image)


def test_sharpening_leaves_flat_places_alone_and_steepens_an_edge(written: Any) -> None:
    edge = torch.full((3, 40, 60), 0.4)
    edge[:, :, 30:] = 0.6
    blurred = written.blur(edge, 1.5)
    sharp = written.sharpen(blurred, 1)
    assert float(sharp[:, :, :10].std()) < 1e-6
    assert sharp[0, 0].diff().max() > blurred[0, 0].diff().max()


def test_an_empty_and_a_false_ranking_are_named_and_a_full_one_is_compared(written: Any) -> None:
    agreement = written.agreement
    written.letters = dict(zip("ABC", ("one", "two", "three"), strict=True))
    written.ranks = {metric: ["A", "B", "C"] for metric in written.better}
    assert agreement([]).startswith("no ranking yet")
    assert "each of A, B, C is needed once" in agreement(["A", "B", "B"])
    assert "τ = +1.00" in agreement(["A", "B", "C"])
    assert "τ = -1.00" in agreement(["C", "B", "A"])


def test_the_table_that_it_reproduces_is_that_of_the_benchmarks(written: Any) -> None:
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    table = page.split("<!-- table: quality -->")[1]
    for name, numbers in written.README.items():
        row = re.search(rf"^\| {name} +\| +([\d.]+) \[([\d.]+), ([\d.]+)\]", table, re.MULTILINE)
        assert row, f"benchmarks/README.md has no row {name}"
        assert tuple(map(float, row.groups())) == numbers, "run notebook 09 with the README's numbers"
