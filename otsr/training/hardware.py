"""What differs between machines: precision, kernels, threads, and the processes that share a batch."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from otsr import machine
from otsr.training.schema import Config


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


@contextmanager
def kernels_restored() -> Iterator[None]:
    """Afterwards CUDA multiplies as before, whatever `choose_kernels` was asked for inside."""
    repeatable = torch.are_deterministic_algorithms_enabled()
    switches = [
        (torch.utils.deterministic, "fill_uninitialized_memory"),
        (torch.backends.cuda.matmul, "allow_tf32"),
        (torch.backends.cudnn, "allow_tf32"),
        (torch.backends.cudnn, "benchmark"),
    ]
    before = [getattr(holder, name) for holder, name in switches]
    try:
        yield
    finally:
        for (holder, name), value in zip(switches, before, strict=True):
            setattr(holder, name, value)
        if torch.are_deterministic_algorithms_enabled() != repeatable:  # the call takes seconds
            torch.use_deterministic_algorithms(repeatable)


def choose_kernels(device: torch.device, *, exact: bool) -> None:
    """Set, for this process, how CUDA multiplies: exact and repeatable, or as fast as it can.

    Args:
        exact: no TF32, and sums in one order: an operation that has none raises RuntimeError. Otherwise TF32, and for
            each shape of batch the convolution that a trial finds fastest: a resumed training then agrees to rounding,
            not to the last bit.
    """
    if device.type != "cuda":
        return
    torch.use_deterministic_algorithms(exact)
    # Else every result is written twice.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.allow_tf32 = not exact
    torch.backends.cudnn.allow_tf32 = not exact
    torch.backends.cudnn.benchmark = not exact


class Fast:
    """A network as the device runs it best, while its weights stay in float32 for the optimiser.

    In 16 bits a copy does the work: weights are cast once a step for all layers, where autocast casts those of each
    convolution forwards and their gradients backwards; its numbers are as near to float32's.

    Args:
        network: float32, on the device; not changed.
        dtype: in which it multiplies.
        sample: an input; each later one has its shape and layout.
        graphs: on CUDA both passes are recorded once and replayed as one launch each, with the same numbers. Elsewhere
            nothing changes.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype, sample: Tensor, *, graphs: bool) -> None:
        self.network = network
        self._runs = network if dtype == torch.float32 else copy.deepcopy(network).to(dtype)
        if graphs and sample.is_cuda:
            torch.cuda.make_graphed_callables(self._runs, (sample,))

    def __call__(self, batch: Tensor) -> Tensor:
        """The network's answer in float32, with today's weights."""
        if self._runs is not self.network:
            with torch.no_grad():
                torch._foreach_copy_(list(self._runs.parameters()), list(self.network.parameters()))
        return self._runs(batch).float()

    def set_gradients(self, loss: Tensor) -> list[nn.Parameter]:
        """Differentiate; return the network's parameters, which have the gradient now."""
        parameters = list(self.network.parameters())
        gradients = torch.autograd.grad(loss, list(self._runs.parameters()))
        if self._runs is not self.network:
            wide = [torch.empty_like(parameter) for parameter in parameters]
            torch._foreach_copy_(wide, gradients)
            gradients = tuple(wide)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return parameters


def share_cores(device: torch.device) -> None:
    """Give each process that torchrun started on this machine its part of the cores.

    torchrun allows each one thread (OMP_NUM_THREADS=1), unless it is told another number, which then holds.
    """
    neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device.type == "cpu" and neighbours > 1 and os.environ.get("OMP_NUM_THREADS") == "1":
        torch.set_num_threads(max(1, _cores() // neighbours))


def average_gradients(parameters: Iterable[nn.Parameter], accelerator: Accelerator) -> None:
    """Replace each gradient by its mean over the processes, in one exchange."""
    if accelerator.num_processes == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
