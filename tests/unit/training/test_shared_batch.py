"""Two processes that share a batch compute what one does of the whole: labels, pull on fakes, gradient of the critic.

The processes are threads here, each with an adversary of its own and an accelerator that waits for the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from otsr.training import load_config
from otsr.training.adversary import Adversary

RECIPE = Path(__file__).parents[3] / "configs" / "tiny.yml"
KINDS = ("gan", "ragan", "wgan-qc")


def images(seed: int, count: int = 4) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def accelerators(count: int) -> list[Any]:
    """As many accelerators as processes; `gather` and `reduce` wait for all."""
    barrier = threading.Barrier(count, timeout=60)
    given: list[Tensor] = [torch.zeros(0)] * count

    def exchange(process: int, value: Tensor, join: Callable[[list[Tensor]], Tensor]) -> Tensor:
        given[process] = value
        barrier.wait()
        joined = join(list(given))
        barrier.wait()
        return joined

    def accelerator(process: int) -> SimpleNamespace:
        return SimpleNamespace(
            num_processes=count,
            process_index=process,
            device=torch.device("cpu"),
            gather=lambda value: exchange(process, value, torch.cat),
            reduce=lambda value, kind: exchange(process, value, lambda all_: torch.stack(all_).mean(0)),
        )

    return [accelerator(process) for process in range(count)]


def outcomes(processes: int, kind: str, *settings: str) -> list[tuple[Adversary, Tensor]]:
    """For each process its adversary after a step, and the gradient that its pictures got."""
    config = load_config(
        RECIPE,
        [
            f"losses.gan={{weight: 0.5, kind: {kind}}}", "critic={name: patch, nf: 8}",
            "data.crop=32", "data.batch=4", "losses.transport.weight=0", *settings,
        ],
    )  # fmt: skip

    def one(judge: Adversary) -> tuple[Adversary, Tensor]:
        index = judge.accelerator.process_index
        part = slice(index * 4 // processes, (index + 1) * 4 // processes)
        sr = images(1)[part].requires_grad_()
        term = judge.step(sr, images(2)[part], 3)
        (gradient,) = torch.autograd.grad(term, sr)
        return judge, gradient

    with ThreadPoolExecutor(processes) as pool:
        # Built one after the other: threads share the generator that draws the critic's first weights.
        return list(pool.map(one, [Adversary(config, each) for each in accelerators(processes)]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "settings", [(), ("losses.gan.space=patches", "losses.gan.patch=12")], ids=["images", "patches"]
)
def test_two_processes_compute_what_one_does_of_the_whole_batch(kind: str, settings: tuple[str, ...]) -> None:
    ((whole, expected),) = outcomes(1, kind, *settings)
    halves = outcomes(2, kind, *settings)
    # A training averages the generator's gradients over processes, hence the division.
    found = torch.cat([gradient for _, gradient in halves]) / 2
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)
    for judge, _ in halves:
        for mine, wanted in zip(judge.critic.parameters(), whole.critic.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, wanted.grad, rtol=1e-3, atol=1e-6)


def test_the_transport_problem_is_that_of_the_whole_batch() -> None:
    ((whole, _),) = outcomes(1, "wgan-qc")
    for judge, _ in outcomes(2, "wgan-qc"):
        assert judge.plan is not None and whole.plan is not None and judge.plan.shape == (4, 4)
        torch.testing.assert_close(judge.plan, whole.plan)
        torch.testing.assert_close(judge.log["transport cost"], whole.log["transport cost"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_that_is_followed_does_not_grow_with_the_number_of_processes(kind: str) -> None:
    ((whole, _),) = outcomes(1, kind)
    losses = [judge.log["loss"] for judge, _ in outcomes(2, kind)]
    torch.testing.assert_close(torch.stack(losses).mean(), whole.log["loss"], rtol=1e-4, atol=1e-6)
