"""Stage 3, training: a recipe in, weights out.

config = load_config("configs/tiny.yml", ["data.batch=4"])
train(config, Path("runs/tiny"))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otsr.training.recipe import load_config
    from otsr.training.schema import Config, ConfigError
    from otsr.training.trainer import train

__all__ = ["Config", "ConfigError", "load_config", "train"]
_ROOMS = {"Config": "schema", "ConfigError": "schema", "load_config": "recipe", "train": "trainer"}


def __getattr__(name: str) -> Any:
    """Import on first use: a recipe can be read without waiting for torch."""
    if name in _ROOMS:
        return getattr(import_module(f"otsr.training.{_ROOMS[name]}"), name)
    raise AttributeError(f"module 'otsr.training' has no attribute {name!r}")
