"""Options that several commands have."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option
from typer.core import TyperCommand

Inputs = Annotated[list[Path], Argument(metavar="PICTURES...", help="Pictures, and folders of pictures.")]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace outputs that exist already.")]
Weights = Annotated[str | None, Option(help="Name (see `otsr info`), file or folder.  [default: otsr]")]
Tile = Annotated[int | None, Option(help="LR pixels a side; small saves memory.  [default: 512, CUDA 2048]")]
DeviceName = Annotated[str, Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
Precision = Annotated[str, Option(help="auto, fp32, bf16, fp16.")]


class ManyValues(TyperCommand):
    """A command whose `--weights a b` means `--weights a --weights b`; `--sr` and `--ot-weight` work alike."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the name of such an option before each of its further values."""
        option = ""
        repeated: list[str] = []
        for arg in args:
            if arg.startswith("-"):
                option = arg if arg in ("--weights", "--ot-weight", "--sr") else ""
            elif option and repeated[-1] != option:
                repeated.append(option)
            repeated.append(arg)
        return super().parse_args(ctx, repeated)
