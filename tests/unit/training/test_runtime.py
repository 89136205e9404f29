"""Precision, threads, gradients, learning rates and signals: what surrounds the arithmetic of a training."""

import math
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_training import CONFIGS
from torch import Tensor, nn

from otsr import machine
from otsr.networks.generators import Compact, RRDBNet
from otsr.training import ConfigError, load_config, runtime, trainer
from otsr.training.runtime import rate
from otsr.training.schema import Schedule

TINY = CONFIGS / "tiny.yml"
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("asked", "device", "fast", "expected"),
    [
        ("auto", CPU, True, "bfloat16"), ("auto", CPU, False, "float32"), ("auto", CUDA, True, "bfloat16"),
        ("auto", CUDA, False, "float32"), ("bf16", CPU, False, "bfloat16"), ("fp16", CUDA, True, "float16"),
    ],
)  # fmt: skip
def test_auto_is_bf16_only_where_the_device_is_fast_at_it(
    monkeypatch: pytest.MonkeyPatch, asked: str, device: torch.device, fast: bool, expected: str
) -> None:
    monkeypatch.setattr(machine, "fast_bf16", lambda: fast)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: fast)
    found = runtime.choose_precision(load_config(TINY, [f"precision={asked}"]), device)
    assert found == getattr(torch, expected)
    with pytest.raises(ConfigError, match="precision is fp16, which needs CUDA; use auto, bf16 or fp32"):
        runtime.choose_precision(load_config(TINY, ["precision=fp16"]), CPU)


def kernels() -> list[bool]:
    """Repeatable; new tensors filled; TF32 in products, in convolutions; trials."""
    repeatable = torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return [repeatable, filled, cuda.allow_tf32, cudnn.allow_tf32, cudnn.benchmark]


@pytest.mark.parametrize("broken_off", [False, True])
@pytest.mark.parametrize(("device", "exact"), [(CUDA, True), (CUDA, False), (CPU, True)])
def test_how_cuda_multiplies_is_as_before_once_a_training_has_ended(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, exact: bool, broken_off: bool
) -> None:
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")  # all that cuBLAS repeats with
    before, seen = kernels(), []

    class OnThatDevice:
        def __init__(self, *_: object, **__: object) -> None:
            runtime.choose_kernels(device, exact=exact)

        def run(self, progress: bool) -> None:
            seen.append(kernels())
            if broken_off:
                raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "Trainer", OnThatDevice)
    with pytest.raises(KeyboardInterrupt) if broken_off else nullcontext():
        trainer.train(load_config(TINY), Path("nowhere"))
    assert seen == [[exact, False, not exact, not exact, not exact] if device == CUDA else before]
    assert kernels() == before


def test_gradients_are_averaged_in_one_exchange_and_keep_their_layout() -> None:
    exchanges: list[Tensor] = []

    def reduce(flat: Tensor, kind: str) -> Tensor:
        exchanges.append(flat)
        assert kind == "mean"
        return (flat + 3 * flat) / 2  # the other process has three times as much

    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)).to(memory_format=torch.channels_last)
    frozen = nn.Parameter(torch.zeros(2))
    network(torch.rand(1, 3, 8, 8)).sum().backward()
    before = [parameter.grad.clone() for parameter in network.parameters()]
    pair: Any = SimpleNamespace(num_processes=2, reduce=reduce)
    runtime.average_gradients([*network.parameters(), frozen], pair)
    for parameter, old in zip(network.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * old, check_stride=True)
    assert len(exchanges) == 1 and frozen.grad is None


@pytest.mark.parametrize("network", [RRDBNet(nf=8, nb=1, gc=4), Compact(nf=8, nb=2)], ids=type)
def test_a_copy_in_16_bits_is_as_near_to_fp32_as_autocast(network: nn.Module) -> None:
    lr = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    fast = runtime.Fast(network, torch.bfloat16, lr, graphs=True)
    with torch.no_grad():  # the copy follows
        for parameter in network.parameters():
            parameter += 0.01 * torch.ones_like(parameter)
    parameters = fast.set_gradients(fast(lr).square().mean())
    found = torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None])

    def gradient(dtype: torch.dtype) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = network(lr).float().square().mean()
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters)])

    exact = gradient(torch.float32)
    assert found.dtype == torch.float32 and found.shape == exact.shape
    assert (found - exact).norm() < 1.5 * (gradient(torch.bfloat16) - exact).norm() + 1e-3 * exact.norm()


# --- learning rates


def torchs(kind: type, **arguments: object) -> list[float]:
    """20 rates of a scheduler of torch."""
    optimiser, found = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0), []
    scheduler = kind(optimiser, **arguments)
    for _ in range(20):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return found


HALF = math.cos(math.pi / 4)


@pytest.mark.parametrize(
    ("schedule", "peak", "expected"),
    [
        ({"kind": "multistep", "milestones": (5, 9, 9), "factor": 0.5}, 1.0,
         torchs(torch.optim.lr_scheduler.MultiStepLR, milestones=[5, 9, 9], gamma=0.5)),
        ({"kind": "cosine", "floor": 0.1}, 1.0,
         torchs(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=20, eta_min=0.1)),
        ({"kind": "cosine", "periods": (2, 4), "floor": 0.2}, 1.0,  # begins anew, and stays at the floor
         [1, 0.6, 1, 0.6 + 0.4 * HALF, 0.6, 0.6 - 0.4 * HALF, 0.2, 0.2]),
        ({"warmup": 4}, 0.2, [0.05, 0.1, 0.15, 0.2, 0.2, 0.2]),
    ],
    ids=["multistep", "cosine", "restarts", "warm-up"],
)  # fmt: skip
def test_rates_are_those_of_torch_and_of_the_formula(
    schedule: dict[str, Any], peak: float, expected: list[float]
) -> None:
    found = [rate(Schedule(**schedule), step, len(expected), peak) for step in range(len(expected))]
    assert found == pytest.approx(expected)


# --- signals


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_the_first_signal_is_only_noted_and_a_second_ctrl_c_ends_at_once() -> None:
    before = handlers()
    with pytest.raises(KeyboardInterrupt), runtime.interruption() as signals:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
    assert signals == [signal.SIGINT, signal.SIGTERM]
    assert handlers() == before


def test_in_another_thread_nothing_is_changed() -> None:
    def work() -> list[object]:
        with runtime.interruption():
            return handlers()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() == handlers()


def test_a_worker_does_not_complain_that_the_training_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[type] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, *_: told.append(kind))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(os, "setpgrp", lambda: None, raising=False)
    runtime.outlive_ctrl_c(0)
    for kind in (ConnectionResetError, EOFError, KeyError):
        sys.excepthook(kind, kind(), None)
    assert told == [KeyError]
