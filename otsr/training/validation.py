"""How good a generator is on the validation photos: the six metrics, averaged; the protocol of `otsr evaluate`."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from otsr.evaluation.measuring import METRICS
from otsr.evaluation.scenes import Pair, rounded
from otsr.training import data
from otsr.training.config import Config

HIGHER_IS_BETTER = {metric.key: metric.higher for metric in METRICS}


@torch.no_grad()
def validate(
    generator: nn.Module, pairs: Iterable[data.Pair], scale: int, device: torch.device, dtype: torch.dtype
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Mean of each metric over the pairs, and the SR pictures by name (3, H, W) on the CPU.

    The pictures are rounded to 8 bits first. The generator is back in the mode it was in, and no random number is
    drawn.
    """
    was_training = generator.training
    generator.eval()
    values: dict[str, list[float]] = {metric.key: [] for metric in METRICS}
    pictures: dict[str, torch.Tensor] = {}
    for pair in pairs:
        lr = pair.lr[None].to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            sr = generator(lr)
        sr = rounded(sr[0].float().clamp(0, 1).cpu())
        pictures[pair.name] = sr
        for metric in METRICS:
            value = metric.measure(sr, Pair(pair.lr, pair.hr), scale, scale)
            if value is not None:
                values[metric.key].append(float(value))
    generator.train(was_training)
    return {key: sum(many) / len(many) for key, many in values.items() if many}, pictures


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
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([header, *rows])
