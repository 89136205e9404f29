"""Weights of generators: named ones (vendored, in a pip package, on the web), and any file of a known format.

    network = weights.load("otsr")                 # or a path: .pth, .safetensors, ncnn .param + .bin
    weights.save(network, "mine.safetensors", {"trained on": "DF2K"})

Files: `catalogue` (names, and where they are), `formats` (on disk; `ncnn` is one of them), `layouts` (what different
authors call the same layers).
"""

import copy
from pathlib import Path

import torch

from otsr.networks.generators import Compact, RRDBNet
from otsr.weights.catalogue import DEFAULT, Entry, catalogue, find, locate
from otsr.weights.formats import read, read_metadata, save
from otsr.weights.layouts import WeightsError

__all__ = [
    "DEFAULT", "Entry", "WeightsError", "blend", "catalogue", "file_of", "find", "load", "locate", "partner",
    "read_metadata", "save",
]  # fmt: skip


def load(name_or_path: str | Path, *, download: bool = True) -> RRDBNet | Compact:
    """The generator with weights of that name, or in that file: in eval mode, float32, on the CPU.

    Args:
        name_or_path: a name of `catalogue()`, a file of any format in `formats.read`, or the folder of a training
            (see `file_of`). A name goes before a file of the same name; write "./name" for the file.
        download: fetch what is not here yet; otherwise that is an error.

    Raises WeightsError: unknown name, missing or damaged file, or a file that holds something else.
    """
    return read(file_of(name_or_path, download=download))


def file_of(name_or_path: str | Path, *, download: bool = True) -> Path:
    """The file that `load` reads: of a training's folder best.safetensors, else last.safetensors; see also `locate`."""
    name, path = str(name_or_path), Path(name_or_path)
    is_path = path.exists() or path.suffix or path.name != name
    if find(name) is not None or not is_path:
        return locate(name, download=download)
    if not path.is_dir():
        return path
    for file in (path / "best.safetensors", path / "last.safetensors"):
        if file.is_file():
            return file
    raise WeightsError(f"{path}: a folder without best.safetensors or last.safetensors; name a file")


def partner(name_or_path: str | Path) -> str | None:
    """The weights that these can be blended with, a name or a path; None if there are none.

    Named weights have it in the catalogue, files in the metadata key `partner` (a path is relative to the file).
    """
    if entry := find(str(name_or_path)):
        return entry.partner
    path = file_of(Path(name_or_path))
    named = read_metadata(path).get("partner") if path.suffix == ".safetensors" else None
    return named if named is None or find(named) else str(path.parent / named)


def blend(a: RRDBNet | Compact, b: RRDBNet | Compact, t: float) -> RRDBNet | Compact:
    """A network whose weights are (1 − t)·a + t·b, on the device of `a`; t = 0 is `a`, t = 1 is `b`, exactly.

    Between a fidelity network and one trained with transport from it, t weighs transport against fidelity.
    Raises WeightsError: the architectures differ. ValueError: t is not in [0, 1].

    Reference: Wang et al., Deep Network Interpolation, CVPR 2019, arXiv 1811.10515.
    """
    if not 0 <= t <= 1:
        raise ValueError(f"t is {t}, expected a number from 0 to 1")
    first, second = a.architecture, b.architecture
    if first != second:
        pairs = {key: (first.get(key, "none"), second.get(key, "none")) for key in {**first, **second}}
        what = "; ".join(f"{key} {one} and {other}" for key, (one, other) in pairs.items() if one != other)
        raise WeightsError(f"networks of different architecture cannot be blended ({what})")
    mixed, others = copy.deepcopy(a), b.state_dict()
    mixed.load_state_dict({k: torch.lerp(v, others[k].to(v), t) for k, v in a.state_dict().items()})
    return mixed
