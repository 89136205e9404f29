"""ncnn files: read to the last byte, and equal to what ncnn itself computes from them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import picture
from torch import Tensor, nn

from otsr import weights
from otsr.weights import WeightsError, ncnn

FP16 = b"\x47\x6b\x30\x01"
ANIME = Path(str(weights.find("realesrgan-anime").path))  # of six blocks


def numbers(network: nn.Module, half: bool) -> bytes:
    parts = []
    for name, value in network.state_dict().items():
        weight = name.endswith("weight")
        parts += [FP16 if half else bytes(4)] if weight else []
        parts += [value.numpy().astype("<f2" if weight and half else "<f4").tobytes()]
    return b"".join(parts)


def write(folder: Path, graph: str, binary: bytes) -> tuple[Path, Path]:
    paths = folder / "x4.param", folder / "x4.bin"
    paths[0].write_text(graph, encoding="latin-1")
    paths[1].write_bytes(binary)
    return paths


def run_ncnn(param: Path, lr: Tensor) -> Tensor:
    """ncnn's own forward pass in fp32 on the CPU."""
    import ncnn as runtime

    net = runtime.Net()
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.num_threads = 1
    assert (net.load_param(str(param)), net.load_model(str(param.with_suffix(".bin")))) == (0, 0)
    extractor = net.create_extractor()
    extractor.input("data", runtime.Mat(lr[0].numpy()).clone())
    status, out = extractor.extract("output")
    assert status == 0
    return torch.from_numpy(np.stack([np.array(out.channel(c)) for c in range(out.c)]))[None]


def test_a_pair_is_read_to_the_last_byte_in_both_precisions(tmp_path: Path) -> None:
    network = weights.load(ANIME)
    assert numbers(network, half=True) == ANIME.with_suffix(".bin").read_bytes()
    for path in write(tmp_path, ANIME.read_text(), numbers(network, half=False)):  # either names the pair
        read = weights.load(path)
        assert read.architecture == network.architecture and read.architecture["nb"] == 6
        assert numbers(read, half=False) == numbers(network, half=False)


@pytest.mark.parametrize(
    "name",
    [str(ANIME), *(pytest.param(n, marks=pytest.mark.slow) for n in ("realsr-df2k", "realesrgan-x4plus"))],
    ids=lambda name: Path(name).stem,
)
def test_packaged_weights_equal_ncnns_own_forward_pass(name: str) -> None:
    lr = picture(24, 20)
    with torch.no_grad():
        ours = weights.load(name)(lr)
    torch.testing.assert_close(ours, run_ncnn(weights.file_of(name), lr), atol=1e-4, rtol=0)
    assert ours.std() > 0.05


def replace(old: str, new: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return edit


OTHER = "its layers are not those of RealSR's or Real-ESRGAN's"


def test_another_graph_is_refused(tmp_path: Path) -> None:
    for edit, words in (
        (replace("=1,2.000000e-01", "=1,1.000000e-01"), OTHER),
        (replace("193_splitncnn_6 195_splitncnn_3 196", "195_splitncnn_3 193_splitncnn_6 196"), OTHER),
        (replace("0=1 1=2.000000e+00", "0=2 1=2.000000e+00"), OTHER),
        (replace("Eltwise ", "PixelShuffle "), OTHER),
        (lambda text: "7767517\n1 1\nInput in 0 1 b0\n", OTHER),
        (replace("7767517", "7767518"), "begins with '7767518', expected ncnn's text"),
        (lambda text: "\xdd\x85\x76\x00\xff\xfe", "expected ncnn's text"),
        (lambda text: text[: len(text) // 2], "damaged behind its layer"),
        (lambda text: "\n".join(text.splitlines()[:-1]), "damaged behind its layer 267"),
        (lambda text: text.splitlines()[0], "damaged behind its layer 0"),
        (lambda text: "", "the file is empty"),
        (lambda text: text + " " * ncnn._MAX_TEXT, "too large for a graph"),
    ):
        param, _ = write(tmp_path, edit(ANIME.read_text()), b"")
        with pytest.raises(WeightsError, match=rf"x4\.param: .*{words}"):
            weights.load(param)


def test_numbers_that_do_not_fill_the_graph_are_refused(tmp_path: Path) -> None:
    for edit, words in (
        (lambda data: data[:-4], "inside last: truncated"),
        (lambda data: data[:2], "inside first: truncated"),
        (lambda data: data + bytes(8), "8 bytes are left over; it belongs to another .param"),
        (lambda data: b"\x38\x4b\x0d\x00" + data[4:], "tag 0x000d4b38, not that of fp16"),
        (lambda data: data[:4] + b"\x00\x7c" + data[6:], "first.weight holds NaN or infinity"),
        (lambda data: None, r"x4\.bin: no such file; an ncnn model is a pair x4\.param \+ x4\.bin"),
    ):
        content = edit(ANIME.with_suffix(".bin").read_bytes())
        param, path = write(tmp_path, ANIME.read_text(), content or b"")
        if content is None:
            path.unlink()
        with pytest.raises(WeightsError, match=words):
            weights.load(param)
