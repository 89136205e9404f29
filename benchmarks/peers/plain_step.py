"""One training step as the published code takes it, in plain PyTorch; `training_step.py` measures ours beside it.

The order is that of `SRGANModel.optimize_parameters` of OTSR: G's loss with its own passes of the critic, then D's with
passes of their own, a graph kept for nothing, a backward pass through the penalty's gradient. The formulas are given
apart: those of the published code, or ours, with which the step must give the gradients of our trainer.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from otsr.networks.critics import VGGCritic
from otsr.networks.perceptual import VGG
from otsr.training.batches import Batch
from otsr.training.checkpoints import starting_generator
from otsr.training.losses import edge_distance, feature_distance
from otsr.training.schema import Config
from otsr.transport import potentials, quadratic_cost


class Clock:
    """Adds up seconds by part of a step, on a CPU those of the processor.

    Parts nest; the time of an inner one is not that of the outer one.
    """

    def __init__(self, device: torch.device, running: bool) -> None:
        self.device, self.running = device, running
        self.seconds: dict[str, float] = defaultdict(float)
        self._parts: list[str] = []
        self._since = 0.0

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        self._stop()
        self._parts.append(part)
        yield
        self._stop()
        self._parts.pop()

    def turn_to(self, part: str) -> None:
        """What follows belongs to another part."""
        self._stop()
        if self.running:
            self._parts[-1] = part

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*arguments: Any, **more: Any) -> Any:
            with self(part):
                return function(*arguments, **more)

        return timed

    def _stop(self) -> None:
        if not self.running:
            return
        wait_for(self.device)
        now = time.perf_counter() if self.device.type == "cuda" else time.process_time()
        if self._parts:
            self.seconds[self._parts[-1]] += now - self._since
        self._since = now


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def vgg19() -> VGG:
    """Of random weights, the same at each call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VGG((2, 2, 4, 4, 4), ("conv5_4",), shift_tolerant=False).requires_grad_(False).eval()


class Rules(NamedTuple):
    """The formulas of a step. How they are computed is the same for all: as the published code does."""

    judged: Callable[[Tensor], Tensor]  # what the critic sees of pictures
    features: Callable[[Tensor, Tensor], Tensor]  # (fake, real)
    edges: Callable[[Tensor, Tensor], Tensor]
    pull: Callable[[Tensor, Tensor], Tensor]  # the generator's term, of the scores of fakes and reals
    labels: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]  # of reals, of fakes; where each fake goes
    fit: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # scores of reals and fakes, labels of reals and fakes
    penalty: Callable[[Tensor, Tensor], Tensor]  # of the critic's slope and of the way to go, (n, 3, h, w)


class Plain:
    """Networks, and one step as the published code takes it."""

    def __init__(self, config: Config, rules: Rules, device: torch.device) -> None:
        crop, critic = config.data.crop, config.critic
        assert critic is not None
        self.device, self.rules = device, rules
        self.generator = starting_generator(config).to(device)
        torch.manual_seed(config.seed)
        self.critic = VGGCritic(crop, 3, critic.nf, "none").to(device)
        parts: list[nn.Module] = []
        for name, convolution in vgg19().convolutions.items():
            if name.endswith("_1") and name != "1_1":
                parts.append(nn.MaxPool2d(2))
            parts += [convolution, nn.ReLU()]
        self.features = nn.Sequential(*parts[:-1]).to(device)
        self.mean, self.deviation = (
            torch.tensor(values, device=device).view(1, 3, 1, 1)
            for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        )
        self.of_generator, self.of_critic = (
            torch.optim.Adam(network.parameters(), 1e-4, (0.9, 0.999)) for network in (self.generator, self.critic)
        )

    def step(self, batch: Batch, clock: Clock) -> None:
        lr, hr, _ = batch.to(self.device)
        fake = self._train_generator(lr, hr, clock)
        self._train_critic(self.rules.judged(fake.detach()), self.rules.judged(hr), clock)

    def _train_generator(self, lr: Tensor, hr: Tensor, clock: Clock) -> Tensor:
        rules = self.rules
        self.critic.requires_grad_(False)
        self.of_generator.zero_grad()
        with clock("generator"):
            fake = self.generator(lr)
        loss = 0.01 * F.l1_loss(fake, hr)
        with clock("features"):
            real_features = self.features((hr - self.mean) / self.deviation).detach()
            fake_features = self.features((fake - self.mean) / self.deviation)
        loss = loss + 0.7 * rules.features(fake_features, real_features)
        with clock("critic"):
            fake_scores = self.critic(rules.judged(fake))
            real_scores = self.critic(rules.judged(hr)).detach()
        loss = loss + rules.pull(fake_scores, real_scores) + 0.01 * rules.edges(fake, hr)
        if clock.running:  # gradients come in the opposite order: critic, features, generator
            fake_features.register_hook(lambda _: clock.turn_to("features"))
            fake.register_hook(lambda _: clock.turn_to("generator"))
        with clock("critic"):
            loss.backward(retain_graph=True)
        nn.utils.clip_grad_norm_(self.generator.parameters(), 5)
        with clock("optimiser"):
            self.of_generator.step()
        return fake

    def _train_critic(self, fake: Tensor, real: Tensor, clock: Clock) -> None:
        rules = self.rules
        self.critic.requires_grad_(True)
        self.of_critic.zero_grad()
        leaf = fake.requires_grad_()
        with clock("critic"):
            real_scores, fake_scores = self.critic(real), self.critic(leaf)
        with clock("labels"):
            of_real, of_fake, goals = (x.to(self.device) for x in rules.labels(fake.detach().cpu(), real.cpu()))
        with clock("critic"):
            (slope,) = torch.autograd.grad(fake_scores.sum(), leaf, create_graph=True)
            loss = rules.fit(real_scores, fake_scores, of_real, of_fake)
            loss = loss + rules.penalty(slope, goals - leaf.detach())
            loss.backward()
        with clock("optimiser"):
            self.of_critic.step()
        for number in (loss, real_scores.mean(), fake_scores.mean()):
            number.item()


