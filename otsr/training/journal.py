"""The story of a training for TensorBoard: curves, pictures, and the transport plan."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter


class Journal:
    """Writes into `folder`; look with `tensorboard --logdir FOLDER`.

    Args:
        folder: of the run; events go to its log/.
        first: step that the training goes on from: later points, of a run that was interrupted, disappear.
    """

    def __init__(self, folder: Path, first: int = 0) -> None:
        self._writer = SummaryWriter(str(folder / "log"), purge_step=first or None)

    def scalars(self, group: str, values: dict[str, float], step: int) -> None:
        """One curve each, together under the name of the group."""
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, step)

    def pictures(self, pictures: dict[str, Tensor], step: int) -> None:
        """Validation pictures (3, H, W) in [0, 1], by name."""
        for name, picture in pictures.items():
            self._writer.add_image(f"validation/{name}", picture, step)

    def plan(self, plan: Tensor, step: int) -> None:
        """A transport plan (n, m): row j is a real, column i a generated sample, white carries most."""
        grey = (plan / plan.max().clamp(min=1e-30)).float().cpu()
        enlarged = grey.repeat_interleave(max(1, 256 // len(grey)), 0)
        enlarged = enlarged.repeat_interleave(max(1, 256 // grey.shape[1]), 1)
        self._writer.add_image("transport/plan", enlarged[None], step)

    def close(self) -> None:
        """Write what is buffered, and end."""
        self._writer.close()
