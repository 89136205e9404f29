"""Transport maps learned from samples: max–min neural optimal transport, and the map in a WGAN-QC critic's gradient.

With c(x, y) = K/2 ‖x − y‖² and two networks, the potential f and the map T, Kantorovich's dual is a game:
    sup_f inf_T  E_x [c(x, T(x)) − f(T(x))] + E_y f(y).
T finds the minimum in the c-transform of f; at the saddle point T is the optimal map. A WGAN-QC critic D is fitted to
the exact potentials of small batches instead; T(x) = x + ∇D(x)/K is then the map, and carries the bias of the batches.

>>> x = torch.tensor([[-2.0], [-1.0], [0.0], [1.0], [2.0]])
>>> round(l2_uvp(lambda x: x + 1, lambda x: 2 * x + 1, x))  # a shift where the truth stretches too: a quarter is missed
25

Reference: Korotin et al., "Neural optimal transport", ICLR 2023, arXiv 2201.12220, and "Do neural optimal transport
solvers work?", NeurIPS 2021, arXiv 2106.01954 (there [MM:R], its error measure, and the verdict on WGAN-QC's map).
"""

import copy
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from otsr.transport.critic import critic_loss, regularity_loss
from otsr.transport.discrete import potentials, quadratic_cost

Sampler = Callable[[int, torch.Generator], Tensor]  # how many, randomness -> (n, d) float32
Map = Callable[[Tensor], Tensor]  # (n, d) -> (n, d)

_BETAS, _RATE = (0.5, 0.9), 1e-3  # of Adam: little momentum, both players' targets move
_MAP_STEPS = 4  # of the map for each of the potential: T must follow f closely


def fit_map(
    sample_source: Sampler, sample_target: Sampler, dim: int, *,
    steps: int = 1500, batch: int = 256, width: int = 128, seed: int = 0,
) -> Map:  # fmt: skip
    """Learn the optimal map of the quadratic cost (K = 1/dim) from samples, by the max–min game.

    The map starts as the identity, and both learning rates end at 0, so that the players stop circling. The answer is
    the average of the map's weights along the game, most of it of the last tenth: the last map alone depends so much on
    the last batches that a rounding error at the start doubles or halves its distance to the target.

    Args:
        sample_source, sample_target: called with a number of samples and a generator, return (n, dim) float32.
        steps: of the potential; the map takes four for each.
        batch: fresh samples a step.
        width: of both networks, three layers each.
        seed: of networks and samples; the same seed gives the same map on one machine.
    """
    generator = torch.Generator().manual_seed(seed)
    shift, potential = _network(dim, width, dim, generator), _network(dim, width, 1, generator)
    for parameter in shift[-1].parameters():
        nn.init.zeros_(parameter)  # T(x) = x + shift(x) is at first the identity
    of_map, of_potential = (torch.optim.Adam(net.parameters(), _RATE, _BETAS) for net in (shift, potential))
    average = copy.deepcopy(shift).requires_grad_(False)
    for step in range(steps):
        for optimiser in (of_map, of_potential):
            _decay(optimiser, step, steps)
        potential.requires_grad_(False)
        for _ in range(_MAP_STEPS):
            x = sample_source(batch, generator)
            moved = x + shift(x)
            cost = (x - moved).square().mean() / 2  # a mean over samples and their dim values: K = 1/dim
            _descend(of_map, cost - potential(moved).mean())
        potential.requires_grad_(True)
        x, y = sample_source(batch, generator), sample_target(batch, generator)
        with torch.no_grad():
            moved = x + shift(x)
        _descend(of_potential, potential(moved).mean() - potential(y).mean())
        with torch.no_grad():  # polynomial-decay average: Shamir and Zhang, ICML 2013, arXiv 1212.1824
            for mean, new in zip(average.parameters(), shift.parameters(), strict=True):
                mean.lerp_(new, 9 / (10 + step))
    return lambda x: x + average(x)


def fit_critic_map(
    sample_source: Sampler, sample_target: Sampler, dim: int, *,
    steps: int = 1500, batch: int = 64, width: int = 128, seed: int = 0,
) -> Map:  # fmt: skip
    """Fit a WGAN-QC critic D to the exact potentials of batches; the map is T(x) = x + ∇D(x)/K, with K = 1/dim.

    The batch's plan is not the plan: between two batches of the same distribution it costs much more than 0, the
    more so the higher the dimension, and what D learns is the average of such plans.

    Reference: Liu, Gu, Samaras, ICCV 2019, doi 10.1109/ICCV.2019.00493.
    """
    generator = torch.Generator().manual_seed(seed)
    critic, K = _network(dim, width, 1, generator), 1 / dim
    optimiser = torch.optim.Adam(critic.parameters(), _RATE, _BETAS)
    for step in range(steps):
        _decay(optimiser, step, steps)
        real, fake = sample_target(batch, generator), sample_source(batch, generator).requires_grad_()
        labels = potentials(quadratic_cost(real, fake.detach()))
        scores = critic(fake)
        loss = critic_loss(critic(real), scores, labels) + regularity_loss(fake, scores, real, labels.plan)
        _descend(optimiser, loss)

    def climb(x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(critic(x).sum(), x)
        return x.detach() + gradient / K

    return climb


def l2_uvp(found: Map, truth: Map, samples: Tensor) -> float:
    """Unexplained variance of a map in percent: 100 · E ‖T(x) − T*(x)‖² / Var(T*(x)).

    0 is the truth; 100 is the error of sending every x to the mean of the target.

    Args:
        found, truth: T and T*, (n, d) -> (n, d).
        samples: (n, d) of the source, not those that the map was fitted to.
    """
    expected = truth(samples).double()
    error = (found(samples).double() - expected).square().sum(1).mean()
    return float(100 * error / expected.var(0, correction=0).sum())


def _network(dim: int, width: int, out: int, generator: torch.Generator) -> nn.Sequential:
    """Three layers with a smooth activation; weights drawn from `generator`, not from torch's global one."""
    sizes = (dim, width, width, out)
    layers = [nn.utils.skip_init(nn.Linear, before, after) for before, after in pairwise(sizes)]
    for layer in layers:
        nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=generator)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.SiLU(), layers[1], nn.SiLU(), layers[2])


def _decay(optimiser: torch.optim.Optimizer, step: int, steps: int) -> None:
    """The whole rate for the first half, then falling linearly to 0."""
    optimiser.param_groups[0]["lr"] = _RATE * min(1.0, 2 * (1 - step / steps))


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    if not loss.isfinite():
        raise ValueError(f"the loss is {loss.item()}: are all samples finite?")
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
