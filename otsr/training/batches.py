"""What the generator learns from: batches of LR and HR crops.

A sample is a function of the seed, the step and its place in the global batch, and of nothing that ran before. So a
training that is resumed, or spread over other processes, sees what one uninterrupted process would have seen.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Generator
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from otsr.training import schema
from otsr.training.runtime import Stream, generator, one_thread, order, outlive_ctrl_c, sigchld_as_it_was
from otsr.training.sources import Photos, listed
from otsr.training.store import DataError
from otsr.training.synthesis import Synthesis, load_degradation


class Batch(NamedTuple):
    """Crops of one step: LR as float32 in [0, 1], HR in bytes, as the photos store it."""

    lr: Tensor  # (b, 3, c/s, c/s)
    hr: Tensor  # (b, 3, c, c) uint8, of the same scenes
    reals: Tensor | None  # (b, 3, c, c) uint8, drawn independently of the others; None where not asked for

    def to(self, device: torch.device | str = "cpu", layout: torch.memory_format = torch.contiguous_format) -> Batch:
        """All of it on a device, as float32 in [0, 1]; to CUDA it goes as bytes, while the step before still runs."""

        def placed(crops: Tensor) -> Tensor:
            crops = crops.pin_memory() if torch.device(device).type == "cuda" else crops
            crops = crops.to(device, non_blocking=True).contiguous(memory_format=layout)
            return crops if crops.is_floating_point() else crops.float().div_(255)

        return Batch(placed(self.lr), placed(self.hr), None if self.reals is None else placed(self.reals))


class Crop(NamedTuple):
    """Where a crop lies, and the generator of what else is drawn for it."""

    photo: int
    top: int
    left: int
    turn: int  # which of 8 flips and rotations
    drawing: torch.Generator


class TrainingBatches(torch.utils.data.Dataset[Batch | DataError]):
    """Batches by step. Each photo is shown once before any is shown again; crops are uniform in the photo.

    Process i of n makes the i-th of n equal parts. With `reals` HR crops are drawn that are independent of the others.
    The run's folder keeps the estimate of the degradation "phone".

    Raises:
        DataError, DegradationError: photos are missing, damaged, smaller than the crop, or do not match; each is named.
    """

    def __init__(
        self, data: schema.Data, scale: int, seed: int, process: int = 0, processes: int = 1, *,
        reals: bool = False, folder: Path | None = None,
    ) -> None:  # fmt: skip
        if data.batch % processes:
            raise DataError(f"data.batch is {data.batch}, which {processes} processes cannot share evenly")
        self.data, self.scale, self.seed = data, scale, seed
        self._places = range(process * data.batch // processes, (process + 1) * data.batch // processes)
        self._reals = reals
        self.hr, self.lr = open_pictures(data, scale, processes * max(1, data.workers))
        if small := [photo.sized for photo in self.hr.photos if min(photo.shape) < data.crop]:
            after = f" after the clean-up by {data.cleanup:g}" if data.cleanup > 1 else ""
            what = f"{len(small)} of {len(self.hr.photos)} photos are smaller than the crop of {data.crop}{after}"
            raise DataError(f"{what}: {listed(small)}; remove them, or set data.crop lower")
        if self.lr is None:
            self._synthesis = Synthesis(load_degradation(data.degradation, scale, data.cleanup, folder))

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        with one_thread():
            crops, side, s = self._crops(step), self.data.crop, self.scale
            if self.lr is None:
                lr, hr = self._synthesised(crops)
            else:
                small = [crop._replace(top=crop.top // s, left=crop.left // s) for crop in crops]
                lr = _cut(self.lr, small, side // s).float().div_(255)
                hr = _cut(self.hr, crops, side)
            if not self._reals:
                return Batch(lr, hr, None)
            drawn = [self._draw(Stream.REAL_ORDER, Stream.REAL, step, place, 1) for place in self._places]
            return Batch(lr, hr, _cut(self.hr, drawn, side))

    def __getitem__(self, step: int) -> Batch | DataError:
        """As torch's `DataLoader` asks for a batch. Bad data is no error here: a traceback would hide its message."""
        try:
            return self.batch(step)
        except (ValueError, OSError) as error:
            return DataError(f"step {step}: {error}")

    def stream(self, first: int = 0) -> Generator[tuple[int, Batch]]:
        """(step, batch) for step = first, first + 1, … without end, made ahead by `data.workers` processes.

        Close it (`contextlib.closing`) to end the processes at once. Raises DataError: one failed or died.
        """
        loader = DataLoader(
            self, batch_size=None, sampler=range(first, sys.maxsize), num_workers=self.data.workers,
            worker_init_fn=outlive_ctrl_c, generator=torch.Generator(),  # else it would draw from everybody's
        )  # fmt: skip
        with sigchld_as_it_was():
            batches = iter(loader)
        try:
            for step in range(first, sys.maxsize):
                batch = next(batches)
                if isinstance(batch, DataError):
                    raise batch
                yield step, batch
        except (RuntimeError, EOFError, ConnectionError) as error:  # the last two: it died sending a batch
            if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker"):
                raise
            raise DataError(
                f"{str(error) or 'a data worker'}: it was killed before step {step} was made, mostly because memory "
                "or /dev/shm is full: lower data.workers or data.batch, or pack folders with otsr pack; then --resume"
            ) from None
        finally:
            del batches  # ends its processes

    def origins(self, step: int) -> list[str]:
        """Where each HR crop of a step comes from, in words: to find the culprit when a step goes wrong."""
        photos = self.hr.photos
        return [f"{photos[crop.photo]} at column {crop.left}, row {crop.top}" for crop in self._crops(step)]

    @cached_property  # it reads all files
    def fingerprint(self) -> str:
        """sha256 of the photos' names and contents: what trained weights say they have seen."""
        try:
            return "+".join(photos.fingerprint() for photos in (self.hr, self.lr) if photos is not None)
        except OSError:  # a checkpoint is worth more than its story
            return "unknown: a photo went during the training"

    def _synthesised(self, crops: list[Crop]) -> tuple[Tensor, Tensor]:
        """LR made from HR: contiguous (b, 3, c/s, c/s) float32 and (b, 3, c, c) uint8."""
        side, margin = self.data.crop, self._synthesis.margin
        regions = np.empty((len(crops), 3, side + 2 * margin, side + 2 * margin), np.uint8)
        for region, (photo, top, left, turn, _) in zip(regions, crops, strict=True):
            cut, shape = partial(self.hr.crop, photo), self.hr.photos[photo].shape
            # Turned before it is degraded: the camera's blur and compression do not turn with the scene.
            region[...] = _turned(self._synthesis.region(cut, shape, top, left, side), turn)
        seen = torch.from_numpy(regions)
        lr = self._synthesis.degrade(seen, [crop.drawing for crop in crops])
        return lr, seen[..., margin : margin + side, margin : margin + side].contiguous()

    def _crops(self, step: int) -> list[Crop]:
        grid = 1 if self.lr is None else self.scale
        return [self._draw(Stream.ORDER, Stream.SAMPLE, step, place, grid) for place in self._places]

    def _draw(self, of_order: Stream, of_crop: Stream, step: int, place: int, grid: int) -> Crop:
        """A crop at a multiple of `grid` pixels. All photos are shown in random order, then all in another."""
        epoch, number = divmod(step * self.data.batch + place, len(self.hr.photos))
        photo = order(self.seed, of_order, epoch, len(self.hr.photos))[number]
        drawing = generator(self.seed, of_crop, step, place)

        def draw(count: int) -> int:
            return int(torch.randint(count, (1,), generator=drawing))

        height, width = ((side - self.data.crop) // grid + 1 for side in self.hr.photos[photo].shape)
        top, left = grid * draw(height), grid * draw(width)
        return Crop(photo, top, left, draw(8) if self.data.augment else 0, drawing)


def _cut(photos: Photos, crops: list[Crop], side: int) -> Tensor:
    """(b, 3, side, side) uint8."""
    cut = [_turned(photos.crop(c.photo, c.top, c.left, side, side), c.turn) for c in crops]
    return torch.from_numpy(np.ascontiguousarray(np.stack(cut)))


def _turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """(3, H, W): one of the 8 flips and rotations of a square (H, W, 3)."""
    if turn & 1:
        pixels = pixels[:, ::-1]
    if turn & 2:
        pixels = pixels[::-1]
    return pixels.transpose(2, 1, 0) if turn & 4 else pixels.transpose(2, 0, 1)


def open_pictures(pictures: schema.Pictures, scale: int, processes: int = 0) -> tuple[Photos, Photos | None]:
    """HR photos, and in their order LR photos where these are there already, read in so many `processes`.

    An LR photo has the name of its HR photo, or that with "x4" (the scale) after it.

    Raises DataError: names are not unique or have no partner, or an LR photo is not ⌊HR/scale⌋ large; they are named.
    """
    hr = Photos(pictures.hr, pictures.cleanup, processes)
    if pictures.lr is None:
        return hr, None
    lr = Photos([pictures.lr], processes=processes)
    counts = [Counter(photo.name for photo in photos) for photos in (hr.photos, lr.photos)]
    if twice := sorted({name for count in counts for name in count if count[name] > 1}):
        raise DataError(f"pairs are matched by name, but {listed(twice)} occur twice; rename them")
    found = {photo.name: photo for photo in lr.photos}
    pairs = [(large, found.get(large.name) or found.get(f"{large.name}x{scale}")) for large in hr.photos]
    if missing := [str(large) for large, small in pairs if small is None]:
        what = f"{len(missing)} of {len(pairs)} HR photos have no LR photo of their name: {listed(missing)}"
        raise DataError(f"{what}; LR names look like {listed([*found][:2])}")
    lr.photos = [small for _, small in pairs if small is not None]
    if wrong := [
        f"{large.sized} and its LR, {small.sized}"
        for large, small in zip(hr.photos, lr.photos, strict=True)
        if small.shape != (large.shape[0] // scale, large.shape[1] // scale)
    ]:
        what = f"{len(wrong)} of {len(pairs)} pairs do not differ by the scale {scale}"
        raise DataError(f"{what}: {listed(wrong)}")
    return hr, lr
