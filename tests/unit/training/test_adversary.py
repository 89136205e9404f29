"""The adversary's shared pass against separate passes written out; its samples; processes that share a batch."""

import copy
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from small_training import CONFIGS
from torch import Tensor, nn

from otsr.training import Config, ConfigError, load_config
from otsr.training.adversary import Adversary
from otsr.transport import critic_loss, potentials, quadratic_cost, regularity_loss

KINDS = ("gan", "ragan", "wgan-qc")
every_kind = pytest.mark.parametrize("kind", KINDS)


def recipe(*settings: str, kind: str = "ragan", crop: int = 32) -> Config:
    gan = f"losses.gan={{weight: 0.5, kind: {kind}}}"
    own = [gan, "critic={name: patch, nf: 8}", f"data.crop={crop}", "losses.transport.weight=0"]
    return load_config(CONFIGS / "tiny.yml", [*own, *settings])


def adversary(*settings: str, kind: str = "ragan", crop: int = 32) -> Adversary:
    return Adversary(recipe(*settings, kind=kind, crop=crop), Accelerator(cpu=True))


def images(seed: int, count: int = 3, side: int = 32) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def naive(judge: Adversary, sr: Tensor, hr: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Gradients of the generator's and the critic's loss, by separate passes of formulas as published."""
    kind, critic = judge.gan.kind, copy.deepcopy(judge.critic)
    yes = nn.functional.softplus

    def score(x: Tensor) -> Tensor:
        scores = critic(2 * x - 1)
        return scores.flatten(1).mean(1) if kind == "wgan-qc" else scores

    fake = sr.detach().requires_grad_()
    x, y = score(fake), score(hr)
    relative = (yes(-(x - y.mean())).mean() + yes(y - x.mean()).mean()) / 2
    pull = {"gan": yes(-x).mean(), "ragan": relative, "wgan-qc": -x.mean()}[kind]
    (generator_gradient,) = torch.autograd.grad(pull, fake)

    x, y = score(sr.detach()), score(hr)
    if kind == "gan":
        loss = (yes(-y).mean() + yes(x).mean()) / 2
    elif kind == "ragan":
        loss = (yes(-(y - x.mean())).mean() + yes(x - y.mean()).mean()) / 2
    else:
        real, leaf = 2 * hr - 1, (2 * sr.detach() - 1).requires_grad_()
        labels = potentials(quadratic_cost(real, leaf.detach(), 0.01))
        scores = critic(leaf).flatten(1).mean(1)
        loss = critic_loss(y, x, labels) + regularity_loss(leaf, scores, real, labels.plan, 0.01, 0.7)
    return generator_gradient, list(torch.autograd.grad(loss, list(critic.parameters())))


@every_kind
def test_one_shared_pass_gives_the_gradients_of_separate_passes(kind: str) -> None:
    judge = adversary("losses.gan.K=0.01", "losses.gan.gamma=0.7", kind=kind)
    sr, hr = images(1).requires_grad_(), images(2)
    expected, of_critic = naive(judge, sr, hr)
    (gradient,) = torch.autograd.grad(judge.step(sr, hr, 0), sr)
    torch.testing.assert_close(gradient, 0.5 * expected, rtol=1e-4, atol=4e-9)  # 1.2e-9 with torch 2.4
    for parameter, wanted in zip(judge.critic.parameters(), of_critic, strict=True):
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "setting", "steps"),
    [
        ("gan", "critic={name: vgg, nf: 8}", 0),
        ("ragan", "losses.gan={weight: 0.5, space: patches, patch: 16}", 0),
        ("wgan-qc", "losses.gan.ratio=3", 2),
    ],
)
def test_the_critic_takes_the_steps_of_the_ratio_but_the_last_which_waits_for_the_trainer(
    kind: str, setting: str, steps: int
) -> None:
    judge, taken = adversary(setting, kind=kind), []
    judge.optimiser.register_step_post_hook(lambda *_: taken.append(1))
    sr = images(1).requires_grad_()
    (gradient,) = torch.autograd.grad(judge.step(sr, images(2), 5), sr)
    assert len(taken) == steps
    assert bool(gradient.isfinite().all()) and float(gradient.abs().max()) > 0
    assert float(judge.log["gradient"]) > 0


def test_a_critic_in_16_bits_is_judged_with_the_weights_that_its_last_step_left() -> None:
    judge = adversary("losses.gan.ratio=2", "optimiser.critic_lr=0.01")
    judge.step(images(1).requires_grad_(), images(2), 0, torch.bfloat16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert judge.log["real"] == judge.critic(2 * images(2) - 1).float().mean()


def test_before_its_start_the_term_is_nothing_and_the_critic_learns() -> None:
    judge = adversary("losses.gan.start=4")
    before = copy.deepcopy(judge.critic.state_dict())
    sr = images(1).requires_grad_()
    nothing = judge.step(sr, images(2), 3)
    nothing.backward()  # as a recipe needs that has no other term
    assert float(nothing.detach()) == 0 and sr.grad is not None and not sr.grad.any()
    judge.optimiser.step()
    assert any(not torch.equal(before[key], value) for key, value in judge.critic.state_dict().items())
    assert float(judge.step(images(1).requires_grad_(), images(2), 4).detach()) != 0


def test_the_plan_of_a_paired_batch_is_the_identity_and_of_another_it_is_not() -> None:
    judge = adversary(kind="wgan-qc")
    hr = images(2)
    near = (hr + 0.1 * (images(3) - 0.5)).requires_grad_()
    judge.step(near, hr, 0)
    torch.testing.assert_close(judge.plan.float(), torch.eye(3) / 3)
    judge.step(near, hr[[2, 0, 1]], 0)
    assert float(judge.plan.diagonal().sum()) < 1e-6


@every_kind
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_reaches_the_loss_and_no_solver(kind: str, value: float) -> None:
    judge, sr = adversary(kind=kind), images(1)
    sr[1, 0, 0, 0] = value
    judge.step(sr.requires_grad_(), images(2), 0)
    assert not math.isfinite(float(judge.log["loss"]))


def test_patches_tile_the_crop_from_an_origin_that_belongs_to_the_step() -> None:
    judge = adversary("losses.gan.space=patches", "losses.gan.patch=12")
    maps = torch.arange(32.0 * 32).view(1, 1, 32, 32)
    tiles = judge._samples(maps, 0, 0)
    assert tiles.shape == (4, 1, 12, 12) and tiles.unique().numel() == 4 * 144
    assert float(tiles[1, 0, 0, 0] - tiles[0, 0, 0, 0]) == 2 * 12  # [0, 1] becomes [-1, 1]
    assert torch.equal(tiles, judge._samples(maps, 0, 0))
    origins = {float(judge._samples(maps, step, 0)[0, 0, 0, 0]) for step in range(20)}
    assert len(origins) > 5


def test_reals_and_fakes_are_cut_from_origins_of_their_own() -> None:
    """So a real and a fake patch of one scene, which plan and critic could match place by place, hardly ever meet."""
    judge, seen = adversary("losses.gan.space=patches", "losses.gan.patch=12"), list[Tensor]()
    judge.critic.register_forward_hook(lambda _, inputs, scores: seen.append(inputs[0].detach()))
    for step in range(4):
        judge.step(images(1).requires_grad_(), images(1), step)
    assert sum(map(torch.equal, seen[::2], seen[1::2])) < 3


def test_the_critic_is_drawn_by_the_recipes_seed_and_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    weights = [adversary(f"seed={seed}").critic.body[0].weight for seed in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_critic_and_adam_are_the_recipes_and_layers_that_it_leaves_out_fit_the_samples() -> None:
    for patch, strides in ((32, 2), (16, 1), (8, 0)):
        judge = adversary("losses.gan.space=patches", f"losses.gan.patch={patch}")
        assert sum(getattr(layer, "stride", None) == (2, 2) for layer in judge.critic.body) == strides
    with pytest.raises(ConfigError, match=r"critic\.layers is 5, but 16 pixels cannot be halved so often"):
        adversary("critic.layers=5", crop=16)
    (group,) = adversary("optimiser={critic_lr: 3e-4, betas: [0.5, 0.8]}").optimiser.param_groups
    assert (group["lr"], tuple(group["betas"])) == (3e-4, (0.5, 0.8))


def test_an_experiment_may_show_the_critic_something_else_and_its_patches_shrink_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Adversary, "_maps", lambda self, images: nn.functional.avg_pool2d(images, 8))
    judge = adversary("losses.gan.space=patches", "losses.gan.patch=16", crop=64)
    assert judge._samples(images(0, side=64), 0, 0).shape == (48, 3, 2, 2)


# --- processes that share a batch; here threads, with accelerators that wait for each other


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

    return [
        SimpleNamespace(
            num_processes=count, process_index=process, device=torch.device("cpu"),
            gather=partial(exchange, process, join=torch.cat),
            reduce=lambda value, _, process=process: exchange(process, value, lambda all_: torch.stack(all_).mean(0)),
        )
        for process in range(count)
    ]  # fmt: skip


def outcomes(processes: int, config: Config) -> list[tuple[Adversary, Tensor]]:
    """For each process its adversary after a step, and the gradient that its pictures got."""

    def one(judge: Adversary) -> tuple[Adversary, Tensor]:
        index = judge.accelerator.process_index
        part = slice(index * 4 // processes, (index + 1) * 4 // processes)
        sr = images(1, 4)[part].requires_grad_()
        (gradient,) = torch.autograd.grad(judge.step(sr, images(2, 4)[part], 3), sr)
        return judge, gradient

    with ThreadPoolExecutor(processes) as pool:
        # Built one after the other: threads share the generator that draws the critic's first weights.
        return list(pool.map(one, [Adversary(config, each) for each in accelerators(processes)]))


@every_kind
@pytest.mark.parametrize("space", ["images", "patches"])
def test_two_processes_compute_what_one_does_of_the_whole_batch(kind: str, space: str) -> None:
    """Labels, pull on the fakes, gradient of the critic, and a loss that does not grow with their number."""
    config = recipe(f"losses.gan.space={space}", "losses.gan.patch=12", kind=kind)
    ((whole, expected),) = outcomes(1, config)
    halves = outcomes(2, config)
    # A training averages the generator's gradients over processes, hence the division.
    found = torch.cat([gradient for _, gradient in halves]) / 2
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)
    for judge, _ in halves:
        for mine, wanted in zip(judge.critic.parameters(), whole.critic.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, wanted.grad, rtol=1e-3, atol=1e-6)
        if kind == "wgan-qc":
            torch.testing.assert_close(judge.plan, whole.plan)
            torch.testing.assert_close(judge.log["transport cost"], whole.log["transport cost"])
    losses = torch.stack([judge.log["loss"] for judge, _ in halves])
    torch.testing.assert_close(losses.mean(), whole.log["loss"], rtol=1e-4, atol=1e-6)
