"""The training loop: a recipe in, weights out.

One step: a batch, the generator's pictures, the loss terms, their gradient, an update. What differs between machines
(device, precision, processes) is said at the beginning; what a step depends on is in its checkpoint, so a training
that was killed goes on bit for bit.
"""

from __future__ import annotations

import copy
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from otsr import machine, weights
from otsr.images import atomic_path
from otsr.training import checkpoints, validation
from otsr.training.adversary import Adversary
from otsr.training.checkpoints import CheckpointError
from otsr.training.config import Config
from otsr.training.data import Batch, TrainingBatches, Validation
from otsr.training.journal import Journal
from otsr.training.losses import Losses
from otsr.training.schedule import rate
from otsr.training.start import starting_generator


class Result(NamedTuple):
    """A training that ended.

    Attributes:
        folder: of the run: best.safetensors, last.safetensors, validation.tsv, config.yml, log/.
        step: steps done.
        scores: of the best weights on the validation photos, by metric.
    """

    folder: Path
    step: int
    scores: dict[str, float]


class NotFinite(RuntimeError):
    """A loss or gradient became NaN or infinite; the message names it, the step and the photos."""


def train(
    config: Config,
    folder: Path,
    resume: bool = False,
    progress: bool = True,
    adversary: type[Adversary] = Adversary,
) -> Result:
    """Train as a recipe says; or go on where the last checkpoint in `folder` stopped.

    Under torchrun every process calls this: `data.batch` is shared among them, and losses are those of the whole
    batch.

    Args:
        folder: of the run; made if it is not there. Without `resume` it must hold no checkpoint.
        progress: show a bar and print scores.
        adversary: of which class; an experiment may bring its own.

    Raises:
        ConfigError, DataError: the recipe cannot be carried out here.
        CheckpointError: nothing to resume, a checkpoint of another recipe, or no room to write one.
        NotFinite: see there; the last checkpoint is from before.
    """
    trainer = Trainer(config, Path(folder), resume, progress, adversary)
    try:
        return trainer.run()
    finally:
        trainer.close()


