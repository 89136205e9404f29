"""How good is it so far? The photos that a training is measured on, the measuring, and which weights are the best."""

import math
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from otsr import machine
from otsr.evaluation import METRICS, measure, rounded
from otsr.images import atomic_path, read, resize
from otsr.inference import Upscaler
from otsr.training import schema
from otsr.training.batches import open_pictures
from otsr.training.checkpoints import named
from otsr.training.runtime import one_thread
from otsr.training.sources import listed
from otsr.training.store import DataError
from otsr.training.synthesis import load_degradation

_KEYS = [metric.key for metric in METRICS]
_PICTURES = 8  # kept of each validation
_SMALLEST = 24  # pixels: what the metrics need, after the last incomplete LR pixel is cut off


class ValidationPair(NamedTuple):
    """A validation photo in [0, 1]."""

    name: str
    lr: Tensor  # (3, h, w)
    hr: Tensor  # (3, s·h, s·w)


class Validation:
    """The photos that a training is measured on: always the same, degraded the same, whatever its seed.

    LR of photo i is made by `data.degradation` with the seed i, unless `validation.lr` brings it.
    """

    def __init__(
        self, validation: schema.Validation, data: schema.Data, scale: int, *, folder: Path | None = None
    ) -> None:
        self.scale, self._chosen = scale, range(0)
        if validation.images == 0:
            return
        self.hr, self.lr = open_pictures(validation, scale)
        self._chosen, smallest = range(len(self.hr.photos))[: validation.images], _SMALLEST
        if self.lr is None:
            self._degradation = load_degradation(data.degradation, scale, data.cleanup, folder)
            if (taps := self._degradation.kernels) is not None:
                smallest = max(smallest, taps.shape[-1])
        if small := [photo.sized for photo in self.hr.photos[: len(self)] if min(photo.shape) < smallest]:
            what = f"photos of less than {smallest} pixels a side, too small to be degraded and measured"
            raise DataError(f"validation.hr: {what}: {listed(small)}; remove them")

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> ValidationPair:
        index = self._chosen[index]
        hr = read(self.hr.read(index))
        with one_thread():
            if self.lr is None:
                hr, lr = self._degradation.pair(hr, seed=index)
            else:
                lr = read(self.lr.read(index))
                hr = hr[:, : self.scale * lr.shape[1], : self.scale * lr.shape[2]]
        return ValidationPair(self.hr.photos[index].name, lr.contiguous(), hr.contiguous())


def validate(
    generator: nn.Module, pairs: Validation, accelerator: Accelerator, dtype: torch.dtype
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Mean of each metric over the pairs, and some pictures by name, (3, H, 3·W): bicubic, SR, HR side by side.

    SR is made as `otsr upscale` makes it: in tiles, 8 bits. Each process measures its part of the pairs; scores are
    those of all, pictures those that this one made. No random number is drawn, the generator is not touched.
    """
    precision = next(name for name, known in machine.DTYPES.items() if known == dtype)
    upscaler = Upscaler(generator, device=accelerator.device, precision=precision)
    found: list[tuple[int, dict[str, float]]] = []
    pictures: dict[str, Tensor] = {}
    for index in range(accelerator.process_index, len(pairs), accelerator.num_processes):
        name, lr, hr = pairs[index]
        sr = read(upscaler.upscale(lr))
        found.append((index, measure(sr, lr, hr, upscaler.scale)))
        if len(pictures) < _PICTURES:
            pictures[name] = torch.cat([rounded(resize(lr, upscaler.scale)), sr, hr], -1)
    rows = [row for _, row in sorted(gather_object(found), key=itemgetter(0))]  # sums in a fixed order
    columns = {key: [row[key] for row in rows if math.isfinite(row[key])] for key in _KEYS}
    return {key: sum(column) / len(column) for key, column in columns.items() if column}, pictures


def improves(scores: dict[str, float], best: dict[str, float], losses: schema.Losses) -> bool:
    """Whether weights with these scores are the best so far: by PSNR if only fidelity is trained, else by ST-LPIPS."""
    perceptual = losses.perceptual.weight or losses.gan.weight or losses.transport.weight
    key, sign = ("st_lpips", -1) if perceptual else ("psnr_y", 1)
    undefined = math.nan  # for every photo: then the first weights stay the best
    return not best or sign * scores.get(key, undefined) > sign * best.get(key, undefined)


def append_scores(path: Path, step: int, scores: dict[str, float]) -> None:
    """Add a line to validation.tsv; lines of this step or later ones, of a training that was interrupted, go."""
    old = path.read_text(encoding="utf-8").splitlines()[1:] if path.is_file() else []
    kept = [line for line in old if (first := line.partition("\t")[0]).isdigit() and int(first) < step]
    new = [str(step), *(f"{scores[key]:.6g}" if key in scores else "" for key in _KEYS)]
    lines = ["\t".join(["step", *_KEYS]), *kept, "\t".join(new)]
    with named(path), atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
