"""Blind super-resolution guided by optimal transport: the course and the toolbox.

    >>> from otsr import Upscaler
    >>> Upscaler.from_pretrained().upscale("photo.jpg").save("photo_x4.png")

The package reads as the method reads: `otsr.degradation` estimates how a camera degrades and degrades clean
photos alike, `otsr.networks` and `otsr.inference` upscale, `otsr.metrics` measures.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otsr.inference import Upscaler

__all__ = ["Upscaler", "__version__"]
__version__ = version("otsr")

# Products in one order; cuBLAS reads it at its first call, and deterministic algorithms refuse to run without it.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
# What Apple's GPU cannot compute goes to the CPU. torch reads it when it is imported.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")


def __getattr__(name: str) -> Any:
    """Import `Upscaler` on first use, so that `otsr --help` does not wait for torch."""
    if name == "Upscaler":
        return import_module("otsr.inference").Upscaler
    raise AttributeError(f"module 'otsr' has no attribute {name!r}")
