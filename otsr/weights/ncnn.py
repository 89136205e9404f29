"""ncnn's `.param` (the graph, text) and `.bin` (the numbers) to an RRDBNet.

RealSR and Real-ESRGAN share one graph, and Real-ESRGAN's network for anime is a shorter one. Only a file whose graph
is one of these is read: its numbers then go into the network in the file's order.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from otsr.networks.generators import RRDBNet
from otsr.weights.layouts import WeightsError, fill

MAGIC = b"7767517"
GRAPHS = {  # `_graph` of the file to the RRDBNet's arguments
    "40895f1a4f6093050176f98f1af5a7572e6eecd0851a1a2d292712ae156544f9": {"nb": 23},
    "72a7455f439e60acc9abdaf900731dc1109288d2c1200c7526d5fe01002cfe94": {"nb": 6},
}
_FP16, _FP32 = 0x01306B47, 0
_MAX_TEXT = 16 << 20


def read(param: Path, weights: Path) -> RRDBNet:
    """The RRDBNet that a pair of ncnn files holds, in eval mode, float32.

    Raises:
        WeightsError: a file of the pair is missing, damaged, or for another network.
    """
    for path in (param, weights):
        if not path.is_file():
            pair = f"{param.name} + {weights.name}"
            raise WeightsError(f"{path.name}: no such file; an ncnn model is a pair {pair}")
    arguments = GRAPHS.get(_graph(param))
    if arguments is None:
        raise WeightsError("its layers are not those of RealSR's or Real-ESRGAN's ×4 networks for ncnn")
    with torch.device("meta"):
        network = RRDBNet(**arguments)
    return fill(network, _numbers(weights, network))  # type: ignore[return-value]


def _graph(path: Path) -> str:
    """SHA-256 of the layers in the file's order: kind, the numbers of the layers that it reads, options.

    Names are left out, and so are copies (`Split`): they stand for the layer that they copy.
    """
    if path.stat().st_size > _MAX_TEXT:
        raise WeightsError("too large for a graph in text")
    magic, count, *lines = [*path.read_text("ascii", errors="replace").splitlines(), "", ""]
    if magic.strip() != MAGIC.decode():
        raise WeightsError(f"begins with {magic[:40]!r}, expected ncnn's text ({MAGIC.decode()})")
    layers: list[tuple[str, list[int], list[tuple[int, list[float]]]]] = []
    makers: dict[str, int] = {}  # of each blob, the number of its layer
    filled = [line for line in lines if line.strip()]
    try:
        for line in filled:
            kind, _, ins, outs, *rest = line.split()
            inputs = [makers[blob] for blob in rest[: int(ins)]]
            outputs, options = rest[int(ins) :][: int(outs)], rest[int(ins) + int(outs) :]
            if kind != "Split":
                pairs = (option.split("=") for option in options)  # k=v, or an array as -23300-k=n,v,v…
                values = sorted((int(key), [float(n) for n in text.split(",")]) for key, text in pairs)
                layers.append((kind, inputs, values))
            makers.update(dict.fromkeys(outputs, inputs[0] if kind == "Split" else len(layers) - 1))
        whole = len(filled) == int(count.split()[0])
    except (ValueError, IndexError, KeyError):
        whole = False
    if not whole:
        raise WeightsError(f"damaged behind its layer {len(layers)}; fetch it again")
    return hashlib.sha256(repr(layers).encode()).hexdigest()


def _numbers(path: Path, network: RRDBNet) -> dict[str, Tensor]:
    """Per convolution: a tag, the weights (fp16 or fp32), the bias (fp32)."""
    data = path.read_bytes()
    position = 0

    def take(kind: str, count: int, name: str) -> np.ndarray:
        nonlocal position
        start, position = position, position + count * np.dtype(kind).itemsize
        if position > len(data):
            raise WeightsError(f"{path.name} ends at byte {len(data)} inside {name}: truncated")
        return np.frombuffer(data, kind, count, start)

    tensors = {}
    for name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        tag = int(take("<u4", 1, name)[0])
        if tag not in (_FP16, _FP32):
            raise WeightsError(f"{path.name}: {name} has tag {tag:#010x}, not that of fp16 or fp32")
        weight = take("<f2" if tag == _FP16 else "<f4", module.weight.numel(), name)
        tensors[f"{name}.weight"] = torch.from_numpy(weight.astype(np.float32)).view(module.weight.shape)
        bias = take("<f4", module.out_channels, name)
        tensors[f"{name}.bias"] = torch.from_numpy(bias.astype(np.float32))
    if position != len(data):
        left = len(data) - position
        raise WeightsError(f"{path.name}: {left} bytes are left over; it belongs to another .param")
    return tensors
