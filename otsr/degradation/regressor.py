"""The small network between the statistics of a photo (`spectrum`) and its blur, and the weights it travels with."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DIRECTIONS = 12  # angles d·15°, from x (right) towards y (down)
FEATURES, INVARIANTS = 33, 4  # what `spectrum.features` gives for a direction, and for the image
SHAPES, CELLS, CELL = (
    5,
    21,
    0.3,
)  # patterns of the kernel's shape, their side, and its step in standard deviations
FLOOR = 0.15  # HR pixels²: smaller variances change no taps
WEIGHTS = Path(__file__).with_name("spectrum.json")


class DirectionalRegressor(nn.Module):
    """From statistics in 12 directions to a kernel in LR pixels, with one network for all directions.

    Direction θ sees its own features, those of the direction across, their mean over all directions, and the
    invariants; it answers with o₀, o₁ and the shape. Then log Σ = mean over θ of o₀ I + 2 o₁ (cos 2θ, sin 2θ)-stretch,
    and the shape's mean over θ weighs the patterns. The standard errors come from the same hidden layer, averaged
    over θ, so they do not depend on the angle.

    Attributes:
        patterns: (5, 21, 21), by which kernels differ from the closest Gaussian: on the quarter of the plane where
            both axes are positive, along the axes of Σ, in steps of 0.3 standard deviations.
    """

    directional_mean: Tensor
    directional_scale: Tensor
    invariant_mean: Tensor
    invariant_scale: Tensor
    patterns: Tensor
    stretch: Tensor

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * FEATURES + INVARIANTS, hidden)
        self.answer = nn.Linear(hidden, 2 + SHAPES)
        self.doubt = nn.Linear(hidden, 2)
        for name, size in (("directional", FEATURES), ("invariant", INVARIANTS)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_scale", torch.ones(size))
        self.register_buffer("patterns", torch.zeros(SHAPES, CELLS, CELLS))
        double = 2 * math.pi / DIRECTIONS * torch.arange(DIRECTIONS)
        self.register_buffer("stretch", torch.stack([double.cos(), double.sin()], 1), persistent=False)

    def forward(self, directional: Tensor, invariant: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 12, 33) and (B, 4) → log Σ as (B, 3): size and two stretches; shape (B, 5); logs of errors (B, 2)."""
        x = (directional - self.directional_mean) / self.directional_scale
        y = ((invariant - self.invariant_mean) / self.invariant_scale)[:, None].expand(-1, DIRECTIONS, -1)
        x = torch.cat([x, x.roll(DIRECTIONS // 2, 1), x.mean(1, keepdim=True).expand_as(x), y], 2)
        hidden = self.hidden(x).tanh()
        answer = self.answer(hidden)
        size = answer[..., 0].mean(1, keepdim=True)
        stretch = 2 * (answer[..., 1:2] * self.stretch).mean(1)
        shape = answer[..., 2:].mean(1)
        return torch.cat([size, stretch], 1), shape, self.doubt(hidden.detach().mean(1))

    def density(self, logarithm: Tensor, shape: Tensor, points: Tensor) -> Tensor:
        """Kernels (B, 3), (B, 5) at points (B, P, 2) in LR pixels: a Gaussian plus the weighted patterns, (B, P)."""
        size, along, across = logarithm.unbind(-1)
        length = (along**2 + across**2 + 1e-9).sqrt()
        turn = torch.atan2(across, along + 1e-9) / 2
        cosine, sine = turn.cos()[:, None], turn.sin()[:, None]
        first = (cosine * points[..., 0] + sine * points[..., 1]) * (-(size + length) / 2).exp()[:, None]
        second = (cosine * points[..., 1] - sine * points[..., 0]) * (-(size - length) / 2).exp()[:, None]
        places = torch.stack([first.abs(), second.abs()], -1) * (2 / (CELLS - 1) / CELL) - 1
        pattern = (shape @ self.patterns.flatten(1)).unflatten(1, (1, CELLS, CELLS))
        values = F.grid_sample(pattern, places[:, :, None], align_corners=True)[:, 0, :, 0]
        gaussian = torch.exp(-0.5 * (first**2 + second**2)) / (2 * math.pi)
        return (gaussian + values) * (-size).exp()[:, None]


def covariance_from_log(logarithm: Tensor) -> Tensor:
    """Σ = exp(m I + [[c, q], [q, −c]]) for rows (m, c, q), in closed form: (B, 3) → (B, 2, 2), always positive."""
    size, along, across = logarithm.unbind(-1)
    length = (along**2 + across**2 + 1e-12).sqrt()
    even, odd = size.exp() * length.cosh(), size.exp() * length.sinh() / length
    return torch.stack([even + odd * along, odd * across, odd * across, even - odd * along], -1).unflatten(
        -1, (2, 2)
    )


def log_of_covariance(covariance: Tensor) -> Tensor:
    """(B, 2, 2) → (B, 3): the inverse of `covariance_from_log`."""
    values, vectors = torch.linalg.eigh(covariance)
    log = vectors @ torch.diag_embed(values.clamp_min(1e-3).log()) @ vectors.mT
    size = (log[:, 0, 0] + log[:, 1, 1]) / 2
    return torch.stack([size, log[:, 0, 0] - size, log[:, 0, 1]], 1)


def closest_gaussians(taps: Sequence[Tensor], scales: Tensor) -> Tensor:
    """(N, 3) log covariance, in LR pixels², of the Gaussian with the smallest L2 distance to each kernel."""
    logs = torch.zeros(len(taps), 3)
    order = sorted(range(len(taps)), key=lambda index: taps[index].shape[0])
    for start in range(0, len(order), 128):
        chosen = order[start : start + 128]
        size = taps[chosen[-1]].shape[0]
        stack = torch.stack([F.pad(taps[i], [(size - taps[i].shape[0]) // 2] * 4) for i in chosen])
        line = torch.arange(size) - (size - 1) / 2
        plane = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
        squares = stack.clamp_min(0).square()
        moments = torch.einsum("nyx,yxa,yxb->nab", squares / squares.sum((1, 2), keepdim=True), plane, plane)
        log = log_of_covariance(2 * moments + 0.05 * torch.eye(2)).requires_grad_()
        optimiser = torch.optim.Adam([log], lr=0.04)
        for step in range(120):
            optimiser.param_groups[0]["lr"] = 0.04 if step < 80 else 0.01
            covariance = covariance_from_log(log) + FLOOR * torch.eye(2)
            exponent = torch.einsum("yxa,nab,yxb->nyx", plane, torch.linalg.inv(covariance), plane)
            gaussian = torch.softmax(-0.5 * exponent.flatten(1), 1).view_as(stack)
            loss = ((gaussian - stack).square().sum((1, 2)) / stack.square().sum((1, 2))).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        covariance = covariance_from_log(log.detach()) + FLOOR * torch.eye(2)
        logs[chosen] = log_of_covariance(covariance / scales[chosen, None, None] ** 2)
    return logs


@lru_cache(maxsize=1)
def stored_network() -> DirectionalRegressor:
    """The network with the weights that the package carries."""
    network = DirectionalRegressor()
    stored = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    network.load_state_dict({name: torch.tensor(values) for name, values in stored["weights"].items()})
    return network.eval().requires_grad_(False)
