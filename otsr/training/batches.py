"""What the generator learns from: batches of LR and HR crops, and the photos that it is measured on.

A sample is a function of the seed, the step and its place in the global batch, and of nothing that ran before. So a
training that is resumed, or spread over other processes, sees what one uninterrupted process would have seen.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from otsr.training import schema
from otsr.training.runtime import Stream, choose, generator, one_thread, outlive_ctrl_c, sigchld_as_it_was
from otsr.training.sources import COURSE, Photos, listed
from otsr.training.store import DataError
from otsr.training.synthesis import Synthesis, load_degradation

_KEPT = 1 << 30  # bytes of validation pairs that stay in memory


class Batch(NamedTuple):
    """Crops of one step: LR as float32 in [0, 1], HR in bytes, as the photos store it."""

    lr: Tensor  # (b, 3, c/s, c/s)
    hr: Tensor  # (b, 3, c, c) uint8, of the same scenes
    reals: Tensor | None  # (b, 3, c, c) uint8, drawn independently of the others; None where not asked for

    def to(
        self, device: torch.device | str = "cpu", layout: torch.memory_format = torch.contiguous_format
    ) -> Batch:
        """All of it on a device, as float32 in [0, 1]; to CUDA it goes as bytes, while the step before still runs."""

        def placed(crops: Tensor) -> Tensor:
            crops = crops.pin_memory() if torch.device(device).type == "cuda" else crops
            crops = crops.to(device, non_blocking=True).contiguous(memory_format=layout)
            return crops if crops.is_floating_point() else crops.float().div_(255)

        return Batch(placed(self.lr), placed(self.hr), None if self.reals is None else placed(self.reals))


class Crop(NamedTuple):
    """Where a crop lies."""

    photo: int
    top: int
    left: int
    turn: int  # which of 8 flips and rotations


class TrainingBatches:
    """Batches by step; see the module.

    Each photo is shown once before any is shown again; crops are uniform in the photo.

    Args:
        data: the recipe's `data`.
        scale: s.
        seed: of everything that is drawn.
        process, processes: this one makes samples process·b to (process + 1)·b − 1 of a batch of processes·b.
        reals: also draw independent HR crops.
        folder: of the run; keeps the estimate of the degradation "phone".
        memory, start_method: see `Photos` and `multiprocessing`; None: their defaults.

    Raises:
        DataError, DegradationError: photos are missing, damaged, smaller than the crop, or do not match; each is named.
    """

    def __init__(
        self,
        data: schema.Data,
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
        if measuring := [place for place in data.hr if COURSE.get(place, "train") != "train"]:
            raise DataError(f"data.hr is {measuring[0]}, photos for measuring; train on photos/train")
        self.data, self.scale, self.seed = data, scale, seed
        self._places = range(process * data.batch // processes, (process + 1) * data.batch // processes)
        self._reals = reals
        self._start_method = start_method or multiprocessing.get_context().get_start_method()
        self.hr = Photos(data.hr, data.cleanup, memory)
        self._refuse_small()
        self.lr: Photos | None = None
        if data.lr is None:
            self._synthesis = Synthesis(load_degradation(data.degradation, scale, data.cleanup, folder))
        else:
            self.lr = Photos([data.lr], memory=memory)
            self._pairs = match_pairs(self.hr, self.lr, scale)
        for photos in self._sources():
            photos.share_memory(processes if self._start_method == "fork" else processes * data.workers)

    def batch(self, step: int) -> Batch:
        """The batch of a step, made here and now."""
        with one_thread():
            lr, hr = self._synthesised(step) if self.lr is None else self._paired(step)
            reals = np.stack([self._real(step, place) for place in self._places]) if self._reals else None
        return Batch(_tensor(lr), _tensor(hr), None if reals is None else _tensor(reals))

    def stream(self, first: int = 0) -> Generator[tuple[int, Batch]]:
        """(step, batch) for step = first, first + 1, … without end, made ahead by `data.workers` processes.

        Each worker makes every n-th step and may be two steps ahead; batches come through shared memory, in order.
        Close the iterator (`contextlib.closing`) to end the processes at once.

        Raises:
            DataError: a worker failed or died; says what to do.
        """
        for photos in self._sources() if self.data.workers and self._start_method == "fork" else ():
            photos.preload()  # once, for all that are forked
        loader = DataLoader(
            _Steps(self),
            batch_size=None,
            sampler=range(first, sys.maxsize),
            num_workers=self.data.workers,
            worker_init_fn=outlive_ctrl_c,
            multiprocessing_context=self._start_method if self.data.workers else None,
            generator=torch.Generator(),  # else it would draw from the generator of all others
        )
        with sigchld_as_it_was():
            batches = iter(loader)
        try:
            for step in range(first, sys.maxsize):
                batch = next(batches)
                if isinstance(batch, DataError):
                    raise batch
                yield step, batch
        except (
            RuntimeError,
            EOFError,
            ConnectionError,
        ) as error:  # the last two: it died while it sent a batch
            if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker"):
                raise
            who = str(error) or "a data worker"
            raise DataError(
                f"{who}: it was killed before step {step} was made. Mostly memory ran out, or /dev/shm is full: "
                "lower data.workers or data.batch, pack folders with otsr pack, then go on with --resume"
            ) from None
        finally:
            del batches  # ends its processes

    def origins(self, step: int) -> list[str]:
        """Where each HR crop of a step comes from, in words: to find the culprit when a step goes wrong."""
        crops = [self._crop(step, place)[0] for place in self._places]
        return [f"{self.hr.place(crop.photo)} at column {crop.left}, row {crop.top}" for crop in crops]

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
            what = f"{len(small)} of {len(self.hr)} photos are smaller than the crop of {side}{after}"
            raise DataError(f"{what}: {listed(small)}; remove them, or set data.crop lower")

    def _synthesised(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """LR made from HR: (b, 3, c/s, c/s) float32 and (b, 3, c, c) uint8."""
        side, margin = self.data.crop, self._synthesis.margin
        regions = np.empty((len(self._places), 3, side + 2 * margin, side + 2 * margin), np.uint8)
        generators = []
        for region, place in zip(regions, self._places, strict=True):
            (photo, top, left, turn), drawing = self._crop(step, place)
            crop, shape = partial(self.hr.crop, photo), self.hr.shapes[photo]
            # Turned before it is degraded: the camera's blur and compression do not turn with the scene.
            region[...] = _turned(self._synthesis.region(crop, shape, top, left, side), turn)
            generators.append(drawing)
        lr = self._synthesis.degrade(torch.from_numpy(regions), generators)
        return lr.numpy(), regions[..., margin : margin + side, margin : margin + side]

    def _paired(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """LR as it was photographed: the same shapes."""
        assert self.lr is not None
        side, small = self.data.crop, self.data.crop // self.scale
        hr, lr = [], []
        for place in self._places:
            photo, top, left, turn = self._crop(step, place)[0]
            hr.append(_turned(self.hr.crop(photo, top, left, side, side), turn))
            corner = (top // self.scale, left // self.scale)
            lr.append(_turned(self.lr.crop(self._pairs[photo], *corner, small, small), turn))
        return np.stack(lr) / np.float32(255), np.stack(hr)

    def _real(self, step: int, place: int) -> np.ndarray:
        photo = choose(self.seed, Stream.REAL_ORDER, step * self.data.batch + place, len(self.hr))
        crop = self._draw(photo, generator(self.seed, Stream.REAL, step, place), 1)
        return _turned(self.hr.crop(photo, crop.top, crop.left, self.data.crop, self.data.crop), crop.turn)

    def _crop(self, step: int, place: int) -> tuple[Crop, torch.Generator]:
        """A sample's crop, and the generator for what is drawn next."""
        photo = choose(self.seed, Stream.ORDER, step * self.data.batch + place, len(self.hr))
        drawing = generator(self.seed, Stream.SAMPLE, step, place)
        return self._draw(photo, drawing, 1 if self.lr is None else self.scale), drawing

    def _draw(self, photo: int, drawing: torch.Generator, grid: int) -> Crop:
        """A crop at a multiple of `grid` pixels."""

        def draw(count: int) -> int:
            return int(torch.randint(count, (1,), generator=drawing))

        height, width = ((side - self.data.crop) // grid + 1 for side in self.hr.shapes[photo])
        return Crop(photo, grid * draw(height), grid * draw(width), draw(8) if self.data.augment else 0)


class _Steps(torch.utils.data.Dataset[Batch | DataError]):
    """Batches by step, as `DataLoader` asks for them."""

    def __init__(self, batches: TrainingBatches) -> None:
        self.batches = batches

    def __getitem__(self, step: int) -> Batch | DataError:
        try:
            return self.batches.batch(step)
        except (
            ValueError,
            OSError,
        ) as error:  # the data's fault: the message names the file, a traceback would not
            return DataError(f"step {step}: {error}")


def _tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels))


