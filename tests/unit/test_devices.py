"""The upscaler where memory is short, numbers are narrow, or the device is CUDA or Apple's."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import Narrow, difference, every_network, networks, noise, plain, plainly
from torch import Tensor, nn

from otsr import inference, machine
from otsr.cli.upscale import build_upscaler
from otsr.inference import Upscaler, window
from otsr.networks.generators import Compact, RRDBNet

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@pytest.mark.parametrize(("device", "precision"), [("cpu", "bf16"), pytest.param("cuda", "fp16", marks=needs_cuda)])
def test_overflow_in_16_bits_falls_back_to_fp32_and_nan_is_refused(device: str, precision: str) -> None:
    upscaler = Upscaler(Narrow(), device=device, precision=precision, colours=False, tile=32)
    with pytest.warns(UserWarning, match="float32"):
        sr = upscaler.upscale(noise(100, 120))
    assert difference(sr, np.full((200, 240, 3), 128)) <= 1
    assert upscaler.dtype == torch.float32
    with pytest.raises(ValueError, match="NaN or infinity"):
        Upscaler(Narrow(float("nan")), device=device, precision="fp32").upscale(noise(20, 20))


@pytest.mark.parametrize("blocks", [1, 4])
def test_memory_is_predicted_from_two_blocks_as_from_all(blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = RRDBNet(nf=8, nb=blocks, gc=64)  # its trunk takes more than its layers at HR size
    predicted = plainly(network, device="cpu").predict_window_memory(64, 64)
    monkeypatch.setattr(window, "prune", lambda network, blocks: network)
    assert plainly(network, device="cpu").predict_window_memory(64, 64) == predicted


@pytest.mark.parametrize(
    ("side", "arguments"),
    [(40, (16, 2, 8)), (40, (192, 2, 8)), (192, (192, 2, 8)), (192, (32, 2, 64)), (192, (64, 2, 32)),
     (192, (64, 2, 32, 2)), (40, (64, 2, 32, 2, 2)), (192, (64, 2, 32, 2, 2))],
)  # fmt: skip
def test_the_quick_bound_on_memory_holds(side: int, arguments: tuple[int, ...]) -> None:
    dearest = {"precision": "fp32", "ensemble": True, "back_projection": 2, "tileable": True}
    engine = Upscaler(RRDBNet(*arguments), device="cpu", **dearest).engine
    assert 1.1 * engine.bytes(side, side, 64) < engine.at_most(side**2)


def test_a_picture_that_clearly_fits_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window.Engine, "bytes", lambda *arguments: pytest.fail("counted"))
    upscaler = Upscaler(RRDBNet(16, 1, 8), device="cpu", precision="fp32", tile=64)
    monkeypatch.setattr(machine, "available_memory", lambda: 10**9)
    assert upscaler.plan(640, 480) == (64, 64)
    monkeypatch.setattr(machine, "available_memory", lambda: 10**7)
    with pytest.raises(pytest.fail.Exception, match="counted"):
        upscaler.plan(640, 480)


def test_a_picture_whose_result_does_not_fit_is_refused_with_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_memory", lambda: 50_000_000)
    words = r"2000×1000 becomes 8000×4000.*0\.\d\d GB.*0\.05 GB are free.*shrink"
    with pytest.raises(MemoryError, match=words):
        Upscaler(networks()[3]).upscale(np.zeros((1000, 2000, 3), np.uint8))
    asked = r"48×36 becomes 9600×7200 .* are free; "
    with pytest.warns(UserWarning, match="beyond"), pytest.raises(MemoryError, match=asked):
        Upscaler(networks()[3]).upscale(np.zeros((36, 48, 3), np.uint8), scale=200)


def test_tiles_become_smaller_when_memory_is_short_and_each_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upscaler = plainly(networks()[0], tile=128)
    needed = upscaler.predict_memory(150, 150, 64)
    assert needed < upscaler.predict_memory(150, 150)
    monkeypatch.setattr(machine, "available_memory", lambda: needed)
    counts: list[tuple[int, int]] = []
    sr = upscaler.upscale(noise(150, 150), lambda *count: counts.append(count))
    total = len(upscaler.tiles(150, 150, 64))
    assert total > 1 and counts == [(done, total) for done in range(1, total + 1)]
    assert difference(sr, plain(networks()[0], noise(150, 150))) <= 1


_MEASURE = """
import gc, os, torch, numpy as np
from otsr import machine
from otsr.inference import Upscaler
from otsr.networks.generators import RRDBNet, Compact
torch.set_num_threads(1)
def memory(key):  # not resource.getrusage, whose peak a process inherits from its parent
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) * 1024
def measure(network, precision, tile, side):
    upscaler = Upscaler(network, precision=precision, tile=tile)
    upscaler.upscale(np.zeros((64, 64, 3), np.uint8))
    predicted = upscaler.predict_memory(side, side)
    pixels = np.zeros((side, side, 3), np.uint8)
    gc.collect()
    before = memory("VmRSS")
    upscaler.upscale(pixels)
    print(predicted, memory("VmHWM") - before, flush=True)
