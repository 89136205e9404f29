"""How good a generator is on the validation photos: the six metrics, averaged; the protocol of `otsr evaluate`."""

from __future__ import annotations

import csv
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from otsr import machine
from otsr.evaluation.protocol import METRICS, measure
from otsr.evaluation.scenes import rounded
from otsr.images import atomic_path, read, resize
from otsr.inference import Upscaler
from otsr.training import data
from otsr.training.checkpoints import named
from otsr.training.schema import Config

HIGHER_IS_BETTER = {metric.key: metric.higher for metric in METRICS}
_PICTURES = 8  # kept of each validation


def validate(
    generator: nn.Module, pairs: data.Validation, accelerator: Accelerator, dtype: torch.dtype
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Mean of each metric over the pairs, and some pictures by name, (3, H, 3·W): bicubic, SR, HR side by side.

    Each process measures its part of the pairs; scores are those of all, pictures those that this one made. SR is made
    as `otsr upscale` makes it: in tiles, 8 bits. No random number is drawn, the generator is not touched.
    """
    precision = next(name for name, known in machine.DTYPES.items() if known == dtype)
    upscaler = Upscaler(generator, device=accelerator.device, precision=precision)
    found: list[tuple[int, dict[str, float]]] = []
    pictures: dict[str, Tensor] = {}
    for index in range(accelerator.process_index, len(pairs), accelerator.num_processes):
        pair = pairs[index]
        sr = read(upscaler.upscale(pair.lr))
        found.append((index, measure(sr, pair.lr, pair.hr, upscaler.scale).values))
        if len(pictures) < _PICTURES:
            pictures[pair.name] = torch.cat([rounded(resize(pair.lr, upscaler.scale)), sr, pair.hr], -1)
    if accelerator.num_processes > 1:
        found = sorted(gather_object(found), key=lambda entry: entry[0])
    columns = {key: [values[key] for _, values in found if key in values] for key in HIGHER_IS_BETTER}
    return {key: sum(column) / len(column) for key, column in columns.items() if column}, pictures


def decisive(config: Config) -> str:
    """The metric that chooses the best weights: PSNR where only fidelity is trained, otherwise ST-LPIPS."""
    losses = config.losses
    sharp = losses.perceptual.weight or losses.gan.weight or losses.transport.weight
    return "st_lpips" if sharp else "psnr_y"


def is_better(metric: str, value: float, best: float | None) -> bool:
    """Whether a score beats the best so far; anything beats none."""
    return best is None or (value > best if HIGHER_IS_BETTER[metric] else value < best)


def append(path: Path, step: int, scores: dict[str, float]) -> None:
    """Add a line to validation.tsv; lines of this step or later ones, of a training that was interrupted, go."""
    header = ["step", *HIGHER_IS_BETTER]
    rows: list[list[str]] = []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file, delimiter="\t") if row and row[0].isdigit()]
    rows = [row for row in rows if int(row[0]) < step]
    rows.append([str(step), *(f"{scores[key]:.6g}" if key in scores else "" for key in HIGHER_IS_BETTER)])
    with (
        named(path),
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([header, *rows])
