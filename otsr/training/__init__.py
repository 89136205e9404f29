"""Stage 3, training: a recipe in, weights out.

    config = load_config("configs/tiny.yml", ["data.batch=4"])
    train(config, Path("runs/tiny"))

Rooms, downwards: `trainer` (the loop) and what serves it; `losses`, `adversary` (what is minimised); `data`, `store`
(crops); `start` (the generator to begin with); `config` (what a recipe says) with its `parts`, `combinations`, `recipe`
(reading one), `original` (reading those of RealSR and OTSR) and `complaints` (words for what is wrong with one).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otsr.training.config import Config, ConfigError, load_config
    from otsr.training.trainer import train

__all__ = ["Config", "ConfigError", "load_config", "train"]


def __getattr__(name: str) -> Any:
    """Import on first use: a recipe can be read without waiting for torch."""
    if name == "train":
        return import_module("otsr.training.trainer").train
    if name in __all__:
        return getattr(import_module("otsr.training.config"), name)
    raise AttributeError(f"module 'otsr.training' has no attribute {name!r}")