def _turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """(3, H, W): one of the 8 flips and rotations of a square (H, W, 3)."""
    if turn & 1:
        pixels = pixels[:, ::-1]
    if turn & 2:
        pixels = pixels[::-1]
    return pixels.transpose(2, 1, 0) if turn & 4 else pixels.transpose(2, 0, 1)


def match_pairs(hr: Photos, lr: Photos, scale: int) -> list[int]:
    """For each HR photo the number of its LR photo: of the same name, or of that name with "x4" (the scale) after it.

    Raises DataError: names are not unique or have no partner, or an LR photo is not ⌊HR/scale⌋ large; they are named.
    """
    twice = sorted({name for names in (hr.names, lr.names) for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"pairs are matched by name, but {listed(twice)} occur twice; rename them")
    found = {name: index for index, name in enumerate(lr.names)}
    pairs = [found.get(name, found.get(f"{name}x{scale}", -1)) for name in hr.names]
    missing = [hr.place(index) for index, other in enumerate(pairs) if other < 0]
    if missing:
        what = f"{len(missing)} of {len(hr)} HR photos have no LR photo of their name: {listed(missing)}"
        raise DataError(f"{what}; LR names look like {listed(lr.names[:2])}")
    wrong = [
        f"{hr.place(i)} ({hr.shapes[i][1]}×{hr.shapes[i][0]}) and its LR ({lr.shapes[j][1]}×{lr.shapes[j][0]})"
        for i, j in enumerate(pairs)
        if lr.shapes[j] != (hr.shapes[i][0] // scale, hr.shapes[i][1] // scale)
    ]
    if wrong:
        raise DataError(
            f"{len(wrong)} of {len(hr)} pairs do not differ by the scale {scale}: {listed(wrong)}"
        )
    return pairs


# --- validation


class ValidationPair(NamedTuple):
    """A validation photo, float32 in [0, 1]."""

    name: str
    lr: Tensor  # (3, h, w)
    hr: Tensor  # (3, s·h, s·w)

    @property
    def bytes(self) -> int:
        return self.lr.nbytes + self.hr.nbytes


class Validation:
    """The photos that a training is measured on: always the same, degraded the same, whatever its seed.

    LR is made by `data.degradation`, of photo i with the seed i, unless `validation.lr` brings it. Raises DataError and
    DegradationError, as `TrainingBatches`.
    """

    def __init__(
        self, validation: schema.Validation, data: schema.Data, scale: int, *, folder: Path | None = None
    ) -> None:
        if "photos/test" in validation.hr:
            raise DataError(
                "validation.hr is photos/test: these photos must not choose weights; use photos/val"
            )
        self.scale = scale
        self.hr = Photos(validation.hr, validation.cleanup, memory=0)
        self.lr: Photos | None = None
        if validation.lr is None:
            self._degradation = load_degradation(data.degradation, scale, data.cleanup, folder)
        else:
            self.lr = Photos([validation.lr], memory=0)
            self._pairs = match_pairs(self.hr, self.lr, scale)
        self._count = min(len(self.hr), len(self.hr) if validation.images is None else validation.images)
        self._kept: dict[int, ValidationPair] = {}

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[ValidationPair]:
        return map(self.__getitem__, range(self._count))

    def __getitem__(self, index: int) -> ValidationPair:
        if not 0 <= index < self._count:
            raise IndexError(f"no validation photo {index}; there are {self._count}")
        pair = self._kept.get(index) or self._pair(index)
        if sum(kept.bytes for kept in self._kept.values()) + pair.bytes <= _KEPT:
            self._kept[index] = pair
        return pair

    def _pair(self, index: int) -> ValidationPair:
        hr = _image(self.hr.read(index))
        with one_thread():
            if self.lr is None:
                hr, lr = self._degradation.pair(hr, seed=index)
            else:
                lr = _image(self.lr.read(self._pairs[index]))
                hr = hr[:, : self.scale * lr.shape[1], : self.scale * lr.shape[2]]
        return ValidationPair(self.hr.names[index], lr.contiguous(), hr.contiguous())


def _image(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1).float().div(255).contiguous()
