"""What the machine is said to have is what its files say; memory counted is memory used."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from otsr import machine

KERNEL = {"proc/meminfo": "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable: 5000 kB\n"}
GROUP = "sys/fs/cgroup/memory."
OLD = "sys/fs/cgroup/memory/memory."


@pytest.mark.parametrize(
    ("files", "available"),
    [
        (KERNEL, 5000 * 1024),
        (KERNEL | {f"{GROUP}max": "3000000\n", f"{GROUP}current": "2000000\n",
                   f"{GROUP}stat": "anon 5\ninactive_file 400000\n"}, 1_400_000),
        ({f"{OLD}limit_in_bytes": "3000000\n", f"{OLD}usage_in_bytes": "1000000\n"}, 2_000_000),
        (KERNEL | {f"{GROUP}max": "max\n", f"{GROUP}current": "2000000\n"}, 5000 * 1024),
        ({}, None),
    ],
    ids=["the kernel's", "a container's, less its file cache", "an old container's", "no limit", "unknown"],
)  # fmt: skip
def test_memory_that_is_free(files: dict[str, str], available: int | None, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.available_memory(tmp_path) == available


@pytest.mark.parametrize(
    ("flags", "fast"),
    [("flags : sse avx512_bf16", True), ("flags : sse amx_bf16", True), ("Features : fp asimd bf16", True),
     ("flags : sse avx2 avx512f", False)],
)  # fmt: skip
def test_bf16_is_fast_where_the_processor_multiplies_it(
    flags: str, fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    assert machine.fast_bf16(tmp_path / "cpuinfo") is fast
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert not machine.fast_bf16(tmp_path / "cpuinfo")


@pytest.mark.parametrize(
    ("device", "fast", "dtype"),
    [("cuda", False, torch.float16), ("cpu", True, torch.bfloat16), ("cpu", False, torch.float32),
     ("mps", True, torch.float32)],
)  # fmt: skip
def test_automatic_precision_follows_the_device(
    device: str, fast: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "fast_bf16", lambda: fast)
    assert machine.choose_dtype("auto", torch.device(device)) == dtype


def test_live_peak_counts_what_is_alive_at_one_time() -> None:
    def run() -> torch.Tensor:
        a = torch.empty(100, device="meta")  # 400 bytes
        b = a + 1  # 800
        del a  # 400
        view = b.view(10, 10)  # counts nothing
        c = view * 2  # 800
        c += 1
        return torch.cat([c, c])  # 1600

    assert machine.live_peak(run) == 1600


@pytest.mark.parametrize(
    ("device", "dtype", "ends", "layout"),
    [
        ("cuda", torch.float32, torch.float32, torch.contiguous_format),
        ("cuda", torch.float16, torch.float16, torch.channels_last),
        ("cuda", torch.bfloat16, torch.float16, torch.channels_last),
        ("mps", torch.float16, torch.float32, torch.contiguous_format),
        ("cpu", torch.float32, torch.float32, torch.channels_last),
        ("cpu", torch.bfloat16, torch.float32, torch.channels_last),
    ],
)
def test_layout_and_precision_of_the_ends_follow_the_device(
    device: str, dtype: torch.dtype, ends: torch.dtype, layout: torch.memory_format
) -> None:
    network = nn.Sequential(*(nn.Conv2d(4, 4, 3) for _ in range(3)))
    placed = machine.place(network, torch.device(device), dtype, on=torch.device("cpu"))
    assert [layer.weight.dtype for layer in placed] == [ends, dtype, ends]
    assert all(layer.weight.is_contiguous(memory_format=layout) for layer in placed)
    assert placed(torch.rand(1, 4, 8, 8)).dtype == ends


def test_memory_that_pytorch_holds_unused_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 700)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 200)
    assert machine.free_on(torch.device("cuda")) == 1500
    assert machine.free_on(torch.device("cpu")) == math.inf


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(48.4, "48 s"), (89, "89 s"), (90, "2 min"), (3570, "1 h 00 min"), (3 * 3600 + 5 * 60, "3 h 05 min"),
     (52 * 3600, "2 d 4 h")],
)  # fmt: skip
def test_a_duration_has_two_parts_at_most(seconds: float, words: str) -> None:
    assert machine.duration(seconds) == words
