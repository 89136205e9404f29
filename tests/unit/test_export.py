"""An exported network answers in onnxruntime what it answers in PyTorch, at every size."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from small_networks import networks

from otsr.export import export_onnx
from otsr.networks.generators import Compact, RRDBNet


@pytest.mark.parametrize("which", [0, 2, 4], ids=["RRDBNet", "unshuffling", "Compact"])
def test_onnxruntime_gives_what_pytorch_gives_at_every_size(which: int, tmp_path: Path) -> None:
    network = networks()[which]
    export_onnx(network, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 24, 32), (1, 3, 17, 41), (2, 3, 40, 12)):
        lr = torch.rand(shape, generator=torch.Generator().manual_seed(1))
        (got,) = session.run(["sr"], {"lr": lr.numpy()})
        with torch.no_grad():
            expected = network(lr).numpy()
        assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max(), shape
        assert expected.std() > 0.1


def test_the_network_is_left_alone_and_the_file_holds_it_once(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    network = RRDBNet(nf=8, nb=1, gc=4).half().train()
    export_onnx(network, tmp_path / "network.onnx")
    assert network.training and next(network.parameters()).dtype == torch.float16
    assert [path.name for path in tmp_path.iterdir()] == ["network.onnx"]
    numbers = sum(parameter.numel() for parameter in network.parameters())
    assert 4 * numbers < (tmp_path / "network.onnx").stat().st_size < 4 * numbers + 40_000
    assert not recwarn.list


def test_what_onnx_cannot_say_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"base bicubic.*base nearest"):
        export_onnx(Compact(nf=4, nb=1, base="bicubic"), tmp_path / "network.onnx")
    assert not list(tmp_path.iterdir())