cases = [(RRDBNet(32, 1, 16), "fp32", 128, 200), (Compact(48, 4), "fp32", 512, 500)]
if machine.fast_bf16():
    cases.append((RRDBNet(32, 1, 16), "bf16", 512, 300))
for case in cases:  # each in a process of its own
    if os.fork() == 0:
        measure(*case)
        os._exit(0)
    os.wait()
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to measure memory")
def test_predicted_memory_is_within_a_factor_of_two() -> None:
    answer = subprocess.run([sys.executable, "-c", _MEASURE], capture_output=True, text=True, check=True)
    rows = answer.stdout.splitlines()
    assert len(rows) == 2 + machine.fast_bf16()
    reused = 64 * 2**20  # memory that the warm-up freed and the allocator kept does not count as growth
    for row in rows:
        predicted, measured = map(int, row.split())
        assert measured / 1.1 <= predicted <= 2 * (measured + reused), rows


@pytest.mark.parametrize(("width", "colours"), [(64, False), (4, True)], ids=["parts", "strips"])
def test_where_memory_is_counted_one_part_stands_for_all(
    width: int, colours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On meta tensors few parts are computed; on real ones all, and the peak is the same to 1 %."""
    monkeypatch.setattr(window, "DENSE", 60)
    monkeypatch.setattr(window, "STRIP", 2000)
    network = RRDBNet(nf=width, nb=1, gc=4)
    engine = Upscaler(network, device="cpu", precision="fp32", colours=colours).engine

    def peak(network: nn.Module, device: str) -> int:
        lr = torch.full((1, 3, 100, 90), 0.5, device=device)
        return machine.live_peak(lambda: engine._restored(network, lr.clone(), 32))

    assert peak(engine._weightless, "meta") == pytest.approx(peak(engine._placed, "cpu"), rel=0.01)


def test_seconds_grow_with_the_picture() -> None:
    upscaler = Upscaler(networks()[3], tile=64)
    assert 0 < upscaler.predict_seconds(100, 100) < upscaler.predict_seconds(1000, 1000)


def test_overlap_is_the_receptive_radius_where_that_is_smaller() -> None:
    assert Upscaler(Compact(nf=8, nb=3), colours=False).overlap == 5
    assert Upscaler(RRDBNet(nf=8, nb=6, gc=4), colours=False).overlap == inference.OVERLAP


def pretend_cuda(patch: pytest.MonkeyPatch, free: int) -> None:
    """Upscalers made from now on believe in a CUDA device with so many free bytes; their networks have no data."""
    place = machine.place

    def without_data(network: nn.Module, device: torch.device, dtype: torch.dtype, **_: object) -> nn.Module:
        return place(network, device, dtype, on=torch.device("meta"))

    patch.setattr(machine, "choose_device", lambda name: torch.device("cuda"))
    patch.setattr(machine, "place", without_data)
    patch.setattr(machine, "free_on", lambda device: free)


def test_windows_and_blocks_on_cuda_are_the_largest_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cuda(monkeypatch, free=80 * 10**9)
    upscaler = Upscaler(RRDBNet(nf=32, nb=1, gc=16), precision="fp16")
    width, height = 640, 480
    tile, block = upscaler.plan(width, height)
    assert len(upscaler.tiles(width, height, tile)) == 1
    assert block >= width, "the reconstruction, too, runs in one piece"
    seen = []
    for share in (1.3, 0.8, 0.4, 0.1):
        free = int(share * upscaler.predict_window_memory(width, height, tile, block))
        monkeypatch.setattr(machine, "free_on", lambda device, free=free: free)
        plan = upscaler.plan(width, height)
        assert upscaler.predict_window_memory(width, height, *plan) <= free
        seen.append((len(upscaler.tiles(width, height, plan[0])), -plan[1]))
    assert seen == sorted(seen), "less memory: smaller blocks first, then more windows"
    assert seen[0] == (1, -block) and seen[2] > (1, -block) and seen[2][0] == 1 and seen[-1][0] > 1
    monkeypatch.setattr(machine, "free_on", lambda device: 1000)
    with pytest.raises(MemoryError, match=r"64×48.*cuda has too little free memory; use --device cpu"):
        Upscaler(RRDBNet(nf=8, nb=1, gc=4), tile=32).plan(64, 48)


def test_a_picture_of_100_megapixels_is_bounded_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cuda(monkeypatch, free=80 * 10**9)
    monkeypatch.setattr(machine, "available_memory", lambda: None)
    upscaler = Upscaler(RRDBNet(nf=64, nb=1, gc=32), precision="fp16")
    tile, block = upscaler.plan(10_000, 10_000)
    largest = upscaler.tiles(10_000, 10_000, tile)[-1]
    assert max(largest.rows.size, largest.columns.size) <= inference.CUDA_TILE + 2 * upscaler.overlap
    assert 64 * (4 * (block + 4)) ** 2 < 2**31, "numbers in one tensor, which CUDA counts with 32 bits"


def test_the_next_window_is_begun_on_cuda_before_the_last_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_cuda(monkeypatch, free=10**9)
    upscaler = Upscaler(networks()[3], tile=32)
    cut = upscaler.tiles(100, 30)[:3]
    events: list[str] = []

    def begin(picture: object, tile: object, block: int, deep: bool) -> object:
        number = cut.index(tile)
        events.append(f"begin {number}")
        return lambda: events.append(f"wait {number}") or number

    monkeypatch.setattr(upscaler.engine, "begin", begin)
    assert [*upscaler._parts(None, cut, 128, False)] == [0, 1, 2]
    assert events == ["begin 0", "begin 1", "wait 0", "begin 2", "wait 1", "wait 2"]


def pretend_apple(patch: pytest.MonkeyPatch) -> None:
    """Upscalers made from now on believe in an Apple GPU; what is sent there stays on the CPU."""
    place, memory_format = machine.place, machine.memory_format
    patch.setattr(torch.cuda, "is_available", lambda: False)
    patch.setattr(torch.backends.mps, "is_available", lambda: True)
    cpu = torch.device("cpu")
    patch.setattr(machine, "place", lambda *what, on=None: place(*what, on=on or cpu))
    patch.setattr(machine, "memory_format", lambda device, dtype: memory_format(torch.device("mps"), dtype))
    patch.setattr(machine, "send", lambda tensor, device: tensor)


def test_apples_gpu_is_taken_where_it_is_and_memory_counted_as_shared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_cpu = Upscaler(networks()[0], device="cpu", precision="fp32")
    pretend_apple(monkeypatch)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert machine.choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match=r"'cuda:7' cannot be used; here: auto, cpu, mps \("):
        machine.choose_device("cuda:7")
    upscaler = Upscaler(networks()[0], tile=32)
    assert (upscaler.device.type, upscaler.dtype, upscaler.tile) == ("mps", torch.float32, 32)
    assert difference(upscaler.upscale(noise(40, 50)), on_cpu.upscale(noise(40, 50))) <= 1
    assert Upscaler(networks()[0]).tile == inference.TILE
    build_upscaler("psnr-small", device="auto")
    build_upscaler("psnr-small", device="cpu")
    assert capsys.readouterr().err == "using Apple's GPU (mps); --device cpu uses the CPU\n"
    assert upscaler.predict_memory(40, 50, 64) == pytest.approx(on_cpu.predict_memory(40, 50, 64), rel=0.1)


def test_what_apples_gpu_cannot_do_is_done_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lacking(Narrow):
        def forward(self, lr: Tensor) -> Tensor:
            if upscaler.device.type == "mps":
                raise NotImplementedError("The operator 'aten::_new' is not implemented for the MPS device.")
            return super().forward(lr)

    pretend_apple(monkeypatch)
    upscaler = Upscaler(Lacking(), colours=False)
    with pytest.warns(UserWarning, match=r"mps cannot do this .*aten::_new.*; going on on the CPU"):
        sr = upscaler.upscale(noise(20, 20))
    assert upscaler.device.type == "cpu"
    assert difference(sr, np.full((40, 40, 3), 128)) <= 1


def test_fp32_is_multiplied_in_full_and_the_process_keeps_its_own_choice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TF32 rounds to 10 bits, and its convolutions take workspace that no prediction counts."""
    seen = []
    network = Narrow()
    network.register_forward_pre_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    Upscaler(network, precision="fp32").upscale(noise(20, 20))
    assert not seen[-1] and torch.backends.cudnn.allow_tf32


@needs_cuda
@every_network
def test_cuda_agrees_with_the_cpu_and_its_16_bits_stay_close(network: nn.Module) -> None:
    large, small = noise(61, 80), noise(40, 40)
    for tile in (32, None):
        assert difference(plainly(network, device="cuda", tile=tile).upscale(large), plain(network, large)) <= 2
    for precision in ("fp16", "bf16"):
        sr = Upscaler(network, device="cuda", precision=precision, colours=False).upscale(small)
        error = np.asarray(sr).astype(float) - plain(network, small)
        assert float(np.square(error).mean()) < 0.65, "at least 50 dB of agreement"


@needs_cuda
@pytest.mark.parametrize("options", [{}, {"ensemble": True}, {"back_projection": 3}], ids=str)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tiles_and_blocks_do_not_show_on_cuda(
    precision: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, pixels = networks()[0], noise(150, 200)
    whole = Upscaler(network, device="cuda", precision=precision, **options).upscale(pixels)
    monkeypatch.setattr(window, "BLOCKS", (32,))
    monkeypatch.setattr(window, "CUDA_BLOCKS", (32,))
    tiled = Upscaler(network, device="cuda", precision=precision, tile=48, **options).upscale(pixels)
    assert difference(tiled, whole) <= (1 if precision == "fp32" else 4)


@needs_cuda
@pytest.mark.parametrize("block", [1024, 128])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_predicted_memory_on_cuda_is_within_a_tenth(
    precision: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "CUDA_BLOCKS", (block,))
    upscaler = Upscaler(RRDBNet(nf=64, nb=2, gc=32), device="cuda", precision=precision)
    pixels = noise(480, 640)
    upscaler.upscale(pixels)  # what the libraries keep for themselves is taken now
    predicted = upscaler.predict_window_memory(640, 480, *upscaler.plan(640, 480))
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    upscaler.upscale(pixels)
    assert predicted == pytest.approx(torch.cuda.max_memory_allocated() - before, rel=0.1)
