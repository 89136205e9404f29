"""WGAN-QC: a critic that learns the optimal potential of the quadratic cost, and the losses that teach it.

The critic D is fitted to the potentials of each batch (exact transport, `discrete.potentials`), and its gradient at a
fake to the slope that the optimal potential has there. With c(x, y) = K/2 ‖x − y‖² that slope is K (ŷ(x) − x), where
ŷ(x) is the plan's image of x: the generator, following ∇D, moves its output where transport would.

>>> from otsr.transport.discrete import potentials, quadratic_cost
>>> real, fake = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]]), torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0]])
>>> labels = potentials(quadratic_cost(real, fake))
>>> round(float(critic_loss(labels.real, labels.fake, labels)), 3)  # a perfect critic
0.0
>>> fake.requires_grad_().shape  # every real lies 1 to the right, so the potential has the slope 1
torch.Size([5, 1])
>>> [round(float(regularity_loss(fake, slope * fake.sum(1), real, labels.plan)), 2) for slope in (0, 1, 2)]
[0.2, 0.0, 0.2]

Reference: Liu, Gu, Samaras, "Wasserstein GAN with quadratic transport cost", ICCV 2019, doi 10.1109/ICCV.2019.00493.
"""

import torch
from torch import Tensor

from otsr.transport.discrete import Potentials, barycentric_map


def critic_loss(real_scores: Tensor, fake_scores: Tensor, labels: Potentials) -> Tensor:
    """½ (mean D(y) − mean h)² + ½ mean_i (D(x_i) − g_i)².

    On the reals only the mean is fitted: beyond the batch, the potential of a real may lie anywhere below h.

    Args:
        real_scores, fake_scores: (n,) and (m,), or (n, 1) and (m, 1): D(y_j) and D(x_i).
        labels: potentials of the same batch.

    Raises:
        ValueError: not one score a sample.
    """
    y, x = _scores(real_scores, len(labels.real), "real"), _scores(fake_scores, len(labels.fake), "fake")
    return (y.mean() - labels.real.to(y).mean()).square() / 2 + (x - labels.fake.to(x)).square().mean() / 2


def regularity_loss(
    fake: Tensor, fake_scores: Tensor, real: Tensor, plan: Tensor, K: float | None = None, gamma: float = 0.4,
    gradient: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """γ/(2√K) · mean_i (‖∇D(x_i)‖ − K ‖ŷ(x_i) − x_i‖)²: the critic's slope at a fake is that of the potential.

    The norms run over all values of a sample. The gradient is taken with a graph, so that the loss can be minimised in
    the critic's weights.

    Args:
        fake: (m, …), the critic's input; requires grad.
        fake_scores: (m,) or (m, 1), the critic's answer to `fake`, each computed from its own sample alone (no batch
            normalisation: with it the gradient of one score reaches all samples).
        real: (n, …).
        plan: (n, m), from `potentials`.
        K: as in the cost; 1/dim by default.
        gamma: γ, the weight of the term.
        gradient: ∇D(x_i) with its graph, of fake's shape, if the caller has it already.
    """
    scores = _scores(fake_scores, len(fake), "fake")
    K = 1 / fake[0].numel() if K is None else K
    if gradient is None:
        (gradient,) = torch.autograd.grad(scores.sum(), fake, create_graph=True)
    # The root of 0 has no gradient; 1e-30 is far below any slope that matters.
    slope = gradient.flatten(1).float().square().sum(1).add(1e-30).sqrt()
    with torch.no_grad():
        step = (barycentric_map(plan, real) - fake).flatten(1).float().norm(dim=1)
    return gamma / (2 * K**0.5) * (slope - K * step).square().mean()


def generator_loss(fake_scores: Tensor) -> Tensor:
    """−mean_i D(x_i): up the potential, whatever the scores of the reals are."""
    return -_scores(fake_scores, fake_scores.numel(), "fake").mean()


def _scores(scores: Tensor, count: int, name: str) -> Tensor:
    if tuple(scores.shape) not in ((count,), (count, 1)):
        found = tuple(scores.shape)
        raise ValueError(f"{name} scores have shape {found}, expected one for each of {count} samples")
    return scores.reshape(count).float()
