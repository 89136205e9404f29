"""What the page of `otsr app` shows and makes of one photo: a part with detail, both ways; then the whole photo."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from functools import lru_cache
from pathlib import Path

from PIL import Image

from otsr.cli.upscale import Size, enlarge
from otsr.evaluation import comparison
from otsr.evaluation.comparison import SIDE, Window
from otsr.images import open_picture, read
from otsr.inference import Upscaler

_OVERVIEW = (640, 480)
_PAUSE = 0.3  # seconds between two reports


class Stopped(Exception):
    """The person at the page stopped the work."""


class Lightbox:
    """Photos of one page; `load` gives the upscaler for an OT weight, enlarged photos lie in `folder` until saved."""

    def __init__(self, load: Callable[[float], Upscaler], folder: Path) -> None:
        self.folder = folder
        self.upscaler = lru_cache(2)(load)
        self.open = lru_cache(1)(read)
        self.compare = lru_cache(64)(self._compare)
        self.seconds = lru_cache(8)(self._seconds)
        self._profile = lru_cache(8)(_profile)
        self._stop = threading.Event()

    def size(self, photo: str) -> tuple[int, int]:
        """Width and height."""
        height, width = self.open(photo).shape[-2:]
        return width, height

    def _seconds(self, photo: str) -> float:
        """What the whole photo will take."""
        return self.upscaler(1.0).predict_seconds(*self.size(photo))

    def detail(self, photo: str) -> Window:
        """The part with most detail."""
        return comparison.detail(self.open(photo))

    def around(self, photo: str, column: int, row: int) -> Window:
        """The part around a pixel of the overview."""
        width, height = self.size(photo)
        shrink = min(1, _OVERVIEW[0] / width, _OVERVIEW[1] / height)
        left, top = (max(0, int(place / shrink) - SIDE // 2) for place in (column, row))
        return comparison.window_at(self.open(photo), left, top)

    def overview(self, photo: str, part: Window) -> Image.Image:
        """The photo, small, with a frame around the part."""
        return self._profiled(photo, comparison.overview(self.open(photo), part, _OVERVIEW))

    def _compare(self, photo: str, part: Window, weight: float) -> list[Image.Image]:
        """The part, enlarged bicubically and by the network."""
        views = comparison.enlarged(self.open(photo), {"network": self.upscaler(weight)}, part)
        return [self._profiled(photo, view) for view in views.values()]

    def _profiled(self, photo: str, image: Image.Image) -> Image.Image:
        image.info["icc_profile"] = self._profile(photo)
        return image

    def enlarge(self, photo: str, weight: float, size: Size, suffix: str) -> Iterator[float | Path]:
        """The share that is done, now and then; at last the file, the same that `otsr upscale` makes.

        Raises:
            Stopped: `stop` was called.
            ImageError, MemoryError, OSError: as `otsr upscale` says.
        """
        target = Path(tempfile.mkdtemp(dir=self.folder)) / f"{Path(photo).stem}_large{suffix}"
        self._stop = stop = threading.Event()
        work: Future[None] = Future()
        share = 0.0

        def progress(done: int, total: int) -> None:
            nonlocal share
            share = done / total
            if stop.is_set():
                raise Stopped

        def do() -> None:
            try:
                enlarge(self.upscaler(weight), Path(photo), target, size, progress)
                work.set_result(None)
            except BaseException as error:
                work.set_exception(error)

        threading.Thread(target=do, daemon=True).start()
        try:
            while not wait([work], _PAUSE).done:
                if stop.is_set():
                    raise Stopped
                yield share
            work.result()
            yield target
        finally:  # the person closed the page
            stop.set()

    def stop(self) -> None:
        """End the enlargement that is under way, at the next tile."""
        self._stop.set()


def _profile(photo: str) -> bytes | None:
    """The colour profile that the browser needs to show the photo right."""
    picture = open_picture(photo)
    return None if picture.grey else picture.icc
