"""How many training crops a second come from the disk, beside the loading of the original code?

    python benchmarks/data_loading.py --out benchmarks/results/data_loading.md     # about 3 minutes, 0.5 GB of disk
    python benchmarks/data_loading.py --quick                                      # small photos, half a minute

The photos are synthetic, of DF2K's size (2040×1356): pairs of course photos enlarged, mixed and given some grain, so
that their PNGs are as large as DF2K's (4 to 5 MB). LR is bicubic, 510×339. A crop is a float HR tensor 3×128×128 and
its LR 3×32×32. All files are in the system's cache, one process, one thread, so seconds are processor time; ways take
turns, several rounds, and a ratio compares what was measured in one round. The second table is in seconds of the clock.

The original's loading (`RealSR` and `OTSR`, class LQGTDataset) is rendered here in its own words: both images of a pair
are read whole, from PNG files or from LMDB values of raw pixels, turned into float arrays, then cropped, flipped, and
made tensors. It reads PNGs with OpenCV; here Pillow does, for both.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import lmdb
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm.auto import tqdm
from writing import save

from otsr import images
from otsr.datasets import phone_crops, photos
from otsr.degradation import Degradation
from otsr.degradation.camera import estimate_camera
from otsr.evaluation import aligned
from otsr.networks.generators import Compact, RRDBNet
from otsr.training.batches import Batch, TrainingBatches
from otsr.training.schema import Data
from otsr.training.sources import pack
from otsr.training.store import Store

SCALE, CROP, BATCH = 4, 128, 16
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # what the trainer takes
Way = Callable[[], int]  # makes some crops, says how many


def make_photos(folder: Path, number: int, height: int, width: int) -> None:
    """`number` PNG photos in folder/hr, and their bicubic LR in folder/lr."""
    (folder / "hr").mkdir(parents=True)
    (folder / "lr").mkdir()
    found = photos("train")
    draw = torch.Generator().manual_seed(0)
    for index in tqdm(range(number), desc="making photos", unit="photo"):
        one, two = (enlarged(found[(index + shift) % len(found)], height, width) for shift in (0, 9))
        grain = 0.008 * torch.randn(3, height, width, generator=draw)
        hr = (0.6 * one + 0.4 * two.flip(-1) + grain).clamp(0, 1)
        images.write(folder / "hr" / f"{index:04}.png", hr)
        images.write(folder / "lr" / f"{index:04}.png", images.resize(hr, 1 / SCALE).clamp(0, 1))


def enlarged(path: Path, height: int, width: int) -> Tensor:
    photo = images.read(path)
    factor = max(height / photo.shape[1], width / photo.shape[2])
    return images.resize(photo, factor)[:, :height, :width]


# --- the original's loading


def original_crop(hr: np.ndarray, lr: np.ndarray, draw: random.Random) -> tuple[Tensor, Tensor]:
    """The rest of a sample, from whole float images (H, W, 3): random crop, flips and rotation, tensors."""
    side = CROP // SCALE
    top = draw.randint(0, max(0, lr.shape[0] - side))
    left = draw.randint(0, max(0, lr.shape[1] - side))
    lr = lr[top : top + side, left : left + side]
    hr = hr[SCALE * top : SCALE * top + CROP, SCALE * left : SCALE * left + CROP]
    mirror, upend, turn = (draw.random() < 0.5 for _ in range(3))
    pair = []
    for image in (hr, lr):
        image = image[:, ::-1] if mirror else image
        image = image[::-1] if upend else image
        image = image.transpose(1, 0, 2) if turn else image
        pair.append(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float())
    return pair[0], pair[1]


def original_from_folder(folder: Path) -> Way:
    names = sorted(path.name for path in (folder / "hr").iterdir())
    draw = random.Random(0)

    def read(path: Path) -> np.ndarray:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB")).astype(np.float32) / 255.0

    def way() -> int:
        name = draw.choice(names)
        original_crop(read(folder / "hr" / name), read(folder / "lr" / name), draw)
        return 1

    return way


def original_from_lmdb(folder: Path) -> Way:
    """One LMDB value a photo, raw pixels; the original keeps the sizes apart, as here."""
    shapes: dict[tuple[str, str], tuple[int, ...]] = {}
    environments = {}
    for kind in ("hr", "lr"):
        environment = lmdb.open(str(folder / f"whole_{kind}"), map_size=1 << 32, sync=False)
        with environment.begin(write=True) as transaction:
            for path in sorted((folder / kind).iterdir()):
                pixels = images.open_picture(path).pixels
                shapes[kind, path.stem] = pixels.shape
                transaction.put(path.stem.encode(), np.ascontiguousarray(pixels).tobytes())
        environment.close()
        environments[kind] = lmdb.open(
            str(folder / f"whole_{kind}"), readonly=True, lock=False, readahead=False, meminit=False
        )
    names = sorted({name for _, name in shapes})
    draw = random.Random(0)

    def read(kind: str, name: str) -> np.ndarray:
        with environments[kind].begin(write=False) as transaction:
            value = transaction.get(name.encode())
        return np.frombuffer(value, np.uint8).reshape(shapes[kind, name]).astype(np.float32) / 255.0

    def way() -> int:
        name = draw.choice(names)
        original_crop(read("hr", name), read("lr", name), draw)
        return 1

    return way


# --- ours


def crops_only(folder: Path) -> Way:
    """HR and LR crops as they lie in the stores, uint8."""
    hr, lr = Store(folder / "hr.lmdb"), Store(folder / "lr.lmdb")
    draw = random.Random(0)

    def way() -> int:
        for _ in range(BATCH):
            index = draw.randrange(len(hr))
            height, width = lr.shape(index)
            top, left = draw.randint(0, height - CROP // SCALE), draw.randint(0, width - CROP // SCALE)
            hr.crop(index, SCALE * top, SCALE * left, CROP, CROP)
            lr.crop(index, top, left, CROP // SCALE, CROP // SCALE)
        return BATCH

    return way


def recipe(folder: Path, workers: int = 0, **changes: str) -> Data:
    settings = {"hr": str(folder / "hr.lmdb"), **changes}
    return Data(crop=CROP, batch=BATCH, workers=workers, **settings)


def batches_of(data: Data) -> Way:
    batches, steps = TrainingBatches(data, SCALE, seed=10), count()

    def way() -> int:
        batches.batch(next(steps))
        return BATCH

    return way


def all_ways(folder: Path) -> dict[str, Way]:
    lr, phone, jpeg = (str(folder / name) for name in ("lr.lmdb", "phone.safetensors", "jpeg.safetensors"))
    return {
        "original: PNG folder, decode whole, then crop": original_from_folder(folder),
        "original: LMDB of whole images, then crop": original_from_lmdb(folder),
        "ours: uint8 crops from stores, nothing else": crops_only(folder),
        "ours: the same work as the original (paired LR, flips, float tensors)": batches_of(recipe(folder, lr=lr)),
        "ours: LR made by bicubic": batches_of(recipe(folder)),
        "ours: LR made with the phone's kernels and noise": batches_of(recipe(folder, degradation=phone)),
        "ours: the same, and JPEG": batches_of(recipe(folder, degradation=jpeg)),
    }  # fmt: skip


def speeds(ways: dict[str, Way], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Crops of each way for a second of processor time, in each round."""
    for way in ways.values():
        way()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in tqdm(range(rounds), desc="rounds"):
        for name, way in ways.items():
            made, started, ends = 0, time.process_time(), time.perf_counter() + seconds
            while time.perf_counter() < ends:
                made += way()
            found[name].append(made / (time.process_time() - started))
    return found