class Trainer:
    """What a training holds: networks, optimisers, data, and the step it is at. See `train`."""

    def __init__(
        self, config: Config, folder: Path, resume: bool, progress: bool, adversary: type[Adversary]
    ) -> None:
        self.config, self.folder = config, folder
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.main = self.accelerator.is_main_process
        self.progress = progress and self.main
        self.device = self.accelerator.device
        self.dtype = choose_precision(config, self.device)
        if not resume and (folder / checkpoints.NAME).exists():
            raise CheckpointError(
                f"{folder} holds a training already; go on with --resume, or choose another folder with -o"
            )
        processes = self.accelerator.num_processes
        gan = config.losses.gan
        self.batches = TrainingBatches(
            config.data,
            config.scale,
            config.seed,
            self.accelerator.process_index,
            processes,
            reals=bool(gan.weight) and gan.reals == "independent",
            folder=folder,
        )
        self.validation = Validation(config.validation, config.data, config.scale, folder=folder)
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.generator = starting_generator(config).to(self.device)
        self.generator.to(memory_format=layout)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.optimiser = self._adam(self.generator, config.optimiser.lr)
        self.losses = Losses(config.losses).to(self.device)
        self.adversary = adversary(config, self.accelerator) if gan.weight else None
        self.critic_optimiser = (
            self._adam(self.adversary.critic, config.optimiser.critic_lr) if self.adversary else None
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.step = 0
        self.best: dict[str, float] = {}
        if resume:
            self._restore()
        self.journal = Journal(folder, self.step) if self.main else None

    def run(self) -> Result:
        """All steps that are left."""
        config, every = self.config, self.config.every
        if self.main:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(self.folder / "config.yml") as temporary:
                temporary.write_text(config.dump(), encoding="utf-8")
        bar = tqdm(
            total=config.steps, initial=self.step, desc=config.name, unit="step", disable=not self.progress
        )
        with interruptible() as interrupted, bar, closing(self.batches.stream(self.step)) as stream:
            while self.step < config.steps:
                number, batch = next(stream)
                assert number == self.step
                terms = self.update(batch)
                self.step += 1
                bar.update()
                last = self.step == config.steps
                if self.step % every.log == 0 or last:
                    bar.set_postfix_str(" ".join(f"{name} {value:.3g}" for name, value in terms.items()))
                    self._log(terms)
                if (self.step % every.validate == 0 or last) and len(self.validation):
                    self._validate(bar)
                if self.step % every.checkpoint == 0 or last or interrupted.is_set():
                    self._save()
                if interrupted.is_set() and not last:
                    raise KeyboardInterrupt
        return Result(self.folder, self.step, self.best)

    def update(self, batch: Batch) -> dict[str, float]:
        """One step of the generator, and of the critic if there is one. Returns the terms of the loss, weighted."""
        lr, hr, reals = (None if x is None else self._place(x) for x in batch)
        assert lr is not None and hr is not None
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            sr = self.generator(lr).float()
            terms = self.losses(sr, hr, self.step)
        if self.adversary is not None and self.critic_optimiser is not None:
            self._set_rate(self.critic_optimiser, self.config.optimiser.critic_lr)
            terms["gan"] = self.adversary.step(
                sr, hr if reals is None else reals, self.step, self.critic_optimiser, self.dtype
            )
        total = torch.stack(list(terms.values())).sum()
        self._set_rate(self.optimiser, self.config.optimiser.lr)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(total).backward()
        self.scaler.unscale_(self.optimiser)
        parameters = list(self.generator.parameters())
        average_gradients(parameters, self.accelerator)
        norm = nn.utils.clip_grad_norm_(parameters, self.config.clip or float("inf"))
        values = {name: float(value.detach()) for name, value in terms.items()}
        # fp16 may overflow now and then: the scaler leaves such a step out and scales down.
        self._refuse_not_finite({**values, **({} if self.scaler.is_enabled() else {"gradient": float(norm)})})
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self._follow()
        return values

    def close(self) -> None:
        """Write what the journal still holds."""
        if self.journal is not None:
            self.journal.close()

    def _adam(self, network: nn.Module, lr: float) -> torch.optim.Adam:
        return torch.optim.Adam(network.parameters(), lr, self.config.optimiser.betas, foreach=True)

    def _place(self, batch: Tensor) -> Tensor:
        layout = torch.channels_last if self.config.channels_last else torch.contiguous_format
        return batch.to(self.device, memory_format=layout, non_blocking=True)

    def _set_rate(self, optimiser: torch.optim.Optimizer, peak: float) -> None:
        for group in optimiser.param_groups:
            group["lr"] = rate(self.config.optimiser.schedule, self.step, self.config.steps, peak)

    @torch.no_grad()
    def _follow(self) -> None:
        """The running average of the weights; in the first steps it forgets faster, or it would remember the start."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step)) if self.config.ema else 0.0
        averages: list[Tensor] = list(self.average.parameters())
        current: list[Tensor] = list(self.generator.parameters())
        torch._foreach_lerp_(averages, current, 1 - decay)

    def _refuse_not_finite(self, values: dict[str, float]) -> None:
        culprits = [name for name, value in values.items() if not abs(value) < float("inf")]
        if culprits:
            photos = "; ".join(self.batches.origins(self.step))
            raise NotFinite(
                f"step {self.step}: {' and '.join(culprits)} not finite, from {photos}. "
                "The last checkpoint is from before it. Lower optimiser.lr, set clip, or say precision: fp32"
            )

    def _log(self, terms: dict[str, float]) -> None:
        if self.journal is None:
            return
        self.journal.scalars("loss", terms, self.step)
        self.journal.scalars("rate", {"generator": self.optimiser.param_groups[0]["lr"]}, self.step)
        if self.adversary is not None:
            self.journal.scalars("critic", self.adversary.log, self.step)
            if self.adversary.plan is not None and self.step % self.config.every.pictures == 0:
                self.journal.plan(self.adversary.plan, self.step)

    def _validate(self, bar: Any) -> None:
        """Measure the running average; keep it if it is the best so far."""
        if not self.main:
            return
        scores, pictures = validation.validate(
            self.average, self.validation, self.config.scale, self.device, self.dtype
        )
        validation.append(self.folder / "validation.tsv", self.step, scores)
        if self.journal is not None:
            self.journal.scalars("validation", scores, self.step)
            if self.step % self.config.every.pictures == 0 or self.step == self.config.steps:
                self.journal.pictures(pictures, self.step)
        metric = validation.decisive(self.config)
        better = validation.is_better(metric, scores[metric], self.best.get(metric))
        if better:
            self.best = scores
            self._write("best.safetensors", scores)
        if self.progress:
            numbers = "  ".join(f"{name} {value:.4g}" for name, value in scores.items())
            bar.write(f"step {self.step:6}  {numbers}{'  (best)' if better else ''}", file=sys.stderr)

    def _write(self, name: str, scores: dict[str, float]) -> None:
        """The running average as weights that `otsr upscale --weights` takes, with their story."""
        config = self.config
        story = {
            "recipe": config.name,
            "fingerprint": config.fingerprint(),
            "seed": str(config.seed),
            "steps": str(self.step),
            "data": self.batches.fingerprint(),
            "scores": " ".join(f"{key}={value:.5g}" for key, value in scores.items()),
        }
        if config.start is not None:
            story["start"] = config.start
        weights.save(self.average, self.folder / name, story)

    def _save(self) -> None:
        """The checkpoint, and the weights beside it."""
        self.accelerator.wait_for_everyone()
        if not self.main:
            return
        critic = self.adversary.critic.state_dict() if self.adversary else None
        state = {
            "config": self.config.dump(),
            "step": self.step,
            "best": self.best,
            "generator": self.generator.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "critic": critic,
            "critic optimiser": self.critic_optimiser.state_dict() if self.critic_optimiser else None,
            "scaler": self.scaler.state_dict(),
        }
        checkpoints.save(self.folder, state)
        self._write("last.safetensors", {})

    def _restore(self) -> None:
        state = checkpoints.load(self.folder)
        differences = checkpoints.differences(state["config"], self.config)
        if differences:
            raise CheckpointError(
                f"{self.folder}: the checkpoint is of another recipe: {'; '.join(differences)}. "
                "Resume with the recipe in its config.yml, or start in another folder"
            )
        self.step, self.best = state["step"], state["best"]
        self.generator.load_state_dict(state["generator"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.adversary is not None and self.critic_optimiser is not None:
            self.adversary.critic.load_state_dict(state["critic"])
            self.critic_optimiser.load_state_dict(state["critic optimiser"])
        self.scaler.load_state_dict(state["scaler"])


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, so that a step is finished and saved first; a second Ctrl-C ends at once."""
    event = threading.Event()

    def heed(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    if (
        threading.current_thread() is not threading.main_thread()
    ):  # only the main thread may listen to signals
        yield event
        return
    before = signal.signal(signal.SIGINT, heed)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def choose_precision(config: Config, device: torch.device) -> torch.dtype:
    """The type that convolutions multiply in: as the recipe says; auto is bf16 where the device is fast at it.

    Raises:
        ConfigError: fp16 on a CPU, which has no fast one.
    """
    if config.precision == "auto":
        fast = torch.cuda.is_bf16_supported(False) if device.type == "cuda" else machine.fast_bf16()
        return torch.bfloat16 if fast else torch.float32
    if config.precision == "fp16" and device.type == "cpu":
        raise config.error("precision", "is fp16, which needs CUDA; say auto, bf16 or fp32")
    return machine.DTYPES[config.precision]


def average_gradients(parameters: Iterable[nn.Parameter], accelerator: Accelerator) -> None:
    """Replace each gradient by its mean over the processes, in one exchange."""
    if accelerator.num_processes == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
