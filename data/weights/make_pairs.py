"""Make the pairs that `psnr` and `otsr` learn from: degraded crops, what their teachers make of them, and the photos.

    python scripts/draw_pages.py pages train            # letters, drawings and grey copies, beside your photos
    otsr train general-psnr; otsr train general         # the teacher for clean crops
    python data/weights/make_pairs.py train pages       # into pairs/ and pairs_fine/; wants a GPU
    otsr train taught; otsr train otsr; otsr train psnr

The texture that a blurred and compressed photo has lost cannot be known, so a network that is asked for it answers with
the mean of all answers, which is blurred. A teacher's picture is one answer, and follows from LR: Real-ESRGAN's. Where
VGG16 finds the picture of `general` clearly closer to HR, on clean crops, that is the better teacher.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from otsr import images, machine, weights
from otsr.networks.perceptual import DEFAULT_LAYERS, backbone
from otsr.training.batches import TrainingBatches
from otsr.training.schema import Data

BATCH = 16
BORDER = 16  # HR pixels at the rim of a crop that are not compared
CLEARLY = 0.85  # of Real-ESRGAN's distance
SHARE = 0.7  # of `general`, the rest is `general-psnr`, in the teacher for crops that were only shrunk
COUNTS = {"pairs": 861, "fine": 130, "shrunk": 140}  # batches of each kind
FAITHFUL, GENERAL = (f"runs/{name}/last.safetensors" for name in ("general-psnr", "general"))


class Teachers:
    """The two networks and the eye that chooses between them."""

    def __init__(self) -> None:
        # The bare networks, not `Upscaler`: it adds context around a picture, and Real-ESRGAN's answer depends on that.
        self.device = machine.choose_device()
        dtype = machine.choose_dtype("auto", self.device)
        faithful, general = weights.load(FAITHFUL), weights.load(GENERAL)
        networks = (weights.load("realesrgan-x4plus"), general, weights.blend(faithful, general, SHARE))
        self.bold, self.clean, self.mixed = (machine.place(one, self.device, dtype) for one in networks)
        self.vgg = backbone("vgg16", tuple(DEFAULT_LAYERS["vgg16"])).to(self.device)

    @torch.inference_mode()
    def answer(self, network: nn.Module, lr: Tensor) -> Tensor:
        """Its picture (3, H, W) of lr (3, h, w)."""
        return network(lr[None].to(self.device))[0].float().clamp(0, 1)

    @torch.inference_mode()
    def features(self, picture: Tensor) -> list[Tensor]:
        inner = picture[None, :, BORDER:-BORDER, BORDER:-BORDER].to(self.device)
        return list(self.vgg(inner.contiguous(memory_format=torch.channels_last)).values())

    def choose(self, lr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor | None]:
        """Real-ESRGAN's picture, and the other's where it is clearly closer to HR."""
        bold, clean, truth = self.answer(self.bold, lr), self.answer(self.clean, lr), self.features(hr)
        far, near = (
            sum(float((x - y).abs().mean()) for x, y in zip(self.features(one), truth, strict=True))
            for one in (bold, clean)
        )
        return bold, clean if near < CLEARLY * far else None


def crops(
    sources: list[str], degradation: str | None, side: int, seed: int, count: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """LR and HR of `count` batches, which depend on the seed alone."""
    batch = BATCH if degradation else BATCH // 2  # as it was; another size would draw other crops
    data = Data(hr=tuple(sources), degradation=degradation, crop=side, batch=batch, workers=0)
    batches = TrainingBatches(data, 4, seed)
    for number in tqdm(range(count), desc=degradation or "bicubic", unit="batch"):
        made = batches.batch(number)
        yield from zip(made.lr.mul(255).round() / 255, made.hr.float() / 255, strict=True)


def write(folder: str, name: str, **pictures: Tensor) -> None:
    for kind, picture in pictures.items():
        path = Path(folder, kind, f"{name}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        images.write(path, picture.cpu())


def main(sources: list[str]) -> None:
    teachers = Teachers()
    # For `taught` and `psnr`. On clean crops the goal is the photo itself.
    for number, (lr, hr) in enumerate(crops(sources, "general", 224, 77, COUNTS["pairs"])):
        bold, clean = teachers.choose(lr, hr)
        write("pairs", f"{number:06}", LR=lr, HR=bold if clean is None else hr, TRUTH=hr)
    # For `otsr`. On clean crops, and on those that were only shrunk, the goal is the teacher's picture: a small network
    # that learns from few crops can repeat that, not the photo.
    for number, (lr, hr) in enumerate(crops(sources, "general", 192, 77, COUNTS["fine"])):
        bold, clean = teachers.choose(lr, hr)
        write("pairs_fine", f"{number:04}", LR=lr, HR=bold if clean is None else clean)
    for number, (lr, _) in enumerate(crops(sources, None, 192, 78, COUNTS["shrunk"])):
        write("pairs_fine", f"c{number:04}", LR=lr, HR=teachers.answer(teachers.mixed, lr))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(sys.argv[1:])
