"""Files of weights: what a file is, by its content; reading it without running it; writing safetensors."""

import json
import os
import re
import tarfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from otsr.images import atomic_path, suggestion
from otsr.networks.generators import Compact, RRDBNet
from otsr.weights import ncnn
from otsr.weights.layouts import MAX_BYTES, WeightsError, network_from

EXPECTED = (
    "expected weights of an RRDBNet (ESRGAN, RealSR, OTSR, BasicSR, Real-ESRGAN ×4 or ×2) or a Compact, "
    "as PyTorch .pth, .safetensors, or ncnn .param + .bin"
)
_FOREIGN: dict[bytes, str] = {
    rb"\xff\xd8\xff|\x89PNG|RIFF....WEBP|GIF8": "a picture",
    rb"(?i)\s*(<!doctype html|<html|<head)": "a web page: a server's error or log-in page saved in place of the file",
    rb"version https://git-lfs": "a Git LFS pointer, not the file it points to; run `git lfs pull`",
    rb".{257}ustar|\x1f\x8b|Rar!|7z\xbc\xaf": "an archive; unpack it first",
    rb"[\t\n\r\x20-\x7e]+\Z": "plain text",
}


def read(path: str | os.PathLike[str]) -> RRDBNet | Compact:
    """The generator in a file, in eval mode, float32. The content decides, not the suffix.

    PyTorch files (.pth) are read with `weights_only=True`, so a file can hold tensors but run nothing; safetensors are
    checked against the architecture in their metadata; of an ncnn pair, name either file.

    Raises WeightsError: no such file, too large, damaged, or something else than a generator.
    """
    path = Path(path)
    with _explained(path):
        head = _head(path)
        if head.startswith(ncnn.MAGIC) or path.suffix == ".param":
            return ncnn.read(path, path.with_suffix(".bin"))
        if path.suffix == ".bin" and path.with_suffix(".param").exists():
            return ncnn.read(path.with_suffix(".param"), path)
        if head[8:9] == b"{":  # before pickle, whose first byte its header's length may begin with
            return _read_safetensors(path)
        if head.startswith((b"PK\x03\x04", b"\x80")):
            return network_from(_read_torch(path, head))
        known = (what for kind, what in _FOREIGN.items() if re.match(kind, head, re.DOTALL))
        raise WeightsError(next(known, f"unknown binary data (it begins with {head[:8]!r})"))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Name the file in errors, and what was expected."""
    try:
        yield
    except SafetensorError as error:
        found = f"damaged, or not a safetensors file ({error}); fetch it again"
        raise WeightsError(f"{path}: {found}; {EXPECTED}") from None
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}; {EXPECTED}") from None


def save(
    network: nn.Module, path: str | os.PathLike[str], metadata: Mapping[str, object] | None = None, *,
    half: bool = False,
) -> None:  # fmt: skip
    """Write a generator as safetensors, atomically, with its architecture in the metadata.

    Args:
        metadata: more to keep with the weights (training data, licence …), written as text.
        half: store fp16: half the size; `read` gives float32 back.

    Raises WeightsError: not a generator, an unfit path, or weights that are not finite (in fp16, if `half`).
    """
    path = Path(path)
    architecture = getattr(network, "architecture", None)
    if not isinstance(architecture, dict):
        raise WeightsError(f"{path}: {type(network).__name__} has no architecture to write")
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path}: weights are written as .safetensors; change the suffix")
    if not path.parent.is_dir():
        raise WeightsError(f"{path}: the folder {path.parent} does not exist; make it first")
    dtype = torch.float16 if half else torch.float32
    state = {name: tensor.cpu().to(dtype).contiguous() for name, tensor in network.state_dict().items()}
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise WeightsError(f"{path}: {name} is not finite in {dtype}; nothing was written")
    notes = {key: str(value) for key, value in (metadata or {}).items()}
    with atomic_path(path) as temporary:
        save_file(state, temporary, {**notes, "architecture": json.dumps(architecture)})


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """What `save` wrote beside the weights, `architecture` (JSON) included. Empty if the file has none."""
    with _explained(path := Path(path)):
        _head(path)
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})


def _head(path: Path) -> bytes:
    """The first bytes, after checks that hold for every format."""
    if not path.exists():
        raise WeightsError(f"no such file; `otsr info` lists weights by name{suggestion(path)}")
    if not path.is_file():
        raise WeightsError("not a file")
    size = path.stat().st_size
    if size == 0:
        raise WeightsError("the file is empty (0 bytes); fetch it again")
    if size > MAX_BYTES:
        raise WeightsError(f"{size / 2**30:.1f} GiB, above the limit of {MAX_BYTES >> 30} GiB")
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise WeightsError(f"cannot be read ({error.strerror})") from None


def _read_torch(path: Path, head: bytes) -> Any:
    """What torch.save wrote, if it is tensors and plain containers only."""
    if head.startswith(b"PK"):
        _check_zip(path)
    elif tarfile.is_tarfile(path):  # torch < 2.6 runs code from such a file in spite of weights_only
        raise WeightsError("a tar archive, as torch 0.1 wrote; save the weights again with a newer torch")
    try:
        # An open file, not a path: torch.load would choose the reader by the suffix.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on pickle protocols; the error below says more
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail anywhere in the unpickler
        found = re.search(r"(?:GLOBAL|unsupported class|unrecognized function) ([\w.]+)", str(error))
        if found:
            remedy = "if it is yours, save network.state_dict() instead of the network"
            raise WeightsError(f"holds code ({found[1]}), which is refused; {remedy}") from None
        reason = str(error).rpartition("WeightsUnpickler error: ")[2].strip() or type(error).__name__
        first = reason.splitlines()[0]
        raise WeightsError(f"damaged, or not a PyTorch file ({first}); fetch it again") from None


def _check_zip(path: Path) -> None:
    """Refuse a ZIP that is not what torch.save writes, or that would unpack to more memory than allowed."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise WeightsError(f"truncated or damaged ({error}); fetch it again") from None
    names = [entry.filename for entry in entries]
    if sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise WeightsError(f"unpacks to more than {MAX_BYTES >> 30} GiB")
    if any("/code/" in name for name in names):
        raise WeightsError("a TorchScript program, which is code; save its state_dict() instead")
    if not any(name.endswith("data.pkl") for name in names):
        raise WeightsError(f"a ZIP archive ({', '.join(names[:3]) or 'empty'} …); unpack it first")


def _read_safetensors(path: Path) -> RRDBNet | Compact:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    try:
        architecture = json.loads(metadata.get("architecture", "null"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"its architecture is not valid JSON ({error})") from None
    return network_from(tensors, architecture)