def speed_table(found: dict[str, list[float]]) -> str:
    base = next(iter(found.values()))
    rows = []
    for name, rates in found.items():
        ratios = [rate / other for rate, other in zip(rates, base, strict=True)]
        rows.append(
            [name, f"{statistics.median(rates):,.0f}", f"{1e3 / statistics.median(rates):.2f}",
             f"{statistics.median(ratios):,.1f}×", f"{min(ratios):,.0f} to {max(ratios):,.0f}"]
        )  # fmt: skip
    return aligned(["way", "crops/s", "ms a crop", "of the PNG folder", "in rounds"], rows)


# --- beside the training step


def training(network: nn.Module, batches: Iterator[tuple[int, Batch]], steps: int) -> tuple[float, float]:
    """Seconds a step, and those of them that wait for data: an L1 step of the generator alone."""
    optimiser = torch.optim.Adam(network.parameters(), 1e-4)
    waited, started = 0.0, 0.0
    for number in range(steps + 2):
        if number == 2:  # the first two warm up
            waited, started = 0.0, time.perf_counter()
        asked = time.perf_counter()
        _, batch = next(batches)
        waited += time.perf_counter() - asked
        optimiser.zero_grad()
        lr, hr, _ = batch.to(DEVICE)
        loss = nn.functional.l1_loss(network(lr), hr)
        loss.backward()
        optimiser.step()
        loss.item()
    return (time.perf_counter() - started) / steps, waited / steps


