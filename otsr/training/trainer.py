"""The training loop: a recipe in, weights out.

`Trainer.run` is the loop, `Trainer.update` one step of it: a batch, the generator's pictures, the loss terms, their
gradient, an update. All that a step depends on is in a checkpoint, so a training that was killed goes on bit for bit.
"""

import copy
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from signal import SIGTERM
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from otsr import weights
from otsr.images import atomic_path
from otsr.training import checkpoints, runtime
from otsr.training.adversary import Adversary
from otsr.training.batches import Batch, TrainingBatches
from otsr.training.losses import Losses
from otsr.training.monitor import NotFinite, Progress, Watch, plan_picture
from otsr.training.recipe import dump
from otsr.training.schema import Config
from otsr.training.store import DataError
from otsr.training.validation import Validation, append_scores, improves, validate

_SMALLEST_SCALE = 2.0**-10  # of fp16's gradients, from 2^16 on: this small, no overflow is to blame any more


class Result(NamedTuple):
    """A training that ended."""

    folder: Path  # best.safetensors, last.safetensors, validation.tsv, config.yml, log/
    step: int  # steps done
    scores: dict[str, float]  # of the best weights on the validation photos, by metric


def train(
    config: Config, folder: Path, resume: bool = False, progress: bool = True, adversary: type[Adversary] = Adversary
) -> Result:  # fmt: skip
    """Train as a recipe says; with `resume` go on where the last checkpoint in the run's folder stopped.

    Under torchrun every process calls this: they share `data.batch`, and losses are those of the whole batch. With
    `progress` losses and scores are shown on stderr. An experiment may bring its own adversary.

    Raises:
        ConfigError, DataError: the recipe cannot be carried out here.
        CheckpointError: nothing to resume, a checkpoint of another recipe, no room to write, or a folder in use.
        NotFinite: a loss or gradient became NaN or infinite; the last checkpoint is from before.
        KeyboardInterrupt, SystemExit (143): Ctrl-C, SIGTERM; the step was finished and saved first.
    """
    with runtime.kernels_restored():
        return Trainer(config, Path(folder), resume=resume, adversary=adversary).run(progress)


