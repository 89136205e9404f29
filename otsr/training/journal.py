"""The story of a training for TensorBoard: curves, pictures, and the transport plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter


class JournalError(RuntimeError):
    """The journal cannot be written; the message says why and what to do."""


class Journal:
    """Writes into `folder`; look with `tensorboard --logdir FOLDER`.

    A thread writes, so an error comes back with a later call.

    Args:
        folder: of the run; events go to its log/.
        first: step that the training goes on from: later points, of a run that was interrupted, disappear.

    Raises:
        JournalError: by every method, when the disk is full or cannot be written.
    """

    def __init__(self, folder: Path, first: int = 0) -> None:
        self._folder = folder / "log"
        with self._named():
            self._writer = SummaryWriter(str(self._folder), purge_step=first or None)

    def scalars(self, group: str, values: dict[str, float], step: int) -> None:
        """One curve each, together under the name of the group."""
        with self._named():
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)

    def pictures(self, pictures: dict[str, Tensor], step: int) -> None:
        """Validation pictures (3, H, W) in [0, 1], by name."""
        with self._named():
            for name, picture in pictures.items():
                self._writer.add_image(f"validation/{name}", picture, step)

    def plan(self, plan: Tensor, step: int) -> None:
        """A transport plan (n, m): row j is a real, column i a generated sample, white carries most."""
        grey = (plan / plan.max().clamp(min=1e-30)).float().cpu()
        enlarged = grey.repeat_interleave(max(1, 256 // len(grey)), 0)
        enlarged = enlarged.repeat_interleave(max(1, 256 // grey.shape[1]), 1)
        with self._named():
            self._writer.add_image("transport/plan", enlarged[None], step)

    def close(self) -> None:
        """Write what is buffered, and end."""
        with self._named():
            self._writer.close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise JournalError(
                f"{self._folder}: curves cannot be written ({reason}); make room and go on with --resume"
            ) from None
