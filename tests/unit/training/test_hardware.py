"""Precision, threads and gradients: what the trainer asks of the machine that it runs on."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from otsr import machine
from otsr.networks.generators import Compact, RRDBNet
from otsr.training import ConfigError, hardware, load_config, trainer

TINY = Path(__file__).parents[3] / "configs" / "tiny.yml"
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("asked", "device", "fast", "expected"),
    [
        ("auto", CPU, True, torch.bfloat16),
        ("auto", CPU, False, torch.float32),
        ("auto", CUDA, True, torch.bfloat16),
        ("auto", CUDA, False, torch.float32),
        ("bf16", CPU, False, torch.bfloat16),
        ("fp32", CPU, True, torch.float32),
        ("fp16", CUDA, True, torch.float16),
    ],
)
def test_auto_is_bf16_only_where_the_device_is_fast_at_it(
    monkeypatch: pytest.MonkeyPatch, asked: str, device: torch.device, fast: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(machine, "fast_bf16", lambda: fast)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: fast)
    assert hardware.choose_precision(load_config(TINY, [f"precision={asked}"]), device) == expected


def test_fp16_on_a_cpu_is_refused_with_what_to_say_instead() -> None:
    with pytest.raises(ConfigError, match="precision is fp16, which needs CUDA; say auto, bf16 or fp32"):
        hardware.choose_precision(load_config(TINY, ["precision=fp16"]), CPU)


def kernels() -> dict[str, bool]:
    return {
        "repeatable": torch.are_deterministic_algorithms_enabled(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,
        "tf32 in products": torch.backends.cuda.matmul.allow_tf32,
        "tf32 in convolutions": torch.backends.cudnn.allow_tf32,
        "trials": torch.backends.cudnn.benchmark,
    }


@pytest.mark.parametrize("broken_off", [False, True])
@pytest.mark.parametrize(("device", "exact"), [(CUDA, True), (CUDA, False), (CPU, True)])
def test_how_cuda_multiplies_is_as_before_once_a_training_has_ended(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, exact: bool, broken_off: bool
) -> None:
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")  # all that cuBLAS repeats with
    before, seen = kernels(), []

    class OnThatDevice:
        def __init__(self, *_: object) -> None:
            hardware.choose_kernels(device, exact=exact)

        def run(self) -> None:
            seen.append(kernels())
            if broken_off:
                raise KeyboardInterrupt

        def close(self) -> None: ...

    monkeypatch.setattr(trainer, "Trainer", OnThatDevice)
    with pytest.raises(KeyboardInterrupt) if broken_off else nullcontext():
        trainer.train(load_config(TINY), Path("nowhere"))
    fast = dict.fromkeys(("tf32 in products", "tf32 in convolutions", "trials"), not exact)
    assert seen == [{"repeatable": exact, "fill": False, **fast} if device == CUDA else before]
    assert kernels() == before


@pytest.mark.parametrize(
    ("neighbours", "told", "expected"), [("2", "1", 4), ("16", "1", 1), ("1", "1", 3), ("2", "5", 3)]
)
def test_processes_of_one_machine_share_its_cores_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, neighbours: str, told: str, expected: int
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", neighbours)
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    monkeypatch.setattr(hardware, "_cores", lambda: 8)
    try:
        torch.set_num_threads(3)
        hardware.share_cores(CPU)
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


def test_gradients_are_averaged_in_one_exchange_and_keep_their_layout() -> None:
    exchanges: list[Tensor] = []

    def reduce(flat: Tensor, kind: str) -> Tensor:
        exchanges.append(flat)
        assert kind == "mean"
        return (flat + 3 * flat) / 2  # the other process has three times as much

    pair: Any = SimpleNamespace(num_processes=2, reduce=reduce)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)).to(memory_format=torch.channels_last)
    frozen = nn.Parameter(torch.zeros(2))
    network(torch.rand(1, 3, 8, 8)).sum().backward()
    before = [parameter.grad.clone() for parameter in network.parameters()]
    hardware.average_gradients([*network.parameters(), frozen], pair)
    for parameter, old in zip(network.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * old)
        assert parameter.grad.stride() == old.stride()
    assert len(exchanges) == 1 and frozen.grad is None


@pytest.mark.parametrize(
    "network", [RRDBNet(nf=8, nb=1, gc=4), Compact(nf=8, nb=2)], ids=["RRDBNet", "Compact"]
)
def test_a_copy_in_16_bits_is_as_near_to_fp32_as_autocast(network: nn.Module) -> None:
    lr = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    fast = hardware.Fast(network, torch.bfloat16, lr, graphs=True)
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
