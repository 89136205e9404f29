"""`otsr export`: a file that onnxruntime runs, and every wrong wish named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from command import Run

from otsr import weights
from otsr.networks.generators import RRDBNet


@pytest.fixture
def small(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    weights.save(RRDBNet(nf=4, nb=1, gc=4), tmp_path / "small.safetensors", {})
    return tmp_path / "small.safetensors"


def test_weights_become_a_file_that_runs_without_pytorch(otsr: Run, small: Path, tmp_path: Path) -> None:
    result = otsr("export", small, "-o", tmp_path / "small.onnx")
    assert result.exit_code == 0, result.stderr
    assert "gives sr ×4" in result.stderr
    session = onnxruntime.InferenceSession(tmp_path / "small.onnx", providers=["CPUExecutionProvider"])
    (sr,) = session.run(None, {"lr": np.zeros((1, 3, 20, 30), np.float32)})
    assert sr.shape == (1, 3, 80, 120)


def test_a_file_that_is_there_is_kept_until_overwrite_is_said(otsr: Run, small: Path, tmp_path: Path) -> None:
    (tmp_path / "small.onnx").write_bytes(b"mine")
    result = otsr("export", small, "-o", tmp_path / "small.onnx")
    assert (result.exit_code, (tmp_path / "small.onnx").read_bytes()) == (2, b"mine")
    assert "--overwrite" in result.stderr
    assert otsr("export", small, "-o", tmp_path / "small.onnx", "--overwrite").exit_code == 0
    assert (tmp_path / "small.onnx").stat().st_size > 1000


@pytest.mark.parametrize(
    ("name", "out", "words"),
    [
        ("otsr-smal", "a.onnx", "did you mean"),
        (None, "a.pth", "name a file with the suffix .onnx"),
        (None, "folder.onnx", "folder.onnx is a folder; name a file"),
        (None, "missing/a.onnx", "make it first"),
    ],
)
def test_a_wish_that_cannot_be_met_is_named(
    otsr: Run, small: Path, tmp_path: Path, name: str | None, out: str, words: str
) -> None:
    (tmp_path / "folder.onnx").mkdir()
    result = otsr("export", name or small, "-o", tmp_path / out)
    assert result.exit_code == 2
    assert words in result.stderr
