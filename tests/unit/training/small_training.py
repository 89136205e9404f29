"""Photos and recipes that the tests of a training share."""

from pathlib import Path

import numpy as np
from PIL import Image

CONFIGS = Path(__file__).parents[3] / "configs"


def paint(path: Path, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Write random pixels to a file, and give them back."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def write_recipe(folder: Path, text: str, height: int, width: int) -> Path:
    """A recipe beside the one photo that it trains on, whose folder PHOTOS stands for."""
    paint(folder / "photos" / "a.png", height, width)
    path = folder / "tiny.yml"
    path.write_text(text.replace("PHOTOS", str(folder / "photos")))
    return path
