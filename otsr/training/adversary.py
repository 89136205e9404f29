"""The adversarial term: a critic learns to tell real from generated, and the generator follows its gradient.

    gan       D tells real from fake (cross-entropy)
    ragan     D tells which of the two is more real than the other's mean      RealSR's
    wgan-qc   D follows the potentials of the exact quadratic transport of the batch; see otsr.transport.critic

What the critic sees are whole crops, or patches of them. `Adversary.step` is the page to read. With several processes
each loss, and the transport problem, is that of the whole batch; each process carries the gradient of its own samples.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from otsr.networks.critics import PatchCritic, VGGCritic
from otsr.training.losses import tiles
from otsr.training.runtime import Stream, average_gradients, generator
from otsr.training.schema import Config
from otsr.transport import critic_loss, generator_loss, potentials, quadratic_cost, regularity_loss


class Judgement(NamedTuple):
    """What one pass of the critic finds; scores (n, …) are those of the whole batch, ∇D is at this process's fakes."""

    loss: Tensor
    real: Tensor
    fake: Tensor
    slope: Tensor | None  # where the loss needs it


class Adversary:
    """The critic of a training, drawn by the recipe's seed, and the steps that it and the generator take."""

    def __init__(self, config: Config, accelerator: Accelerator) -> None:
        self.config, self.gan, self.accelerator = config, config.losses.gan, accelerator
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.critic = self._build().to(accelerator.device)
        if config.channels_last:
            self.critic.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        rate, betas = config.optimiser.critic_lr, config.optimiser.betas
        self.optimiser = torch.optim.Adam(self.critic.parameters(), rate, betas, foreach=True, fused=False)
        self.plan: Tensor | None = None  # of wgan-qc's last transport problem, (reals, fakes)
        self.log: dict[str, Tensor] = {}  # numbers of the last step, on the device: nobody waits for them

    def step(self, sr: Tensor, reals: Tensor, step: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """The generator's term, weighted, whose gradient reaches `sr` alone; and the critic's gradient, which waits.

        The caller takes the critic's update, `optimiser.step()`, once it knows that every number is finite. So the
        generator follows the critic as it was before that update.

        Args:
            sr, reals: (b, 3, c, c); sr with its graph, reals of the same scenes or of others.
            step: of the training; draws the patches.
            dtype: in which convolutions multiply; float16 leaves them in float32, as no scaler guards these gradients.
        """
        with torch.autocast(sr.device.type, dtype, enabled=dtype == torch.bfloat16):
            # What the critic sees. Gradients flow back through the fakes to the generator; the reals are data.
            fake, real = self._samples(sr, step, 0), self._samples(reals, step, 1)

            # With a ratio above 1 the critic learns ahead of the generator.
            for _ in range(self.gan.ratio - 1):
                self._set_gradient(self._judge(real, fake.detach().requires_grad_()).loss)
                self.optimiser.step()
                torch.clear_autocast_cache()  # it holds the weights, in 16 bits, as they were before

            # One pass of the critic serves its own loss, the penalty and the generator's loss: each takes its own
            # derivative of the same graph. The fakes are a leaf, so that no derivative runs on through the generator.
            leaf = fake.detach().requires_grad_()
            loss, real_scores, fake_scores, slope = self._judge(real, leaf)

            # Which way the generator should move its pictures: down the gradient of its loss.
            generators_loss = self._generator_loss(real_scores.detach(), fake_scores)
            if slope is None:
                (pull,) = torch.autograd.grad(generators_loss, leaf, retain_graph=True)
            else:  # the loss is −mean D, and the penalty has computed ∇D already
                pull = -slope.detach() / len(leaf)

            # Which way the critic should move: the caller's optimiser.step() will take it there.
            self._set_gradient(loss)

        self.log["loss"] = loss.detach()
        self.log["real"], self.log["fake"] = real_scores.detach().mean(), fake_scores.detach().mean()
        if step < self.gan.start:  # until then the critic learns alone
            return 0 * sr.sum()  # with a gradient, as a loss that stands alone needs one
        # A number with the value of the loss and the gradient `pull`. `along − along.detach()` is 0, but its derivative
        # with respect to the fakes is `pull`: so the backward pass goes on from here without the critic.
        along = (fake.float() * pull.float()).sum()
        return self.gan.weight * (generators_loss.detach() + (along - along.detach()))

    def _judge(self, real: Tensor, fake: Tensor) -> Judgement:
        """The critic's loss and scores. The loss falls as it tells reals from fakes, or follows the potentials."""
        own_real, own_fake = self.critic(real).float(), self.critic(fake).float()
        if self.gan.kind == "wgan-qc":  # one score per sample
            own_real, own_fake = own_real.flatten(1).mean(1), own_fake.flatten(1).mean(1)
        y, x = self._everywhere(own_real), self._everywhere(own_fake)
        with torch.autocast(fake.device.type, enabled=False):
            if self.gan.kind == "gan":
                return Judgement((_yes(y) + _no(x)) / 2, y, x, None)
            if self.gan.kind == "ragan":
                return Judgement((_yes(y - x.mean()) + _no(x - y.mean())) / 2, y, x, None)
            # The transport problem of the whole batch; its potentials are the critic's labels. What is not finite would
            # stop the solver; it reaches the loss through the scores.
            all_real, all_fake = (self.accelerator.gather(s.float()) for s in (real, fake.detach()))
            labels = potentials(quadratic_cost(all_real, all_fake, self.gan.K).nan_to_num(posinf=0))
            self.plan, self.log["transport cost"] = labels.plan, labels.value
            # Its slope at this process's fakes is asked to be that of the potentials.
            plan = labels.plan.split(len(fake), dim=1)[self.accelerator.process_index]
            (slope,) = torch.autograd.grad(own_fake.sum(), fake, create_graph=True)
            penalty = regularity_loss(fake, own_fake, all_real, plan, self.gan.K, self.gan.gamma, slope)
            return Judgement(critic_loss(y, x, labels) + penalty, y, x, slope)

    def _generator_loss(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        if self.gan.kind == "gan":
            return _yes(fake_scores)
        if self.gan.kind == "ragan":
            return (_no(real_scores - fake_scores.mean()) + _yes(fake_scores - real_scores.mean())) / 2
        return generator_loss(fake_scores)

    def _everywhere(self, scores: Tensor) -> Tensor:
        """Scores of the whole batch, of which this process's own carry their gradient."""
        processes, values = self.accelerator.num_processes, scores.detach()
        if processes == 1:
            return scores
        parts = list(self.accelerator.gather(values).split(len(scores)))
        # Gradients will be averaged over processes, hence the factor; the value is not changed by it.
        parts[self.accelerator.process_index] = values + processes * (scores - values)
        return torch.cat(parts)

    def _set_gradient(self, loss: Tensor) -> None:
        """Of the critic, averaged over all processes."""
        parameters = list(self.critic.parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        average_gradients(parameters, self.accelerator)
        self.log["gradient"] = nn.utils.clip_grad_norm_(parameters, float("inf"))  # clips nothing: its norm

    def _maps(self, images: Tensor) -> Tensor:
        """(b, C, h, w): what the critic sees of pictures, whole or in patches; experiments may replace it."""
        return 2 * images - 1

    def _samples(self, images: Tensor, step: int, side: int) -> Tensor:
        """(n, C, h, w): what the critic judges one by one; `side` is 0 for fakes, 1 for reals."""
        maps = self._maps(images)
        if self.gan.space == "images":
            return maps
        # Windows tile each map, from an origin drawn anew in each step.
        patch = max(1, round(self.gan.patch * maps.shape[-1] / images.shape[-1]))
        drawing = generator(self.config.seed, Stream.CRITIC, step, side)
        spare = [length % patch for length in maps.shape[-2:]]
        top, left = (int(torch.randint(rest + 1, (1,), generator=drawing)) for rest in spare)
        return tiles(maps.float()[..., top:, left:], patch)

    def _build(self) -> nn.Module:
        critic, crop = self.config.critic, self.config.data.crop
        assert critic is not None
        with torch.no_grad():
            sample = self._samples(torch.zeros(1, 3, crop, crop, device=self.accelerator.device), 0, 0)
        _, channels, _, side = sample.shape
        if critic.name == "vgg":
            return VGGCritic(side, channels, critic.nf, critic.norm)
        layers = critic.layers if critic.layers is not None else (2 if side >= 32 else 1 if side >= 16 else 0)
        if side < 2**layers:
            problem = f"is {layers}, but {side} pixels cannot be halved so often"
            raise self.config.error("critic.layers", problem)
        return PatchCritic(channels, critic.nf, layers, critic.norm)


def _yes(logits: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))


def _no(logits: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits))
