"""How fast, how small and how exact is the upscaler, beside the plain forward pass of the same network?

    python benchmarks/inference.py --out benchmarks/results/inference.md     # about 10 minutes on 2 cores, 12 GB
    python benchmarks/inference.py --quick                                   # small crops, 2 minutes
    python benchmarks/inference.py --device cuda                             # the GPU's table, under a minute

Three tables. (1) Seconds, and peak memory above what the process held before, each way in a process of its own on a
real phone photo: the plain fp32 forward pass of the whole picture, and `Upscaler` in fp32 and in its automatic
precision, without `colours`, which changes the answer. They are compared inside the picture, because `Upscaler`
mirrors the border where the plain pass sees black. (2) PSNR against the truth of clean photos shrunk by 4, plain and
automatic: what 16 bits cost. (3) The largest difference between tiles and the whole picture at each overlap, in fp32:
what `otsr.inference.OVERLAP` was chosen by.

On CUDA (1) has every precision: the plain pass alone, its input and result on the device; the same from 8-bit picture
to 8-bit picture, as one would write it; and `Upscaler`, always from picture to picture. Speeds compare with the plain
pass alone, fp32 is exact (no TF32), memory is that above what the device held before. Where the weights are not on
this machine, random ones of the same architecture are timed. (2) has the shipped small weights too.
"""

from __future__ import annotations

import argparse
import copy
import gc
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm.auto import tqdm
from writing import save

from otsr import images, weights
from otsr.datasets import phone_crops, photos
from otsr.evaluation import aligned
from otsr.inference import OVERLAP, Upscaler
from otsr.machine import DTYPES, choose_device, memory_format
from otsr.metrics import psnr
from otsr.networks.generators import RRDBNet
from otsr.weights import WeightsError

WAYS = {
    "plain": "plain forward pass, fp32, whole picture",
    "fp32": "Upscaler, fp32",
    "auto": "Upscaler, automatic precision",
}
INSIDE = slice(96, -96)  # HR pixels: what lies beyond the border hardly shows there
OVERLAPS = (4, 8, 12, 16, 20, 24, 28, 32, 40, 64)


def plain(network: nn.Module, lr: Tensor) -> Tensor:
    """The whole picture at once, as the original code does it: (3, s·h, s·w) in [0, 1]."""
    with torch.no_grad():
        return network(lr[None])[0].clamp(0, 1)  # type: ignore[no-any-return]


def upscaled(upscaler: Upscaler, lr: Tensor) -> Tensor:
    return images.read(upscaler.upscale(lr))


def work(way: str, name: str, crop: Path, answer: Path) -> None:
    """In a process of its own: upscale one crop in one way, write seconds, bytes and the picture."""
    network = weights.load(name)
    lr = torch.from_numpy(np.load(crop))
    upscaler = None if way == "plain" else Upscaler(network, precision=way, colours=False)

    def run(part: Tensor) -> Tensor:
        return plain(network, part) if upscaler is None else upscaled(upscaler, part)

    run(lr[:, :32, :32])
    gc.collect()
    before = process_memory("VmRSS")
    started = time.perf_counter()
    sr = run(lr)
    seconds = time.perf_counter() - started
    peak = process_memory("VmHWM") - before
    np.savez(answer, seconds=seconds, peak=peak, sr=images.to_array(sr))


