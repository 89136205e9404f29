"""The training loop: a recipe in, weights out.

One step: a batch, the generator's pictures, the loss terms, their gradient, an update. What differs between machines
(device, precision, processes) is said at the beginning; what a step depends on is in its checkpoint, so a training
that was killed goes on bit for bit.
"""

from __future__ import annotations

import copy
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from otsr.images import atomic_path
from otsr.training import checkpoints, validation
from otsr.training.adversary import Adversary
from otsr.training.checkpoints import CheckpointError
from otsr.training.data import Batch, TrainingBatches, Validation
from otsr.training.hardware import (
    Fast,
    average_gradients,
    choose_kernels,
    choose_precision,
    kernels_restored,
    share_cores,
)
from otsr.training.interruption import Interruption
from otsr.training.journal import Journal, JournalError
from otsr.training.losses import Losses
from otsr.training.progress import Progress
from otsr.training.recipe import dump
from otsr.training.schedule import rate
from otsr.training.schema import Config
from otsr.training.start import starting_generator
from otsr.training.watch import Fault, NotFinite, Watch

_SMALLEST_SCALE = 2.0**-10  # of fp16's gradients, from 2^16 on: this small, no overflow is to blame any more


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
        progress: show a bar, losses and scores on stderr.
        adversary: of which class; an experiment may bring its own.

    Raises:
        ConfigError, DataError: the recipe cannot be carried out here.
        CheckpointError: nothing to resume, a checkpoint of another recipe, or no room to write one.
        JournalError: no room for the curves.
        NotFinite: a loss or gradient became NaN or infinite; the last checkpoint is from before.
        KeyboardInterrupt: Ctrl-C; the step was finished and saved first.
    """
    with kernels_restored():
        trainer = Trainer(config, Path(folder), resume, progress, adversary)
        try:
            result = trainer.run()
        except BaseException:
            with suppress(JournalError):  # what ended the training is what is to be told
                trainer.close()
            raise
        trainer.close()
        return result


class Trainer:
    """What a training holds: networks, optimisers, data, and the step it is at. See `train`."""

    def __init__(
        self, config: Config, folder: Path, resume: bool, progress: bool, adversary: type[Adversary]
    ) -> None:
        self.config, self.folder = config, folder
        if not resume and (folder / checkpoints.NAME).exists():
            raise CheckpointError(
                f"{folder} holds a training already; go on with --resume, or choose another folder with -o"
            )
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.main = self.accelerator.is_main_process
        self.device = self.accelerator.device
        self.dtype = choose_precision(config, self.device)
        choose_kernels(self.device, exact=config.precision == "fp32")
        share_cores(self.device)
        self._open_data()
        self._build(adversary, fresh=not resume)
        self.watch = Watch(self.accelerator)
        self.numbers: dict[str, float] = {}
        self.step = 0
        self.best: dict[str, float] = {}
        if resume:
            self._restore(checkpoints.load(folder))
        if self.main:
            folder.mkdir(parents=True, exist_ok=True)
            with checkpoints.named(folder / "config.yml"), atomic_path(folder / "config.yml") as temporary:
                temporary.write_text(dump(config), encoding="utf-8")
        self.journal = Journal(folder, self.step) if self.main else None
        self.progress = Progress(config.name, self.step, config.steps, progress and self.main)

    def run(self) -> Result:
        """All steps that are left."""
        with Interruption() as interruption, closing(self.batches.stream(self.step)) as stream:
            while self.step < self.config.steps:
                number, batch = next(stream)
                assert number == self.step
                looks = self._looks()
                self.update(batch, looks)
                self.step += 1
                self.progress.advance()
                stop = (looks or self.accelerator.num_processes == 1) and self._anywhere(interruption.asked)
                if stop and not looks:
                    self._look(batch)
                if self._due("log"):
                    self._log()
                if self._due("validate") and len(self.validation):
                    self._validate()
                if self._due("checkpoint") or stop:
                    self._save()
                if stop and self.step < self.config.steps:
                    interruption.end()
        return Result(self.folder, self.step, self.best)

    def update(self, batch: Batch, looks: bool = True) -> None:
        """One step of the generator, and of the critic if there is one.

        Args:
            looks: read the step's numbers, and take the step only if they are finite.

        Raises:
            NotFinite: they are not; or those of an earlier step were not, at which nobody looked.
        """
        lr, hr, reals = batch.to(self.device, self.layout)
        sr = self.fast(lr)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            terms = self.losses(sr, hr, self.step)
        if self.adversary is not None and self.critic_optimiser is not None:
            self._set_rate(self.critic_optimiser, self.config.optimiser.critic_lr)
            terms["gan"] = self._judge(sr, hr if reals is None else reals)
        parameters = self.fast.set_gradients(self.scaler.scale(torch.stack(list(terms.values())).sum()))
        average_gradients(parameters, self.accelerator)
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(parameters, self.config.clip or float("inf"))
        # fp16 may overflow now and then: the scaler leaves such a step out and scales down.
        measured = {} if self.scaler.is_enabled() else {"gradient": norm}
        self.watch.see(self.step, {**terms, **measured, **self._of_critic()})
        if looks:
            self._look(batch)
        self._set_rate(self.optimiser, self.config.optimiser.lr)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.critic_optimiser is not None:
            self.critic_optimiser.step()
        self._follow()

    def close(self) -> None:
        """Write what the journal still holds."""
        self.progress.close()
        if self.journal is not None:
            self.journal.close()

    def _open_data(self) -> None:
        config, gan = self.config, self.config.losses.gan
        self.batches = TrainingBatches(
            config.data,
            config.scale,
            config.seed,
            self.accelerator.process_index,
            self.accelerator.num_processes,
            reals=bool(gan.weight) and gan.reals == "independent",
            folder=self.folder,
        )
        self.validation = Validation(config.validation, config.data, config.scale, folder=self.folder)

    def _build(self, adversary: type[Adversary], *, fresh: bool) -> None:
        """Networks, their optimisers, and losses. Those to be restored need no weights to start from."""
        config = self.config
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        begin = config if fresh else config.model_copy(update={"start": None})
        self.generator = starting_generator(begin).to(self.device)
        self.generator.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.optimiser = self._adam(self.generator, config.optimiser.lr)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.losses = Losses(config.losses, self._mean).to(self.device)
        self.adversary = adversary(config, self.accelerator) if config.losses.gan.weight else None
        self.critic_optimiser = (
            self._adam(self.adversary.critic, config.optimiser.critic_lr) if self.adversary else None
        )
        crop = config.data.crop // config.scale
        shape = (config.data.batch // self.accelerator.num_processes, 3, crop, crop)
        lr = torch.zeros(shape, device=self.device).contiguous(memory_format=self.layout)
        self.fast = Fast(self.generator, self.dtype, lr, graphs=config.graphs)

    def _mean(self, number: Tensor) -> Tensor:
        """Over the processes."""
        return number if self.accelerator.num_processes == 1 else self.accelerator.reduce(number, "mean")

    def _adam(self, network: nn.Module, lr: float) -> torch.optim.Adam:
        # One kernel for all weights; a critic's gradients lie in one row, which that kernel does not take.
        fused = self.device.type == "cuda" and network is self.generator
        return torch.optim.Adam(
            network.parameters(), lr, self.config.optimiser.betas, fused=fused, foreach=not fused
        )

    def _set_rate(self, optimiser: torch.optim.Optimizer, peak: float) -> None:
        for group in optimiser.param_groups:
            group["lr"] = rate(self.config.optimiser.schedule, self.step, self.config.steps, peak)

    def _judge(self, sr: Tensor, reals: Tensor) -> Tensor:
        """The generator's term against the critic, whose own gradient is ready then."""
        assert self.adversary is not None and self.critic_optimiser is not None
        try:
            return self.adversary.step(sr, reals, self.step, self.critic_optimiser, self.dtype)
        except ValueError:
            if not self._anywhere(not bool(torch.isfinite(sr).all())):
                raise
            return sr.sum()  # there is no transport of NaN; the watch finds it

    def _of_critic(self) -> dict[str, Tensor]:
        return (
            {f"critic {name}": value for name, value in self.adversary.log.items()} if self.adversary else {}
        )

    @torch.no_grad()
    def _follow(self) -> None:
        """The running average of the weights; in the first steps it forgets faster, or it would remember the start."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step)) if self.config.ema else 0.0
        averages: list[Tensor] = list(self.average.parameters())
        current: list[Tensor] = list(self.generator.parameters())
        torch._foreach_lerp_(averages, current, 1 - decay)

    def _due(self, what: str) -> bool:
        """Whether something is to be done after the steps done so far; everything is after the last one."""
        return self.step % getattr(self.config.every, what) == 0 or self.step == self.config.steps

    def _looks(self) -> bool:
        """Whether to read the numbers of the step that comes: on CUDA this waits, so only when something is due."""
        if self.device.type == "cpu":
            return True
        every, after = self.config.every, self.step + 1
        return after == self.config.steps or any(
            after % rhythm == 0 for rhythm in (every.log, every.validate, every.checkpoint)
        )

    def _anywhere(self, flag: bool) -> bool:
        """Whether it is True in any process."""
        if self.accelerator.num_processes == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.device), "sum"))

    def _look(self, batch: Batch) -> None:
        """Read the numbers; end the training if one is not finite, with what is needed to find out why."""
        self.numbers, fault = self.watch.read()
        if fault is None and self.scaler.is_enabled() and self.scaler.get_scale() < _SMALLEST_SCALE:
            fault = Fault(self.step, ("gradient",))
        if fault is None:
            return
        names, photos = " and ".join(fault.names), "; ".join(self.batches.origins(fault.step))
        if fault.step < self.step:
            before = "For the state before it go on with --resume --set every.log=1"
        else:
            before = f"The state before it and the batch are in {self.folder / checkpoints.FAULT}"
            if self.main:
                crops = {name: crop for name, crop in batch._asdict().items() if crop is not None}
                checkpoints.save(self.folder, {**self._state(), "batch": crops}, checkpoints.FAULT)
        raise NotFinite(
            f"step {fault.step}: {names} not finite, from {photos}. {before}; {checkpoints.NAME} is from an earlier "
            "step. Lower optimiser.lr, set clip, or say precision: fp32, and start again (start: "
            f"{self.folder / 'last.safetensors'})"
        )

    def _log(self) -> None:
        speed = self.optimiser.param_groups[0]["lr"]
        losses = {name: value for name, value in self.numbers.items() if not name.startswith("critic ")}
        critic = {name[7:]: value for name, value in self.numbers.items() if name.startswith("critic ")}
        shown = {**losses, "critic": critic["loss"]} if "loss" in critic else losses
        self.progress.numbers(self.step, shown, speed)
        if self.journal is None:
            return
        self.journal.scalars("loss", losses, self.step)
        self.journal.scalars("critic", critic, self.step)
        self.journal.scalars("speed", {"rate": speed, "seconds a step": self.progress.pace}, self.step)
        if self._due("pictures") and self.adversary is not None and self.adversary.plan is not None:
            self.journal.plan(self.adversary.plan, self.step)

    def _validate(self) -> None:
        """Measure the running average, each process some of the photos; keep it if it is the best so far."""
        began = time.perf_counter()
        scores, pictures = validation.validate(self.average, self.validation, self.accelerator, self.dtype)
        metric = validation.decisive(self.config)
        better = validation.is_better(metric, scores[metric], self.best.get(metric))
        self.best = scores if better else self.best
        if self.main:
            validation.append(self.folder / "validation.tsv", self.step, scores)
            if better:
                self._write("best.safetensors", scores)
        if self.journal is not None:
            self.journal.scalars("validation", scores, self.step)
            if self._due("pictures"):
                self.journal.pictures(pictures, self.step)
        self.progress.scores(self.step, scores, better)
        self.progress.pause(time.perf_counter() - began)

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
            story["start"] = str(config.start)
        checkpoints.save_weights(self.average, self.folder / name, story)

    def _save(self) -> None:
        """The weights, and then the checkpoint, with which a resumed training makes the same weights again."""
        self.accelerator.wait_for_everyone()
        if self.main:
            self._write("last.safetensors", {})
            checkpoints.save(self.folder, self._state())

    def _state(self) -> dict[str, Any]:
        """All that the next step depends on: batches and learning rates are functions of the step."""
        return {
            "config": dump(self.config),
            "step": self.step,
            "best": self.best,
            "generator": self.generator.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "critic": self.adversary.critic.state_dict() if self.adversary else None,
            "critic optimiser": self.critic_optimiser.state_dict() if self.critic_optimiser else None,
            "scaler": self.scaler.state_dict(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
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