class Trainer:
    """What a training holds: networks, optimisers, data, and the step it is at. See `train`."""

    def __init__(
        self, config: Config, folder: Path, *, resume: bool = False, adversary: type[Adversary] = Adversary
    ) -> None:
        self.config, self.folder = config, folder
        if not resume and (folder / checkpoints.NAME).exists():
            words = "holds a training already; go on with --resume, or choose another folder with -o"
            raise checkpoints.CheckpointError(f"{folder} {words}")
        self.accelerator = accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.main, self.device = accelerator.is_main_process, accelerator.device
        self.dtype = runtime.choose_precision(config, self.device)
        runtime.choose_kernels(self.device, exact=config.precision == "fp32")
        gan = config.losses.gan
        self.batches = TrainingBatches(
            config.data, config.scale, config.seed, accelerator.process_index, accelerator.num_processes,
            reals=bool(gan.weight) and gan.reals == "independent", folder=folder,
        )  # fmt: skip
        self.validation = Validation(config.validation, config.data, config.scale, folder=folder)
        # A network that will be restored needs no weights to start from.
        self._build(config.model_copy(update={"start": None}) if resume else config, adversary)
        self.watch = Watch(accelerator)
        self.step, self.numbers, self.best = 0, dict[str, float](), dict[str, float]()
        if resume:
            state = checkpoints.load(folder, config)
            self.step = state["step"]
            photos = config.validation.model_dump(mode="json")  # scores on others do not compare
            self.best = state["best"] if state["validation"] == photos else {}
            for name, part in self.parts.items():
                part.load_state_dict(state[name])

    def _build(self, config: Config, adversary: type[Adversary]) -> None:
        """Networks, optimisers, losses."""
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.generator = checkpoints.starting_generator(config).to(self.device)
        self.generator.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        own, lr, betas = self.generator.parameters(), config.optimiser.lr, config.optimiser.betas
        fused = self.device.type == "cuda"  # one kernel for all weights
        self.optimiser = torch.optim.Adam(own, lr, betas, fused=fused, foreach=not fused)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        mean = partial(self.accelerator.reduce, reduction="mean")
        self.losses = Losses(config.losses, mean).to(self.device)
        for weight in self.losses.parameters():  # frozen: autocast would cast them anew in every pass
            weight.data = weight.data.to(self.dtype)
        self.peaks = {self.optimiser: lr}  # learning rates, before the schedule
        self.adversary = adversary(config, self.accelerator) if config.losses.gan.weight else None
        if self.adversary is not None:
            self.peaks[self.adversary.optimiser] = config.optimiser.critic_lr
        share, side = config.data.batch // self.accelerator.num_processes, config.data.crop // config.scale
        sample = torch.zeros(share, 3, side, side, device=self.device).contiguous(memory_format=self.layout)
        self.fast = runtime.Fast(self.generator, self.dtype, sample, graphs=config.graphs)

    @property
    def parts(self) -> dict[str, Any]:
        """Whatever has a state: batches and learning rates are functions of the step."""
        parts: dict[str, Any] = {"generator": self.generator, "average": self.average}
        parts |= {"optimiser": self.optimiser, "scaler": self.scaler}
        if self.adversary is not None:
            parts |= {"critic": self.adversary.critic, "critic optimiser": self.adversary.optimiser}
        return parts

    def run(self, progress: bool = True) -> Result:
        """All steps that are left, and what is due after each."""
        config, shown = self.config, progress and self.main
        with (
            self._open_folder(),
            closing(Progress(config.name, self.step, config.steps, shown)) as self.progress,
            runtime.interruption() as signals,
            closing(self.batches.stream(self.step)) as stream,
        ):
            while self.step < config.steps:
                batch = self._next(stream)
                check = self._check_due()
                self.update(batch, check)
                self.step += 1
                self.progress.advance()
                # All processes must stop at the same step, so they ask each other when they meet anyway.
                meet = check or self.accelerator.num_processes == 1
                stop = meet and runtime.anywhere(bool(signals), self.accelerator)
                if self._due("log"):
                    self._log()
                if self._due("validate") and len(self.validation):
                    self._validate()
                if self._due("checkpoint") or stop:
                    self._save()
                if stop and self.step < config.steps:
                    raise SystemExit(128 + SIGTERM) if SIGTERM in signals else KeyboardInterrupt
        return Result(self.folder, self.step, self.best)

    @contextmanager
    def _open_folder(self) -> Iterator[None]:
        """Keep the folder to this training; write its recipe, and begin its curves or go on with them."""
        if not self.main:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path, log = self.folder / "config.yml", self.folder / "log"
        with checkpoints.lock(self.folder):
            with checkpoints.named(path), atomic_path(path) as temporary:
                temporary.write_text(dump(self.config), encoding="utf-8")
            if not self.step:  # of a training that ended before its first checkpoint
                (self.folder / "validation.tsv").unlink(missing_ok=True)
            while any(log.glob(f"*.{int(time.time())}.*")):  # TensorBoard mixes up files of one second
                time.sleep(0.05)
            with checkpoints.named(log):  # forgets what a run that ended wrote after this step
                self.tensorboard = SummaryWriter(str(log), purge_step=self.step + 1)
            try:
                yield
            except BaseException:
                with suppress(OSError, RuntimeError):  # report what ended the training, not this
                    self.tensorboard.close()
                raise
            with checkpoints.named(log):
                self.tensorboard.close()

    def _next(self, stream: Iterator[tuple[int, Batch]]) -> Batch:
        """The coming batch; if a photo cannot be read any more, the steps so far are saved first."""
        try:
            return next(stream)[1]
        except DataError:
            if self.step and self.accelerator.num_processes == 1:  # several would wait for one another
                self._save()
            raise

    def update(self, batch: Batch, check: bool = True) -> None:
        """One step of the generator, and of the critic if there is one.

        With `check` the step's numbers are read, and it is taken only if they are finite. On CUDA reading waits for the
        device, which otherwise works while this process is already preparing the next step.

        Raises NotFinite: they are not, or those of an earlier step, which was not checked, were not.
        """
        lr, hr, reals = batch.to(self.device, self.layout)
        schedule, steps = self.config.optimiser.schedule, self.config.steps
        for adam, peak in self.peaks.items():
            adam.param_groups[0]["lr"] = runtime.rate(schedule, self.step, steps, peak)

        # Forward: the generator, run as this device is fastest at it, makes SR; the losses say what is wrong with it.
        sr = self.fast(lr)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            terms = self.losses(sr, hr, self.step)
        if self.adversary is not None:  # this also prepares the critic's update
            terms["gan"] = self.adversary.step(sr, hr if reals is None else reals, self.step, self.dtype)

        # Backward: the gradient of the sum, averaged over processes. fp16 needs it scaled up, or small ones become 0.
        parameters = self.fast.set_gradients(self.scaler.scale(torch.stack(list(terms.values())).sum()))
        runtime.average_gradients(parameters, self.accelerator)
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(parameters, self.config.clip or float("inf"))  # inf: only measured

        # The generator has not moved yet: a NaN that is found here is never saved.
        numbers = dict(terms)
        if not self.scaler.is_enabled():  # with fp16, infinite gradients are normal now and then, see below
            numbers["gradient"] = norm
        if self.adversary is not None:
            numbers |= {f"critic {name}": value for name, value in self.adversary.log.items()}
        self.watch.record(self.step, numbers)
        if check:
            self._check()

        # Update: the generator, the critic, and the running average of the generator's weights.
        self.scaler.step(self.optimiser)  # skips a step whose fp16 gradients overflowed, and then scales less
        self.scaler.update()
        if self.adversary is not None:
            self.adversary.optimiser.step()
        runtime.follow(self.average, self.generator, self.config.ema, self.step)

    def _check(self) -> None:
        """Read the numbers; end the training if one is not finite."""
        self.numbers, fault = self.watch.check()
        if fault is None and self.scaler.is_enabled() and self.scaler.get_scale() < _SMALLEST_SCALE:
            fault = self.step, ["gradient"]
        if fault is not None:
            step, names = fault
            raise NotFinite(
                f"step {step}: {' and '.join(names)} not finite, from {'; '.join(self.batches.origins(step))}. "
                "To see what leads there, go on with --resume --set every.log=1. To avoid it, lower optimiser.lr, "
                f"set clip or precision: fp32, and start: {self.folder / 'last.safetensors'}"
            )

    def _due(self, *events: str, ahead: int = 0) -> bool:
        """Whether one of these is due after the steps done so far, and `ahead` more; all are after the last one."""
        step, every = self.step + ahead, self.config.every
        return step == self.config.steps or any(step % getattr(every, event) == 0 for event in events)

    def _check_due(self) -> bool:
        """Whether to check the coming step's numbers: on CUDA this waits, so only when something is due after it."""
        return self.device.type == "cpu" or self._due("log", "validate", "checkpoint", ahead=1)

    def _log(self) -> None:
        rate, numbers = self.optimiser.param_groups[0]["lr"], self.numbers
        shown = {name: numbers[name] for name in numbers if name == "critic loss" or "critic " not in name}
        self.progress.numbers(self.step, shown, rate)
        curves = {f"loss/{name}".replace("loss/critic ", "critic/"): numbers[name] for name in numbers}
        curves |= {"speed/rate": rate, "speed/seconds a step": self.progress.pace}
        plan = self.adversary.plan if self.adversary is not None and self._due("pictures") else None
        self._show(curves, {} if plan is None else {"transport/plan": plan_picture(plan)})

    def _validate(self) -> None:
        """Measure the running average, each process some of the photos; keep it if it is the best so far."""
        scores, pictures = validate(self.average, self.validation, self.accelerator, self.dtype)
        better = improves(scores, self.best, self.config.losses)
        self.best = scores if better else self.best
        if self.main:
            append_scores(self.folder / "validation.tsv", self.step, scores)
            if better:
                self._write("best.safetensors", scores)
        self._show(scores, pictures, "validation/")
        self.progress.scores(self.step, scores, better)

    def _show(self, curves: dict[str, float], pictures: dict[str, Tensor], above: str = "") -> None:
        """In TensorBoard, pictures when they are due. Its thread writes: an error may be that of an earlier call."""
        if self.main:
            with checkpoints.named(self.folder / "log"):
                for name, value in curves.items():
                    self.tensorboard.add_scalar(above + name, value, self.step)
                for name, picture in pictures.items() if self._due("pictures") else ():
                    self.tensorboard.add_image(above + name, picture, self.step)

    def _save(self) -> None:
        """The checkpoint, of numbers that are known to be finite."""
        if self.watch.unread:
            self._check()
        self.accelerator.wait_for_everyone()
        if self.main:
            self._write("last.safetensors", {})
            state = {"recipe": self.config.decisive(), "step": self.step, "best": self.best}
            state["validation"] = self.config.validation.model_dump(mode="json")
            state |= {name: part.state_dict() for name, part in self.parts.items()}
            checkpoints.save(self.folder, state)

    def _write(self, name: str, scores: dict[str, float]) -> None:
        """The running average as weights that `otsr upscale --weights` takes, with their story."""
        story = checkpoints.story(self.config, self.step, self.batches.fingerprint, scores)
        with checkpoints.named(self.folder / name):
            weights.save(self.average, self.folder / name, story)