def step_table(folder: Path, quick: bool) -> str:
    torch.manual_seed(0)
    networks: dict[str, nn.Module] = {"Compact 32/8": Compact(nf=32, nb=8, scale=SCALE).to(DEVICE)}
    if DEVICE.type == "cuda":
        networks["RRDBNet 64/23"] = RRDBNet(scale=SCALE).to(DEVICE)
    places = {
        "stores, LR by kernels, noise and JPEG": {"degradation": str(folder / "jpeg.safetensors")},
        "stores, paired LR": {"lr": str(folder / "lr.lmdb")},
    }
    steps = 5 if quick else 30
    rows = []
    for name, network in networks.items():
        fixed = TrainingBatches(recipe(folder), SCALE, seed=10).batch(0)
        bare, _ = training(network, ((step, fixed) for step in count()), steps)
        rows.append([name, "one batch again and again", "-", f"{1e3 * bare:.1f}", "-", "-"])
        for place, changes in places.items():
            for workers in (0, 1, 2):
                batches = TrainingBatches(recipe(folder, workers, **changes), SCALE, seed=10)
                with closing(batches.stream()) as stream:
                    seconds, waited = training(network, stream, steps)
                times = [f"{1e3 * seconds:.1f}", f"{1e3 * waited:.1f}", f"{100 * waited / seconds:.0f} %"]
                rows.append([name, place, str(workers), *times])
    return aligned(["network", "data", "workers", "ms a step", "of these waiting for data", "part"], rows)


def report(folder: Path, quick: bool) -> str:
    height, width, number = (340, 512, 3) if quick else (1356, 2040, 6)
    make_photos(folder, number, height, width)
    for kind in ("hr", "lr"):
        pack([folder / kind], folder / f"{kind}.lmdb", progress=False)
    phone = estimate_camera(phone_crops(), SCALE).degradation
    phone.save(folder / "phone.safetensors")
    Degradation(SCALE, phone.kernels, phone.noise, (60, 95)).save(folder / "jpeg.safetensors")
    png = sum(path.stat().st_size for path in (folder / "hr").iterdir()) / number / 1e6
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = speeds(all_ways(folder), 2 if quick else 5, 0.3 if quick else 2.0)
    torch.set_num_threads(threads)
    return "\n\n".join(
        [
            "# Loading training crops",
            f"{number} photos of {width}×{height} ({png:.1f} MB a PNG), crops {CROP} and {CROP // SCALE} pixels, one "
            f"process, one thread, warm cache; lmdb {lmdb.__version__}, Pillow {Image.__version__}, torch "
            f"{torch.__version__}, {os.cpu_count()} cores ({platform.machine()}). Made by "
            "`python benchmarks/data_loading.py`.",
            speed_table(found),
            f"## Beside a training step: batch {BATCH}, L1 loss, {DEVICE}, {threads} threads",
            step_table(folder, quick),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small photos")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = report(Path(folder), arguments.quick)
    print(found)
    if arguments.out:
        save(arguments.out, found)


if __name__ == "__main__":
    main()
