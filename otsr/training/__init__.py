"""Stage 3, training: a recipe in, weights out.

config = load_config("configs/tiny.yml", ["data.batch=4"])
train(config, Path("runs/tiny"))
"""

from typing import Any

from otsr.training.recipe import load_config
from otsr.training.schema import Config, ConfigError

__all__ = ["Config", "ConfigError", "load_config", "train"]


def __getattr__(name: str) -> Any:
    """`train` is imported on first use: a recipe can be read without waiting for torch."""
    if name == "train":
        from otsr.training.trainer import train

        return train
    raise AttributeError(f"module 'otsr.training' has no attribute {name!r}")
