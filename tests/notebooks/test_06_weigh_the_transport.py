"""What notebook 06 writes from scratch is what the package does, and its claims hold."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from otsr import weights
from otsr.networks.generators import RRDBNet
from otsr.transport import bures_wasserstein, gaussian_map, wasserstein_1d
from otsr.transport.gaussian import moments


def samples(dim: int, rank: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(rank, dim, generator=generator, dtype=torch.float64)
    return torch.randn(500, rank, generator=generator, dtype=torch.float64) @ mix + seed


@pytest.mark.parametrize("rank", [6, 4], ids=["regular", "degenerate"])
def test_its_transport_between_gaussians_is_the_package_s(written: Any, rank: int) -> None:
    pair = moments(samples(6, rank, 1)), moments(samples(6, 6, 2))
    for ours, theirs in zip(written.moments(samples(6, rank, 1)), pair[0], strict=True):
        torch.testing.assert_close(ours, theirs)
    matrix, noise = written.gaussian_transport(*pair)
    theirs = gaussian_map(*pair)
    torch.testing.assert_close(matrix, theirs.matrix, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(noise, theirs.noise, rtol=1e-6, atol=1e-6)
    expected = bures_wasserstein(*pair).sqrt()
    torch.testing.assert_close(written.gaussian_w2(*pair), expected, rtol=1e-6, atol=1e-8)


def test_its_distance_on_the_line_is_the_package_s(written: Any) -> None:
    first, second = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(written.w2_squared(first, second), wasserstein_1d(first, second, p=2))


@pytest.mark.parametrize("number", ["06", "11"])
def test_its_best_guess_cannot_be_improved_and_its_psnr_is_right(definitions: Callable, number: str) -> None:
    truth, seen = samples(6, 6, 1), samples(4, 4, 2)
    theirs = definitions(number, "LENS")
    error = theirs.best_guess(truth, seen)(seen) - truth
    centred = seen - seen.mean(0)
    torch.testing.assert_close(centred.T @ error, torch.zeros(4, 6, dtype=torch.float64), atol=1e-8, rtol=0)
    assert theirs.psnr(torch.full((4,), 0.1), torch.zeros(4)) == pytest.approx(20, abs=1e-4)


def test_its_blend_is_the_package_s(written: Any) -> None:
    torch.manual_seed(0)
    first, second = (RRDBNet(nf=4, nb=1, gc=2).eval() for _ in range(2))
    picture = torch.rand(1, 3, 6, 6)
    ours = written.enlarge(written.blend(first, second, 0.3), picture)
    torch.testing.assert_close(ours, written.enlarge(weights.blend(first, second, 0.3), picture))


def test_votes_are_counted_and_missing_ones_are_named(written: Any) -> None:
    tally, view = written.tally, torch.zeros(3, 16, 16)
    written.truth = torch.full((1, 3, 16, 16), 0.4)
    ballot = [("koala", 0, (0.0, 1.0), [view + 0.5, view]), ("dog", None, (0.8, 0.4), [view, view])]
    assert tally([], ballot).startswith("no votes yet")
    assert "2 letters are needed" in tally(["A"], ballot) and "each A or B" in tally(["A", "C"], ballot)
    first, second, last = tally(["A", "A"], ballot).splitlines()
    assert first.endswith("you chose weight 0.0 over 1.0, nearer to the photo")
    assert second.endswith("you chose weight 0.8 over 0.4")
    assert last == "more transport: 1 of 2; nearer in PSNR: 1 of 1"
    assert "further from the photo" in tally(["B", "A"], ballot)