def laplacian(image: Tensor) -> Tensor:
    """What the original calls sobel: 8 · the pixel − its neighbours, of the sum over colours, three times."""
    kernel = -torch.ones(3, 3, 3, 3, device=image.device)
    kernel[..., 1, 1] = 8
    return F.conv2d(image, kernel, padding=1)


def boxed_labels(fake: Tensor, real: Tensor, K: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """The original's labels: costs pair by pair, and potentials that may not leave [0, 1]; each fake goes to its HR."""
    n, m = len(real), len(fake)
    cost = np.zeros((n, m))
    for j in range(n):
        for i in range(m):
            difference = (fake[i] - real[j]).numpy()
            cost[j, i] = 2 * K * np.sum(difference * difference)
    rows = np.zeros((n * m, n + m))
    for j in range(n):
        for i in range(m):
            rows[j * m + i, j], rows[j * m + i, n + i] = 1, -1
    objective = np.concatenate([np.full(n, -1 / n), np.full(m, 1 / m)])
    solved = scipy.optimize.linprog(objective, rows, cost.flatten(), bounds=(0, 1), method="highs")
    of_real, of_fake = torch.from_numpy(solved.x).float().split([n, m])
    return of_real, of_fake, real


PUBLISHED = Rules(
    judged=lambda pictures: pictures,
    features=F.l1_loss,
    edges=lambda fake, real: (laplacian(real) - laplacian(fake)).square().mean(),
    pull=lambda x, y: (y.mean() - x.mean()) ** 2,
    labels=boxed_labels,
    fit=lambda y, x, of_real, of_fake: ((y.mean() - of_real.mean()) ** 2 + (x - of_fake).square().mean()) / 2,
    penalty=lambda slope, way: 0.4 * (slope.norm(2, dim=1) - way.norm(2, dim=1)).square().mean(),
)


def exact_labels(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    found = potentials(quadratic_cost(real, fake))
    images = torch.einsum("nm,nchw->mchw", found.plan.to(real) * len(fake), real)
    return found.real, found.fake, images


def whole_penalty(slope: Tensor, way: Tensor, gamma: float = 0.4) -> Tensor:
    K = 1 / slope[0].numel()
    lengths, wanted = slope.flatten(1).norm(dim=1), K * way.flatten(1).norm(dim=1)
    return gamma / (2 * K**0.5) * (lengths - wanted).square().mean()


OURS = Rules(
    judged=lambda pictures: 2 * pictures - 1,
    features=lambda fake, real: feature_distance({"conv5_4": fake}, {"conv5_4": real}, {"conv5_4": 1.0}),
    edges=lambda fake, real: edge_distance(fake, real),
    pull=lambda x, y: -x.mean(),
    labels=exact_labels,
    fit=lambda y, x, of_real, of_fake: ((y.mean() - of_real.mean()) ** 2 + (x[:, 0] - of_fake).square().mean()) / 2,
    penalty=whole_penalty,
)
