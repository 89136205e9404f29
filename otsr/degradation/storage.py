"""One safetensors file with a format name and a version: written atomically, read with checks.

Noise pools and degradations are kept this way: no pickle, so that a file from a stranger runs nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from otsr.images import atomic_path


class DegradationError(ValueError):
    """A degradation, noise pool or their file that cannot be used; the message says what to do."""


def write_tensors(
    path: str | os.PathLike[str], kind: str, version: int, tensors: dict[str, Tensor], notes: dict[str, Any]
) -> None:
    """Write tensors and notes (JSON values) as one safetensors file of `kind` and `version`, atomically."""
    metadata = {"format": kind, "version": str(version), "notes": json.dumps(notes, ensure_ascii=False)}
    with atomic_path(path) as temporary:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            temporary,
            metadata,
        )


def read_tensors(
    path: str | os.PathLike[str], kind: str, version: int
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and notes that `write_tensors` wrote.

    Raises:
        DegradationError: the file is missing, no safetensors file, of another kind, or of a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise DegradationError(f"{path}: no such file; expected an {kind} file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
    except (SafetensorError, OSError) as error:
        with path.open("rb") as file:
            head = file.read(12)
        raise DegradationError(
            f"{path}: no intact safetensors file ({error}; it begins with {head!r}); expected an {kind} file"
        ) from None
    found = metadata.get("format")
    if found != kind:
        held = ", ".join(sorted(tensors)[:4]) or "nothing"
        what = f"a file of {found}" if found else "tensors without a format name"
        raise DegradationError(f"{path}: {what} ({held}), expected an {kind} file")
    if metadata.get("version") != str(version):
        raise DegradationError(
            f"{path}: {kind} version {metadata.get('version')}, this program reads version {version}; "
            "update otsr, or make the file again"
        )
    try:
        notes = json.loads(metadata["notes"])
    except (KeyError, json.JSONDecodeError) as error:
        raise DegradationError(f"{path}: this {kind} file is damaged ({error}); make it again") from None
    return tensors, notes