def process_memory(key: str) -> int:
    """Bytes that this process holds ("VmRSS") or held at most ("VmHWM"). getrusage would inherit the parent's peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024


def measured(way: str, name: str, lr: Tensor, folder: Path) -> dict[str, np.ndarray]:
    """The answer of `work`."""
    crop, answer = folder / "lr.npy", folder / f"{way}.npz"
    np.save(crop, lr.numpy())
    subprocess.run([sys.executable, __file__, "--work", way, name, str(crop), str(answer)], check=True)
    return dict(np.load(answer))


def speed(name: str, lr: Tensor) -> str:
    """Table 1."""
    with tempfile.TemporaryDirectory() as folder:
        answers = {way: measured(way, name, lr, Path(folder)) for way in tqdm(WAYS, desc="speed", unit="way")}
    base = answers["plain"]
    rows = []
    for way, answer in answers.items():
        difference = (answer["sr"].astype(float) - base["sr"])[INSIDE, INSIDE]
        mse = float(np.square(difference).mean())
        agreement = f"{10 * np.log10(255**2 / mse):.1f} dB" if mse else "equal"
        rows.append(
            [
                WAYS[way],
                f"{float(answer['seconds']):.1f}",
                f"{float(base['seconds'] / answer['seconds']):.2f}×",
                f"{float(answer['peak']) / 1e6:.0f}",
                f"{float(answer['peak'] / base['peak']):.2f}",
                "-" if way == "plain" else agreement,
            ]
        )
    head = ["way", "seconds", "speed", "peak memory, MB", "of plain's memory", "PSNR to plain"]
    return aligned(head, rows)


def accuracy(name: str, side: int, count: int) -> str:
    """Table 2: the middle of validation photos, shrunk by 4 (MATLAB's bicubic), and enlarged again."""
    network = weights.load(name)
    upscaler = Upscaler(network, colours=False)
    rows, losses = [], []
    for path in tqdm(photos("val")[:count], desc="accuracy", unit="photo"):
        hr = images.read(path)
        top, left = (max(0, (n - 4 * side) // 2) for n in hr.shape[-2:])
        hr = images.crop_to_multiple(hr[:, top : top + 4 * side, left : left + 4 * side], 4)
        lr = images.resize(hr, 1 / 4).clamp(0, 1).mul(255).round().div(255)
        exact = float(psnr(plain(network, lr).mul(255).round().div(255), hr, border=INSIDE.start))
        ours = float(psnr(upscaled(upscaler, lr), hr, border=INSIDE.start))
        losses.append(ours - exact)
        rows.append([path.stem, f"{exact:.3f}", f"{ours:.3f}", f"{ours - exact:+.4f}"])
    rows.append(["mean", "", "", f"{statistics.mean(losses):+.4f}"])
    dtype = str(upscaler.dtype).removeprefix("torch.")
    return aligned(["photo", "plain fp32, dB", f"Upscaler {dtype}, dB", "difference"], rows)


def seams(name: str, side: int, count: int) -> str:
    """Table 3: two tiles side by side against the whole, on phone photos with texture."""
    network = weights.load(name).to(memory_format=torch.channels_last)
    chosen = [path for path in phone_crops() if "smooth" not in path.stem][::-1][:count]
    worst: dict[str, list[float]] = {}
    for path in tqdm(chosen, desc="seams", unit="photo"):
        lr = images.read(path)[:, 300 : 300 + side, 400 : 400 + 2 * side]
        whole = plain(network, lr)[..., : 4 * side]
        worst[path.stem] = [
            255 * float((plain(network, lr[..., : side + overlap])[..., : 4 * side] - whole).abs().max())
            for overlap in OVERLAPS
        ]
    rows = [[stem, *(f"{value:.2f}" for value in values)] for stem, values in worst.items()]
    rows.append(["largest", *(f"{max(column):.2f}" for column in zip(*worst.values(), strict=True))])
    return aligned(["overlap, LR pixels", *map(str, OVERLAPS)], rows)


def cpu_report(name: str, quick: bool) -> str:
    photo = phone_crops("mixed", iso=382)[0]
    lr = images.read(photo)
    lr = lr[:, 300:400, 400:500] if quick else lr
    return "\n\n".join(
        [
            f"# Upscaling with {name}",
            f"torch {torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()} cores "
            f"({platform.machine()}). Made by `python benchmarks/inference.py`.",
            f"## Speed and memory: {photo.name}, {lr.shape[-1]}×{lr.shape[-2]} pixels",
            speed(name, lr),
            "## What 16 bits cost: PSNR against the truth",
            accuracy(name, 64 if quick else 128, 2 if quick else 6),
            f"## Seams: largest difference from the whole picture in grey levels (ours overlaps by {OVERLAP})",
            seams(name, 48 if quick else 64, 2 if quick else 7),
        ]
    )


# --- on CUDA


def cuda_report(name: str, device: torch.device) -> str:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        network, warning = weights.load(name, download=False), ""
    except WeightsError:
        torch.manual_seed(0)
        network = RRDBNet().eval()
        warning = f"\n\n**{name} is not on this machine: random weights of RRDBNet 64/23 are measured.**"
    photo = phone_crops("mixed", iso=382)[0]
    pixels = images.open_picture(photo).pixels[:480, :640]
    return "\n\n".join(
        [
            f"# Upscaling with {name} on {torch.cuda.get_device_name(device)}",
            f"torch {torch.__version__}. Made by `python benchmarks/inference.py --device cuda`.{warning}",
            f"## Speed and memory: {photo.name}, {pixels.shape[1]}×{pixels.shape[0]} pixels",
            cuda_speed(network, pixels, device),
            "## What 16 bits cost: PSNR to plain fp32",
            cuda_accuracy({} if warning else {name: network}, pixels, device),
        ]
    )


def cuda_speed(network: nn.Module, pixels: np.ndarray, device: torch.device) -> str:
    """Milliseconds and bytes of three ways in three precisions."""
    height, width = pixels.shape[:2]
    rows = []
    for precision, dtype in DTYPES.items():
        alone, pictured = plain_ways(network, pixels, device, dtype)
        upscaler = Upscaler(network, device=device, precision=precision)
        base = 0.0
        for way, run in (
            ("plain pass alone", alone),
            ("plain, picture to picture", pictured),
            ("Upscaler", lambda upscaler=upscaler: upscaler.upscale(pixels)),
        ):
            seconds, peak = cuda_cost(run, device)
            base = base or seconds
            cells = [
                f"{way}, {precision}",
                f"{1e3 * seconds:.1f}",
                f"{base / seconds:.2f}×",
                f"{peak / 1e6:.0f}",
            ]
            rows.append([*cells, "-"])
        predicted = upscaler.predict_window_memory(width, height, *upscaler.plan(width, height))
        rows[-1][-1] = f"{predicted / 1e6:.0f}"
        del alone, pictured, upscaler, run
    return aligned(["way", "ms", "speed", "peak memory, MB", "predicted, MB"], rows)


def plain_ways(
    network: nn.Module, pixels: np.ndarray, device: torch.device, dtype: torch.dtype
) -> tuple[Callable[[], Tensor], Callable[[], Image.Image]]:
    """The plain pass on the device, and from picture to picture; 16 bits by autocast, in channels_last."""
    layout = memory_format(device, dtype)
    placed = copy.deepcopy(network).to(device, memory_format=layout)

    def upload() -> Tensor:
        lr = torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
        return lr.permute(2, 0, 1)[None].float().div(255).contiguous(memory_format=layout)

    def forward(lr: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            return placed(lr)  # type: ignore[no-any-return]

    def pictured() -> Image.Image:
        sr = forward(upload())[0].clamp(0, 1).mul(255).round().to(torch.uint8)
        return Image.fromarray(sr.permute(1, 2, 0).contiguous().cpu().numpy())

    window = upload()
    return lambda: forward(window), pictured


def cuda_cost(run: Callable[[], object], device: torch.device) -> tuple[float, int]:
    """Median seconds of five calls after a first one, and the peak of device memory above what was held before."""
    run()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(5):
        torch.cuda.synchronize(device)
        started = time.perf_counter()
        run()
        torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), torch.cuda.max_memory_allocated(device) - before


def cuda_accuracy(networks: dict[str, nn.Module], pixels: np.ndarray, device: torch.device) -> str:
    """Agreement with the plain fp32 pass, of `networks` and of the shipped small weights."""
    lr = torch.from_numpy(pixels.copy()).to(device).permute(2, 0, 1).float().div(255)
    rows = []
    for name, network in (networks | {"otsr-small": weights.load("otsr-small")}).items():
        exact = plain(copy.deepcopy(network).to(device), lr).mul(255).round().div(255).cpu()
        cells = []
        for precision in DTYPES:
            upscaler = Upscaler(network, device=device, precision=precision, colours=False)
            cells.append(psnr(images.read(upscaler.upscale(pixels)), exact, border=INSIDE.start))
        rows.append([name, *(f"{float(cell):.1f} dB" for cell in cells)])
    return aligned(["weights", *(f"Upscaler, {precision}" for precision in DTYPES)], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="realsr-df2k")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for a table of its own")
    parser.add_argument("--quick", action="store_true", help="small crops")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        way, name, crop, answer = arguments.work
        work(way, name, Path(crop), Path(answer))
        return
    device = choose_device(arguments.device)
    report = (
        cuda_report(arguments.weights, device)
        if device.type == "cuda"
        else cpu_report(arguments.weights, arguments.quick)
    )
    print(report)
    if arguments.out:
        save(arguments.out, report)


if __name__ == "__main__":
    main()
