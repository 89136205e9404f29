"""Make the pairs that `psnr` and `otsr` learn from: degraded crops, what their teachers make of them, and the photos.

    python scripts/draw_pages.py pages train            # letters, drawings and grey copies, beside your photos
    otsr train general-psnr; otsr train general         # teachers for crops that are hardly degraded
    python data/weights/make_pairs.py train pages       # into pairs/ and pairs_*/; wants a GPU
    otsr train taught; otsr train plain; otsr train sharper; otsr train otsr; otsr train psnr

The texture that a blurred and compressed photo has lost cannot be known, so a network that is asked for it answers with
the mean of all answers, which is blurred. A teacher's picture is one answer, and follows from LR: Real-ESRGAN's. Where
VGG16 finds the picture of `general` clearly closer to HR, on clean crops, that is the better teacher.

Other crops were only shrunk. There `plain` has a mixture of `general` and `general-psnr` for a teacher. For `sharper`
and `otsr` the goal is half Real-ESRGAN's picture, held to LR, and half RealSR's, whose texture is finer; but RealSR
makes texture of noise too, so where LR is flat it is Real-ESRGAN's alone. Two of three of these crops are then given
light noise or compression, of which the goal knows nothing. And as every teacher makes something of the little noise
that a phone leaves on a wall at night, `otsr` also sees smooth shades with noise on them, whose goal is the shade.

The shipped weights' own pairs were drawn piece by piece, with other seeds, and those for `sharper` had RealSR's half on
flat places too. So it keeps more noise than it should; `otsr`, which goes on from it, had the pairs as they are here.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from otsr import images, machine, weights
from otsr.datasets import phone_crops
from otsr.degradation.kernels import downsample, gaussian
from otsr.degradation.noise import NoisePool, collect_noise
from otsr.degradation.pipeline import compress
from otsr.images import luma, resize
from otsr.networks.perceptual import DEFAULT_LAYERS, backbone
from otsr.training.batches import TrainingBatches
from otsr.training.schema import Data

BATCH = 16
BORDER = 16  # HR pixels at the rim of a crop that are not compared
CLEARLY = 0.85  # of Real-ESRGAN's distance
COARSE = 8  # HR pixels: what Real-ESRGAN's picture takes from HR for `sharper`
COUNTS = {
    "pairs": 861,
    "sharper": 1000,
    "fine": 130,
    "clean": 900,
    "fine clean": 140,
    "pages": 120,
    "fine pages": 40,
}
SHARE = 0.7  # of `general`, the rest is `general-psnr`, in the milder teacher
FAITHFUL, GENERAL = (f"runs/{name}/last.safetensors" for name in ("general-psnr", "general"))


class Teachers:
    """The networks, and the eye that chooses between two of them."""

    def __init__(self) -> None:
        # The bare networks, not `Upscaler`: it adds context around a picture, and Real-ESRGAN's answer depends on that.
        self.device = machine.choose_device()
        dtype = machine.choose_dtype("auto", self.device)
        bold, fine, faithful, clean = map(weights.load, ("realesrgan-x4plus", "realsr-df2k", FAITHFUL, GENERAL))
        networks = (bold, fine, clean, weights.blend(faithful, clean, SHARE))
        self.bold, self.fine, self.clean, self.mild = (machine.place(one, self.device, dtype) for one in networks)
        self.vgg = backbone("vgg16", tuple(DEFAULT_LAYERS["vgg16"])).to(self.device)

    @torch.inference_mode()
    def answer(self, network: nn.Module, lr: Tensor) -> Tensor:
        """Its picture (3, H, W) of lr (3, h, w)."""
        return network(lr[None].to(self.device))[0].float().clamp(0, 1).cpu()

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

    def of_clean(self, lr: Tensor) -> Tensor:
        """The goal (3, H, W) of a crop (3, h, w) that was only shrunk."""
        bold, fine = self.answer(self.bold, lr), self.answer(self.fine, lr)
        bold = bold + resize(lr - resize(bold, 1 / 4), 4)
        return torch.lerp(bold, fine, resize(busy(lr), 4).clamp(0, 1) / 2).clamp(0, 1)


def busy(lr: Tensor) -> Tensor:
    """Where (3, h, w) has texture: (1, h, w), from 0, where luma deviates by 2 grey levels or less, to 1, by 6."""
    wide, narrow = gaussian(17, 2.5**2), gaussian(11, 1.5**2)
    mean, square = (downsample(x, wide, 1) for x in (luma(lr), luma(lr) ** 2))
    deviation = 255 * (square - mean**2).clamp(min=0).sqrt()
    return downsample(((deviation - 2) / 4).clamp(0, 1), narrow, 1).clamp(0, 1)


def coarse_of(hr: Tensor, bold: Tensor) -> Tensor:
    """`bold` with the coarse part of `hr`: colours and lights are where they should be, the strokes are its own."""
    return (bold + resize(resize(hr - bold, 1 / COARSE), COARSE)).clamp(0, 1)


def grain(shape: Sequence[int], coarsest: float, draw: random.Random, generator: torch.Generator) -> Tensor:
    """Coloured or grey noise of deviation 1: white, or blurred by σ up to `coarsest`, as denoising leaves it."""
    noise = torch.randn(draw.choice((1, 3)), *shape[1:], generator=generator)
    if draw.random() < 0.5:
        return noise
    kernel = gaussian(15, draw.uniform(0.5, coarsest) ** 2)
    return downsample(noise, kernel, 1) / kernel.norm()


def spoiled(lr: Tensor, draw: random.Random) -> Tensor:
    """(3, h, w) as it is, or with light noise, or compressed, or both."""
    kind = draw.random()
    if kind < 1 / 3:
        return lr
    if kind > 0.45:
        generator = torch.Generator().manual_seed(draw.getrandbits(32))
        lr = (lr + draw.uniform(0.5, 5) / 255 * grain(lr.shape, 1.6, draw, generator)).clamp(0, 1)
    return compress(lr, draw.randint(75, 97), "4:2:0") if kind < 0.7 else lr


def shaded(lr: Tensor, draw: random.Random, pool: NoisePool) -> tuple[Tensor, Tensor]:
    """LR and HR of a smooth shade in the colours of (3, h, w), as bright or darker; LR has noise, HR has none."""
    shade = downsample(lr, gaussian(31, 6.0**2), 1) * (draw.uniform(0.1, 0.6) if draw.random() < 0.5 else 1)
    generator = torch.Generator().manual_seed(draw.getrandbits(32))
    if draw.random() < 0.4:
        noise = draw.uniform(0.5, 1.5) * pool.sample(1, (lr.shape[1], lr.shape[2]), generator)[0]
    else:
        noise = draw.uniform(0.3, 3) / 255 * grain(lr.shape, 2.2, draw, generator)
    noisy = ((shade + noise).clamp(0, 1) * 255).round() / 255
    if draw.random() < 0.6:
        noisy = compress(noisy, draw.randint(80, 98), "4:2:0")
    return noisy, resize(shade, 4).clamp(0, 1)


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
        images.write(path, picture)


def main(sources: list[str]) -> None:
    teachers, draw = Teachers(), random.Random(15)
    # For `taught` and `psnr`. On clean crops the goal is the photo itself.
    for number, (lr, hr) in enumerate(crops(sources, "general", 224, 77, COUNTS["pairs"])):
        bold, clean = teachers.choose(lr, hr)
        write("pairs", f"{number:06}", LR=lr, HR=bold if clean is None else hr, TRUTH=hr)
    for number, (lr, hr) in enumerate(crops(sources, "general", 224, 177, COUNTS["sharper"])):
        bold, clean = teachers.choose(lr, hr)
        write("pairs_sharper", f"{number:06}", LR=lr, HR=coarse_of(hr, bold) if clean is None else hr)
    # Where crops are few, a teacher's picture is the goal on clean ones too: it is easier to repeat than the photo.
    for number, (lr, hr) in enumerate(crops(sources, "general", 192, 77, COUNTS["fine"])):
        bold, clean = teachers.choose(lr, hr)
        for folder in ("pairs_plain", "pairs_fine"):
            write(folder, f"{number:04}", LR=lr, HR=bold if clean is None else clean)
    noise = collect_noise(phone_crops())
    for folder, kind, seed in (("pairs_sharper", "", 178), ("pairs_fine", "fine ", 78)):
        for number, (lr, _) in enumerate(crops(sources, None, 192, seed, COUNTS[f"{kind}clean"])):
            write(folder, f"c{number:04}", LR=spoiled(lr, draw), HR=teachers.of_clean(lr))
            if kind:
                write("pairs_plain", f"c{number:04}", LR=lr, HR=teachers.answer(teachers.mild, lr))
                noisy, shade = shaded(lr, draw, noise)
                write(folder, f"f{number:04}", LR=noisy, HR=shade)
        for number, (lr, hr) in enumerate(crops(sources[-1:], None, 192, seed + 2, COUNTS[f"{kind}pages"])):
            write(folder, f"p{number:04}", LR=spoiled(lr, draw), HR=hr)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(sys.argv[1:])
