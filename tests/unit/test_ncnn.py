"""ncnn files: read to the last byte, and equal to what ncnn itself computes from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from otsr import weights
from otsr.networks.generators import RRDBNet
from otsr.weights import WeightsError, ncnn

FP16 = b"\x47\x6b\x30\x01"


def graph(network: RRDBNet) -> str:
    """The `.param`: a blob feeds one layer only, so those with more get a Split. The last blob is `output`.

    The list of layers is the package's own; that it means what it should, ncnn says below.
    """
    layers = ncnn._graph(network)
    readers = Counter(number for layer in layers for number in layer.inputs)
    copies = {number: [f"b{number}_{i}" for i in range(n)] for number, n in readers.items() if n > 1}
    lines = []
    for i, layer in enumerate(layers):
        taken = [copies[number].pop(0) if number in copies else f"b{number}" for number in layer.inputs]
        output = "output" if i == len(layers) - 1 else f"b{i}"
        options = [f"{key}={','.join(map(str, values))}" for key, values in layer.options.items()]
        lines.append(" ".join([layer.kind, f"{layer.kind}_{i}", f"{len(taken)} 1", *taken, output, *options]))
        if i in copies:
            lines.append(f"Split split_{i} 1 {len(copies[i])} {output} {' '.join(copies[i])}")
    blobs = sum(int(line.split()[3]) for line in lines)
    return "\n".join(["7767517", f"{len(lines)} {blobs}", *lines]) + "\n"


def numbers(network: RRDBNet, half: bool) -> bytes:
    content = b""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            array = module.weight.detach().numpy().astype("<f2" if half else "<f4").tobytes()
            content += (FP16 if half else bytes(4)) + array + bytes(-len(array) % 4)
            content += module.bias.detach().numpy().tobytes()  # type: ignore[union-attr]
    return content


def network(nf: int = 5, nb: int = 2, gc: int = 3, scale: int = 4) -> RRDBNet:
    """Odd channel numbers: their fp16 weights need padding. Weights are exact in fp16, so loading must be exact."""
    made = RRDBNet(nf, nb, gc, scale).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            fan_in = parameter[0].numel()
            parameter.copy_((torch.randn(parameter.shape, generator=generator) / fan_in**0.5).half())
    return made


def write(folder: Path, made: RRDBNet, *, half: bool = True) -> tuple[Path, Path]:
    param, binary = folder / "x4.param", folder / "x4.bin"
    param.write_text(graph(made))
    binary.write_bytes(numbers(made, half))
    return param, binary


def picture(height: int = 9, width: int = 7) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def run_ncnn(param: Path, binary: Path, lr: Tensor, into: str) -> Tensor:
    """ncnn's own forward pass in fp32 on the CPU."""
    import ncnn as runtime

    net = runtime.Net()
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.num_threads = 1
    assert net.load_param(str(param)) == 0
    assert net.load_model(str(binary)) == 0
    extractor = net.create_extractor()
    extractor.input(into, runtime.Mat(lr[0].numpy()).clone())
    status, out = extractor.extract("output")
    assert status == 0
    return torch.from_numpy(np.stack([np.array(out.channel(c)) for c in range(out.c)]))[None]


@pytest.mark.parametrize("half", [True, False], ids=["fp16", "fp32"])
@pytest.mark.parametrize("scale", [2, 4])
def test_a_pair_is_read_exactly(scale: int, half: bool, tmp_path: Path) -> None:
    made = network(scale=scale)
    param, binary = write(tmp_path, made, half=half)
    for path in (param, binary):  # either file names the pair
        read = weights.load(path)
        assert read.architecture == made.architecture
        assert not read.training
        for name, tensor in made.state_dict().items():
            assert torch.equal(read.state_dict()[name], tensor), name


def test_the_small_pair_of_these_tests_means_to_ncnn_what_it_means_to_us(tmp_path: Path) -> None:
    made = network()
    param, binary = write(tmp_path, made)
    with torch.no_grad():
        expected = made(picture())
    torch.testing.assert_close(run_ncnn(param, binary, picture(), "b0"), expected, atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["realsr-df2k", "realesrgan-x4plus"])
