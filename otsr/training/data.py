"""What the generator learns from: batches of LR and HR crops, and the photos that it is measured on.

A sample is a function of the seed, the step and its place in the global batch, and of nothing that ran before. So
a training that is resumed, or spread over other processes, sees what one uninterrupted process would have seen.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Generator, Iterator
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from otsr.training import schema as config
from otsr.training.ahead import Layout, make_ahead
from otsr.training.draws import Stream, choose, generator, one_thread
from otsr.training.photos import COURSE, DataError, Photos, listed, match_pairs
from otsr.training.synthesis import Synthesis, load_degradation

_KEPT = 1 << 30  # bytes of validation pairs that stay in memory


class Batch(NamedTuple):
    """Crops of one step, contiguous: LR as float32 in [0, 1], HR as the photos store it, a quarter of the bytes.

    Attributes:
        lr: (b, 3, c/s, c/s).
        hr: (b, 3, c, c) uint8, of the same scenes.
        reals: (b, 3, c, c) uint8, HR crops drawn independently of the others; None when not asked for.
    """

    lr: Tensor
    hr: Tensor
    reals: Tensor | None

    def to(
        self,
        device: torch.device | str = "cpu",
        layout: torch.memory_format = torch.contiguous_format,
    ) -> Batch:
        """All of it on a device, as float32 in [0, 1].

        To CUDA the bytes go while the device still works on the step before; there they are widened and laid out.
        """

        def placed(crops: Tensor) -> Tensor:
            if torch.device(device).type == "cuda":
                crops = crops.pin_memory()
            crops = crops.to(device, non_blocking=True).contiguous(memory_format=layout)
            return crops if crops.is_floating_point() else crops.float().div_(255)

        return Batch(placed(self.lr), placed(self.hr), None if self.reals is None else placed(self.reals))


class Pair(NamedTuple):
    """A validation photo: lr (3, h, w) and hr (3, s·h, s·w), float32 in [0, 1]."""

    name: str
    lr: Tensor
    hr: Tensor


class _Sample(NamedTuple):
    """Where a crop lies: photo, first row and column, and which of 8 flips and rotations."""

    photo: int
    top: int
    left: int
    turn: int


class TrainingBatches:
    """Batches by step; see the module.

    Each photo is shown once before any is shown again. Crops are uniform in the photo. LR crops come from
    `data.degradation`, drawn anew for every sample, or from `data.lr`.

    Args:
        data: the recipe's `data`.
        scale: s.
        seed: of everything that is drawn.
        process, processes: this one makes samples process·b to (process + 1)·b − 1 of a batch of processes·b.
        reals: also draw independent HR crops.
        folder: of the run; keeps the estimate of the degradation "phone".
        memory: see `Photos`.
        start_method: of `data.workers`: "fork", "spawn", "forkserver"; None: as this Python does.

    Raises:
        DataError: photos are missing, damaged, smaller than the crop, or do not match; each is named.
        StoreError, DegradationError: a file of the recipe cannot be used.
    """

    def __init__(
        self,
        data: config.Data,
        scale: int,
        seed: int,
        process: int = 0,
        processes: int = 1,
        *,
        reals: bool = False,
        folder: Path | None = None,
        memory: int | None = None,
        start_method: str | None = None,
    ) -> None:
        if data.batch % processes:
            raise DataError(f"data.batch is {data.batch}, which {processes} processes cannot share evenly")
        if data.crop % scale:
            raise DataError(f"data.crop is {data.crop}, no multiple of the scale {scale}")
        for place in data.hr:
            if COURSE.get(place, "train") != "train":
                raise DataError(
                    f"data.hr is {place}: these photos are kept for measuring; train on photos/train"
                )
        self.data, self.scale, self.seed = data, scale, seed
        self._indices = range(process * data.batch // processes, (process + 1) * data.batch // processes)
        self._reals = reals
        self._start_method = start_method or multiprocessing.get_context().get_start_method()
        self._forks = self._start_method == "fork"
        self.hr = Photos(data.hr, data.cleanup, memory)
        self._refuse_small()
        self.lr: Photos | None = None
        if data.lr is None:
            self._synthesis = Synthesis(load_degradation(data.degradation, scale, data.cleanup, folder))
        else:
            self.lr = Photos([data.lr], memory=memory)
            self._pairs = match_pairs(self.hr, self.lr, scale)
        for photos in self._sources():
            photos.share_memory(processes if self._forks else processes * data.workers)

    def batch(self, step: int) -> Batch:
        """The batch of a step, made here and now."""
        return _batch(self._make(step))

    def stream(self, first: int = 0) -> Generator[tuple[int, Batch]]:
        """(step, batch) for step = first, first + 1, … without end, made ahead by `data.workers` processes.

        Close the iterator (`contextlib.closing`) to end the processes at once.

        Raises:
            DataError: a process died or failed; see `ahead`.
        """
        if not self.data.workers:
            for step in count(first):
                yield step, self.batch(step)
        for photos in self._sources() if self._forks else ():
            photos.preload()
        context = multiprocessing.get_context(self._start_method)
        with closing(make_ahead(self._make, self._layout(), first, self.data.workers, context)) as made:
            for step, arrays in made:
                yield step, _batch(arrays)

    def origins(self, step: int) -> list[str]:
        """Where each HR crop of a step comes from, in words: to find the culprit when a step goes wrong."""
        samples = [self._sample(step, index)[0] for index in self._indices]
        return [f"{self.hr.place(s.photo)} at column {s.left}, row {s.top}" for s in samples]

    def fingerprint(self) -> str:
        """sha256 of the photos' names and contents: what trained weights say they have seen."""
        return "+".join(photos.fingerprint() for photos in self._sources())

    def _sources(self) -> list[Photos]:
        return [self.hr] if self.lr is None else [self.hr, self.lr]

    def _refuse_small(self) -> None:
        side = self.data.crop
        small = [
            f"{self.hr.place(index)} ({width}×{height})"
            for index, (height, width) in enumerate(self.hr.shapes)
            if min(height, width) < side
        ]
        if small:
            after = f" after the clean-up by {self.data.cleanup:g}" if self.data.cleanup > 1 else ""
            raise DataError(
                f"{len(small)} of {len(self.hr)} photos are smaller than the crop of {side}{after}: {listed(small)}; "
                "remove them, or set data.crop lower"
            )

    def _layout(self) -> Layout:
        count, side = len(self._indices), self.data.crop
        large = ((count, 3, side, side), "uint8")
        small = ((count, 3, side // self.scale, side // self.scale), "float32")
        return [small, large, large] if self._reals else [small, large]

    def _make(self, step: int) -> list[np.ndarray]:
        """Arrays of `_layout`."""
        with one_thread():
            lr, hr = self._synthesised(step) if self.lr is None else self._paired(step)
            if not self._reals:
                return [lr, hr]
            return [lr, hr, np.stack([self._real(step, index) for index in self._indices])]

    def _synthesised(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        side, margin = self.data.crop, self._synthesis.margin
        regions = np.empty((len(self._indices), 3, side + 2 * margin, side + 2 * margin), np.uint8)
        generators = []
        for region, index in zip(regions, self._indices, strict=True):
            sample, drawing = self._sample(step, index)
            crop, shape = partial(self.hr.crop, sample.photo), self.hr.shapes[sample.photo]
            # Turned before it is degraded: the camera's blur and compression do not turn with the scene.
            pixels = self._synthesis.region(crop, shape, sample.top, sample.left, side)
            region[...] = _turned(pixels, sample.turn).transpose(2, 0, 1)
            generators.append(drawing)
        lr = self._synthesis.degrade(torch.from_numpy(regions), generators)
        return lr.numpy(), regions[..., margin : margin + side, margin : margin + side]

    def _paired(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        assert self.lr is not None
        side, small = self.data.crop, self.data.crop // self.scale
        hr, lr = [], []
        for index in self._indices:
            photo, top, left, turn = self._sample(step, index)[0]
            hr.append(_turned(self.hr.crop(photo, top, left, side, side), turn))
            place = (self._pairs[photo], top // self.scale, left // self.scale)
            lr.append(_turned(self.lr.crop(*place, small, small), turn))
        return np.stack(lr).transpose(0, 3, 1, 2) / np.float32(255), np.stack(hr).transpose(0, 3, 1, 2)

    def _real(self, step: int, index: int) -> np.ndarray:
        number = step * self.data.batch + index
        photo = choose(self.seed, Stream.REAL_ORDER, number, len(self.hr))
        sample = self._place(photo, generator(self.seed, Stream.REAL, step, index), 1)
        side = self.data.crop
        return _turned(self.hr.crop(photo, sample.top, sample.left, side, side), sample.turn).transpose(
            2, 0, 1
        )

    def _sample(self, step: int, index: int) -> tuple[_Sample, torch.Generator]:
        """Where a sample's crop lies, and the generator for what is drawn next."""
        photo = choose(self.seed, Stream.ORDER, step * self.data.batch + index, len(self.hr))
        drawing = generator(self.seed, Stream.SAMPLE, step, index)
        return self._place(photo, drawing, 1 if self.lr is None else self.scale), drawing

    def _place(self, photo: int, drawing: torch.Generator, grid: int) -> _Sample:
        """A crop at a multiple of `grid` pixels."""

        def draw(count: int) -> int:
            return int(torch.randint(count, (1,), generator=drawing))

        height, width = ((side - self.data.crop) // grid + 1 for side in self.hr.shapes[photo])
        return _Sample(photo, grid * draw(height), grid * draw(width), draw(8) if self.data.augment else 0)


class Validation:
    """The photos that a training is measured on: always the same, degraded the same, whatever its seed.

    Args:
        validation, data: of the recipe; LR is made by `data.degradation`, of photo i with the seed i, unless
            `validation.lr` brings it.
        scale: s.
        folder: see `TrainingBatches`.

    Raises:
        DataError, StoreError, DegradationError: as `TrainingBatches`.
    """

    def __init__(
        self, validation: config.Validation, data: config.Data, scale: int, *, folder: Path | None = None
    ) -> None:
        if "photos/test" in validation.hr:
            raise DataError("validation.hr is photos/test: these photos choose no weights; take photos/val")
        self.scale = scale
        self.hr = Photos(validation.hr, validation.cleanup, memory=0)
        self.lr: Photos | None = None
        if validation.lr is None:
            self._degradation = load_degradation(data.degradation, scale, data.cleanup, folder)
        else:
            self.lr = Photos([validation.lr], memory=0)
            self._pairs = match_pairs(self.hr, self.lr, scale)
        self._count = min(len(self.hr), len(self.hr) if validation.images is None else validation.images)
        self._kept: dict[int, Pair] = {}
        self._room = _KEPT

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Pair]:
        return map(self.__getitem__, range(self._count))

    def __getitem__(self, index: int) -> Pair:
        if not 0 <= index < self._count:
            raise IndexError(f"{self._count} validation photos, not a number {index}")
        if index in self._kept:
            return self._kept[index]
        pair = self._pair(index)
        size = 4 * (pair.lr.numel() + pair.hr.numel())
        if size <= self._room:
            self._room -= size
            self._kept[index] = pair
        return pair

    def _pair(self, index: int) -> Pair:
        hr = _image(self.hr.read(index))
        with one_thread():
            if self.lr is None:
                hr, lr = self._degradation.pair(hr, seed=index)
            else:
                lr = _image(self.lr.read(self._pairs[index]))
                hr = hr[:, : self.scale * lr.shape[1], : self.scale * lr.shape[2]]
        return Pair(self.hr.names[index], lr.contiguous(), hr.contiguous())


def _batch(arrays: list[np.ndarray]) -> Batch:
    """Tensors of their own memory."""
    lr, hr, *others = (
        torch.from_numpy(array).clone(memory_format=torch.contiguous_format) for array in arrays
    )
    return Batch(lr, hr, others[0] if others else None)


def _image(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1).float().div(255).contiguous()


def _turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """One of the 8 flips and rotations of a square (H, W, 3)."""
    if turn & 1:
        pixels = pixels[:, ::-1]
    if turn & 2:
        pixels = pixels[::-1]
    return pixels.transpose(1, 0, 2) if turn & 4 else pixels
