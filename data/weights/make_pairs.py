"""Make the pairs that `otsr-web` learns from: degraded crops, and what its teachers make of them.

    python scripts/draw_pages.py pages train             # letters, drawings and grey copies, beside your photos
    python data/weights/make_pairs.py pairs train pages  # pairs/LR, pairs/HR: half an hour on two CPU cores
    otsr train web

The texture that a blurred and compressed photo has lost cannot be known, so a network that is asked for it answers with
the mean of all answers, which is blurred. A teacher's picture is one answer, and follows from LR. Two teachers give
theirs: Real-ESRGAN, and `otsr` before it was mixed with `psnr`. The second is taken where VGG16 finds its picture
clearly closer to HR: on clean crops, where it is sharper.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from make_general import SHARE
from torch import Tensor, nn
from tqdm import tqdm

from otsr import images, machine, weights
from otsr.networks.perceptual import DEFAULT_LAYERS, backbone
from otsr.training.batches import TrainingBatches
from otsr.training.schema import Data

CROP, COUNT, SEED = 192, 2080, 77
BATCH = 16
BORDER = 16  # HR pixels at the rim of a crop that are not compared
CLEARLY = 0.85  # of Real-ESRGAN's distance


def unmixed() -> nn.Module:
    """`otsr` without its share of `psnr`."""
    network, faithful = weights.load("otsr"), dict(weights.load("psnr").named_parameters())
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.copy_(torch.lerp(faithful[name], weight, 1 / SHARE))
    return network


def main(out: Path, sources: list[str]) -> None:
    # The bare networks, not `Upscaler`: it adds context around a picture, and Real-ESRGAN's answer depends on that.
    device = machine.choose_device()
    dtype = machine.choose_dtype("auto", device)
    teachers = [machine.place(one, device, dtype) for one in (weights.load("realesrgan-x4plus"), unmixed())]
    vgg = backbone("vgg16", tuple(DEFAULT_LAYERS["vgg16"]))

    @torch.inference_mode()
    def features(picture: Tensor) -> list[Tensor]:
        inner = picture[None, :, BORDER:-BORDER, BORDER:-BORDER]
        return list(vgg(inner.contiguous(memory_format=torch.channels_last)).values())

    def distance(picture: Tensor, truth: list[Tensor]) -> float:
        return sum(float((x - y).abs().mean()) for x, y in zip(features(picture), truth, strict=True))

    data = Data(hr=tuple(sources), degradation="general", crop=CROP, batch=BATCH, workers=0)
    batches = TrainingBatches(data, 4, SEED)
    for folder in ("LR", "HR"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for number in tqdm(range(COUNT), desc="pairs", unit="crop"):
        if number % BATCH == 0:
            batch = batches.batch(number // BATCH)
        lr, hr = batch.lr[number % BATCH], batch.hr[number % BATCH].float() / 255
        truth = features(hr)
        with torch.inference_mode():
            answers = [teacher(lr[None].to(device))[0].float().clamp(0, 1).cpu() for teacher in teachers]
        far, near = (distance(answer, truth) for answer in answers)
        images.write(out / "LR" / f"{number:04}.png", lr)
        images.write(out / "HR" / f"{number:04}.png", answers[near < CLEARLY * far])


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:])