def test_packaged_weights_equal_ncnns_own_forward_pass(name: str) -> None:
    param = weights.locate(name)
    lr = picture(24, 20)
    with torch.no_grad():
        ours = weights.load(name)(lr)
    theirs = run_ncnn(param, param.with_suffix(".bin"), lr, "data")
    assert theirs.shape == ours.shape == (1, 3, 96, 80)
    assert (ours - theirs).abs().max() < 1e-4
    assert ours.std() > 0.05


def replace(old: str, new: str, count: int = 1) -> Callable[[str], str]:
    def edit(text: str) -> str:
        assert old in text
        return text.replace(old, new, count)

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (replace("=1,0.2", "=1,0.1"), "layer Convolution_2 is not what an RRDBNet"),
        (replace("=2,0.2", "=2,0.3"), "layer Eltwise_11 is not"),
        (replace("2 1 b1_1 b2_0", "2 1 b2_0 b1_1"), "layer Concat_3 is not"),
        (replace("0=1 1=2.0 2=2.0", "0=2 1=2.0 2=2.0"), "layer Interp"),
        (replace("1=3", "1=5"), "layer Convolution_1 is not"),
        (replace("6=135", "6=136"), "layer Convolution_1 is not"),
        (replace("Eltwise ", "PixelShuffle "), "layer Eltwise_11 is not"),
        (replace("0=5 1=3", "0=6 1=3"), "is not what an RRDBNet of this size"),
        (replace("b3 ", "b999 "), "damaged behind layer Concat_3"),
        (replace("7767517", "7767518"), "begins with '7767518', expected ncnn's text"),
        (lambda text: text[: len(text) // 2], "damaged behind layer"),
        (lambda text: "\n".join(text.splitlines()[:-1]), "damaged behind layer"),
        (lambda text: text.splitlines()[0], "damaged behind layer 0"),
        (lambda text: "", "the file is empty"),
        (lambda text: "7767517\n1 1\nInput in 0 1 b0\n", "0 convolutions and 0 enlargements"),
        (lambda text: "\xdd\x85\x76\x00\xff\xfe", "expected ncnn's text"),
    ],
)
def test_a_graph_that_is_no_rrdbnet_is_refused_at_the_layer(
    edit: Callable[[str], str], words: str, tmp_path: Path
) -> None:
    param, _ = write(tmp_path, network())
    param.write_text(edit(param.read_text()), encoding="latin-1")
    with pytest.raises(WeightsError) as caught:
        weights.load(param)
    assert words in str(caught.value)
    assert "x4.param" in str(caught.value)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda data: data[:-4], "inside last: truncated"),
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: data[:2], "inside first: truncated"),
        (lambda data: data + bytes(8), "8 bytes are left over; it belongs to another .param"),
        (lambda data: b"\x38\x4b\x0d\x00" + data[4:], "tag 0x000d4b38, not that of fp16"),
        (lambda data: data[:4] + b"\x00\x7c" + data[6:], "first.weight holds NaN or infinity"),
        (lambda data: b"\xff\xd8\xff\xe0 a JPEG" + data[13:], "tag"),
    ],
)
def test_numbers_that_do_not_fill_the_graph_are_refused(
    edit: Callable[[bytes], bytes], words: str, tmp_path: Path
) -> None:
    param, binary = write(tmp_path, network())
    binary.write_bytes(edit(binary.read_bytes()))
    with pytest.raises(WeightsError) as caught:
        weights.load(param)
    assert words in str(caught.value)


def test_half_a_pair_names_the_half_that_is_missing(tmp_path: Path) -> None:
    param, binary = write(tmp_path, network())
    binary.unlink()
    with pytest.raises(
        WeightsError, match=r"x4\.bin: no such file; an ncnn model is a pair x4\.param \+ x4\.bin"
    ):
        weights.load(param)


def test_a_graph_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    param, _ = write(tmp_path, network())
    with param.open("r+b") as file:
        file.truncate(ncnn._MAX_TEXT + 1)
    with pytest.raises(WeightsError, match="too large for a graph"):
        weights.load(param)
