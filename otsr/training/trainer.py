"""The training loop: a recipe in, weights out.

`Trainer.run` is the loop, `Trainer.update` one step of it: a batch, the generator's pictures, the loss terms, their
gradient, an update. All that a step depends on is in a checkpoint, so a training that was killed goes on bit for bit.
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
from otsr.training import checkpoints
from otsr.training.adversary import Adversary
from otsr.training.batches import Batch, TrainingBatches, Validation
from otsr.training.checkpoints import CheckpointError
from otsr.training.losses import Losses
from otsr.training.monitor import (
    Fault,
    NotFinite,
    Progress,
    TensorBoard,
    TensorBoardError,
    Watch,
    append_scores,
    decisive_metric,
    is_better,
    validate,
)  # fmt: skip
from otsr.training.recipe import dump
from otsr.training.runtime import (
    Fast,
    Interruption,
    average_gradients,
    choose_kernels,
    choose_precision,
    kernels_restored,
    rate,
    share_cores,
)  # fmt: skip
from otsr.training.schema import Config

_SMALLEST_SCALE = 2.0**-10  # of fp16's gradients, from 2^16 on: this small, no overflow is to blame any more


class Result(NamedTuple):
    """A training that ended."""

    folder: Path  # best.safetensors, last.safetensors, validation.tsv, config.yml, log/
    step: int  # steps done
    scores: dict[str, float]  # of the best weights on the validation photos, by metric


def train(
    config: Config,
    folder: Path,
    resume: bool = False,
    progress: bool = True,
    adversary: type[Adversary] = Adversary,
) -> Result:
    """Train as a recipe says, or go on where the last checkpoint in `folder` stopped.

    Under torchrun every process calls this: they share `data.batch`, and losses are those of the whole batch.

    Args:
        folder: of the run; made if it is not there. Without `resume` it must hold no checkpoint.
        progress: show a bar, losses and scores on stderr.
        adversary: the class to use; an experiment may bring its own.

    Raises:
        ConfigError, DataError: the recipe cannot be carried out here.
        CheckpointError, TensorBoardError: nothing to resume, a checkpoint of another recipe, or no room to write.
        NotFinite: a loss or gradient became NaN or infinite; the last checkpoint is from before.
        KeyboardInterrupt: Ctrl-C; the step was finished and saved first.
    """
    with kernels_restored():
        trainer = Trainer(config, Path(folder), resume, progress, adversary)
        try:
            result = trainer.run()
        except BaseException:
            with suppress(TensorBoardError):  # report what ended the training, not this
                trainer.close()
            raise
        trainer.close()
        return result


class Trainer:
    """What a training holds: networks, optimisers, data, and the step it is at. See `train`."""

    def __init__(
        self, config: Config, folder: Path, resume: bool, progress: bool, adversary: type[Adversary]
    ):
        self.config, self.folder = config, folder
        if not resume and (folder / checkpoints.NAME).exists():
            words = "holds a training already; go on with --resume, or choose another folder with -o"
            raise CheckpointError(f"{folder} {words}")
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.main = self.accelerator.is_main_process
        self.device = self.accelerator.device
        self.dtype = choose_precision(config, self.device)
        choose_kernels(self.device, exact=config.precision == "fp32")
        share_cores(self.device)
        gan, accelerator = config.losses.gan, self.accelerator
        self.batches = TrainingBatches(
            config.data, config.scale, config.seed, accelerator.process_index, accelerator.num_processes,
            reals=bool(gan.weight) and gan.reals == "independent", folder=folder,
        )  # fmt: skip
        self.validation = Validation(config.validation, config.data, config.scale, folder=folder)
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
        self.tensorboard = TensorBoard(folder, self.step) if self.main else None
        self.progress = Progress(config.name, self.step, config.steps, progress and self.main)

    def run(self) -> Result:
        """Take all steps that are left."""
        with Interruption() as interruption, closing(self.batches.stream(self.step)) as stream:
            while self.step < self.config.steps:
                number, batch = next(stream)
                assert number == self.step
                check = self._check_due()
                self.update(batch, check)
                self.step += 1
                self.progress.advance()
                # With several processes all must stop at the same step, so they ask each other when they meet anyway.
                stop = (check or self.accelerator.num_processes == 1) and self._anywhere(interruption.asked)
                if stop and not check:
                    self._check(batch)
                if self._due("log"):
                    self._log()
                if self._due("validate") and len(self.validation):
                    self._validate()
                if self._due("checkpoint") or stop:
                    self._save()
                if stop and self.step < self.config.steps:
                    interruption.end()
        return Result(self.folder, self.step, self.best)

    def update(self, batch: Batch, check: bool = True) -> None:
        """One step of the generator, and of the critic if there is one.

        Args:
            check: read the step's numbers, and take the step only if they are finite. On CUDA, reading waits for the
                device, which otherwise works while this process is already preparing the next step.

        Raises:
            NotFinite: they are not, or those of an earlier step, which was not checked, were not.
        """
        lr, hr, reals = batch.to(self.device, self.layout)
        self._set_rates()

        # Forward: SR, and what is wrong with it.
        sr = self.fast(lr)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            terms = self.losses(sr, hr, self.step)
        if self.adversary is not None:  # this also prepares the critic's update
            terms["gan"] = self._judged(self.adversary, sr, hr if reals is None else reals)

        # Backward: the gradient of the sum, averaged over processes. fp16 needs it scaled up, or small ones become 0.
        parameters = self.fast.set_gradients(self.scaler.scale(torch.stack(list(terms.values())).sum()))
        average_gradients(parameters, self.accelerator)
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(parameters, self.config.clip or float("inf"))

        # No weight has moved yet: a NaN that is found here leaves the state before it intact.
        numbers = dict(terms)
        if not self.scaler.is_enabled():  # with fp16, infinite gradients are normal now and then, see below
            numbers["gradient"] = norm
        if self.adversary is not None:
            numbers |= {f"critic {name}": value for name, value in self.adversary.log.items()}
        self.watch.record(self.step, numbers)
        if check:
            self._check(batch)

        # Update: the generator, the critic, and the running average of the generator's weights.
        self.scaler.step(self.optimiser)  # skips a step whose fp16 gradients overflowed, and then scales less
        self.scaler.update()
        if self.adversary is not None:
            self.adversary.optimiser.step()
        self._follow()

    def close(self) -> None:  # writes what TensorBoard still holds
        self.progress.close()
        if self.tensorboard is not None:
            self.tensorboard.close()

    def _build(self, adversary: type[Adversary], *, fresh: bool) -> None:
        """Networks, optimisers, losses. A network that will be restored needs no weights to start from."""
        config = self.config
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        begin = config if fresh else config.model_copy(update={"start": None})
        self.generator = checkpoints.starting_generator(begin).to(self.device)
        self.generator.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        fused = self.device.type == "cuda"  # one kernel for all weights
        lr, betas = config.optimiser.lr, config.optimiser.betas
        self.optimiser = torch.optim.Adam(
            self.generator.parameters(), lr, betas, fused=fused, foreach=not fused
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.losses = Losses(config.losses, self._mean).to(self.device)
        self.adversary = adversary(config, self.accelerator) if config.losses.gan.weight else None
        crop = config.data.crop // config.scale
        shape = (config.data.batch // self.accelerator.num_processes, 3, crop, crop)
        sample = torch.zeros(shape, device=self.device).contiguous(memory_format=self.layout)
        self.fast = Fast(self.generator, self.dtype, sample, graphs=config.graphs)

    def _mean(self, number: Tensor) -> Tensor:  # over the processes
        return number if self.accelerator.num_processes == 1 else self.accelerator.reduce(number, "mean")

    def _set_rates(self) -> None:
        optimiser, peaks = self.config.optimiser, {self.optimiser: self.config.optimiser.lr}
        if self.adversary is not None:
            peaks[self.adversary.optimiser] = optimiser.critic_lr
        for adam, peak in peaks.items():
            for group in adam.param_groups:
                group["lr"] = rate(optimiser.schedule, self.step, self.config.steps, peak)

    def _judged(self, adversary: Adversary, sr: Tensor, reals: Tensor) -> Tensor:
        try:
            return adversary.step(sr, reals, self.step, self.dtype)
        except ValueError:
            if not self._anywhere(not bool(torch.isfinite(sr).all())):
                raise
            return sr.sum()  # there is no transport of NaN; the check below finds it

    @torch.no_grad()
    def _follow(self) -> None:
        # In the first steps the average follows faster, or it would remember the start.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step)) if self.config.ema else 0.0
        averages: list[Tensor] = list(self.average.parameters())
        current: list[Tensor] = list(self.generator.parameters())
        torch._foreach_lerp_(averages, current, 1 - decay)

    def _due(self, what: str) -> bool:  # after the steps done so far; everything is due after the last one
        return self.step % getattr(self.config.every, what) == 0 or self.step == self.config.steps

    def _check_due(self) -> bool:
        """Whether to check the coming step's numbers: on CUDA this waits, so only when something is due after it."""
        if self.device.type == "cpu":
            return True
        every, after = self.config.every, self.step + 1
        rhythms = (every.log, every.validate, every.checkpoint)
        return after == self.config.steps or any(after % rhythm == 0 for rhythm in rhythms)

    def _anywhere(self, flag: bool) -> bool:  # whether it is True in any process
        if self.accelerator.num_processes == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.device), "sum"))

    def _check(self, batch: Batch) -> None:
        """Read the numbers; end the training if one is not finite, with what is needed to find out why."""
        self.numbers, fault = self.watch.check()
        if fault is None and self.scaler.is_enabled() and self.scaler.get_scale() < _SMALLEST_SCALE:
            fault = Fault(self.step, ("gradient",))
        if fault is None:
            return
        names, photos = " and ".join(fault.names), "; ".join(self.batches.origins(fault.step))
        if fault.step < self.step:
            before = "To see the state before it, go on with --resume --set every.log=1"
        else:
            before = f"The state before it and the batch are in {self.folder / checkpoints.FAULT}"
            if self.main:
                crops = {name: crop for name, crop in batch._asdict().items() if crop is not None}
                checkpoints.save(self.folder, {**self._state(), "batch": crops}, checkpoints.FAULT)
        raise NotFinite(
            f"step {fault.step}: {names} not finite, from {photos}. {before}; {checkpoints.NAME} is from an earlier "
            "step. Lower optimiser.lr, set clip, or set precision: fp32, and start again (start: "
            f"{self.folder / 'last.safetensors'})"
        )

    def _log(self) -> None:
        speed = self.optimiser.param_groups[0]["lr"]
        losses = {name: value for name, value in self.numbers.items() if not name.startswith("critic ")}
        critic = {name[7:]: value for name, value in self.numbers.items() if name.startswith("critic ")}
        shown = {**losses, "critic": critic["loss"]} if "loss" in critic else losses
        self.progress.numbers(self.step, shown, speed)
        if self.tensorboard is None:
            return
        self.tensorboard.scalars("loss", losses, self.step)
        self.tensorboard.scalars("critic", critic, self.step)
        self.tensorboard.scalars("speed", {"rate": speed, "seconds a step": self.progress.pace}, self.step)
        if self._due("pictures") and self.adversary is not None and self.adversary.plan is not None:
            self.tensorboard.plan(self.adversary.plan, self.step)

    def _validate(self) -> None:
        """Measure the running average, each process some of the photos; keep it if it is the best so far."""
        began, metric = time.perf_counter(), decisive_metric(self.config)
        scores, pictures = validate(self.average, self.validation, self.accelerator, self.dtype)
        better = is_better(metric, scores[metric], self.best.get(metric))
        self.best = scores if better else self.best
        if self.main:
            append_scores(self.folder / "validation.tsv", self.step, scores)
            if better:
                self._write("best.safetensors", scores)
        if self.tensorboard is not None:
            self.tensorboard.scalars("validation", scores, self.step)
            if self._due("pictures"):
                self.tensorboard.pictures(pictures, self.step)
        self.progress.scores(self.step, scores, better)
        self.progress.pause(time.perf_counter() - began)

    def _write(self, name: str, scores: dict[str, float]) -> None:
        """The running average as weights that `otsr upscale --weights` takes, with their story."""
        story = checkpoints.story(self.config, self.step, self.batches.fingerprint(), scores)
        checkpoints.save_weights(self.average, self.folder / name, story)

    def _save(self) -> None:
        self.accelerator.wait_for_everyone()
        if self.main:
            self._write("last.safetensors", {})
            checkpoints.save(self.folder, self._state())

    def _parts(self) -> dict[str, Any]:  # whatever has a state of its own
        return {
            "generator": self.generator,
            "average": self.average,
            "optimiser": self.optimiser,
            "critic": self.adversary.critic if self.adversary else None,
            "critic optimiser": self.adversary.optimiser if self.adversary else None,
            "scaler": self.scaler,
        }

    def _state(self) -> dict[str, Any]:
        """All that the next step depends on: batches and learning rates are functions of the step."""
        states = {name: None if part is None else part.state_dict() for name, part in self._parts().items()}
        return {"config": dump(self.config), "step": self.step, "best": self.best, **states}

    def _restore(self, state: dict[str, Any]) -> None:
        checkpoints.refuse_another_recipe(self.folder, state["config"], self.config)
        self.step, self.best = state["step"], state["best"]
        for name, part in self._parts().items():
            if part is not None:
                part.load_state_dict(state[name])
