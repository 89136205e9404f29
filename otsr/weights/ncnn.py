"""ncnn's `.param` (the graph, text) and `.bin` (the numbers) to an RRDBNet.

RealSR and Real-ESRGAN are published as one and the same list of layers. That list is written out here for the size
that the file names, and compared with the file layer by layer: only then its numbers go into the network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from otsr.networks.generators import RRDBNet
from otsr.weights.layouts import WeightsError, fill

MAGIC = b"7767517"
_FP16, _FP32 = 0x01306B47, 0
_MAX_TEXT = 16 << 20
_SUM, _ARRAY = (1,), -23300  # Eltwise: 0=1 adds; an array stands under the key -23300 - k


@dataclass(frozen=True)
class _Layer:
    """One layer. Copies (`Split`) are left out: `inputs` are the numbers of the layers that made them."""

    kind: str
    inputs: tuple[int, ...]
    options: dict[int, tuple[float, ...]]


def read(param: Path, weights: Path) -> RRDBNet:
    """The RRDBNet that a pair of ncnn files holds, in eval mode, float32.

    Raises:
        WeightsError: a file of the pair is missing, damaged, or for another network.
    """
    for path in (param, weights):
        if not path.is_file():
            pair = f"{param.name} + {weights.name}"
            raise WeightsError(f"{path.name}: no such file; an ncnn model is a pair {pair}")
    names, layers = _parse(param)
    network = _empty(layers)
    for name, found, expected in zip_longest(names, layers, _graph(network), fillvalue=None):
        if found != expected:
            raise WeightsError(f"layer {name or 'after the last'} is not what an RRDBNet of this size has")
    return fill(network, _numbers(weights, network))  # type: ignore[return-value]


def _parse(path: Path) -> tuple[list[str], list[_Layer]]:
    """Names and layers, in the file's order."""
    if path.stat().st_size > _MAX_TEXT:
        raise WeightsError("too large for a graph in text")
    lines = [line for line in path.read_text("ascii", errors="replace").splitlines() if line.strip()]
    if not lines or lines[0].strip() != MAGIC.decode():
        raise WeightsError(
            f"begins with {(lines or [''])[0][:40]!r}, expected ncnn's text ({MAGIC.decode()})"
        )
    names: list[str] = []
    layers: list[_Layer] = []
    makers: dict[str, int] = {}  # of each blob, the number of its layer
    try:
        for line in lines[2:]:
            kind, name, ins, outs, *rest = line.split()
            inputs = tuple(makers[blob] for blob in rest[: int(ins)])
            outputs, options = rest[int(ins) :][: int(outs)], rest[int(ins) + int(outs) :]
            if kind != "Split":
                names.append(name)
                pairs = (option.split("=") for option in options)  # k=v, or an array as -23300-k=n,v,v…
                values = {int(key): tuple(map(float, text.split(","))) for key, text in pairs}
                layers.append(_Layer(kind, inputs, values))
            makers.update(dict.fromkeys(outputs, inputs[0] if kind == "Split" else len(layers) - 1))
        if len(lines) - 2 != int(lines[1].split()[0]):
            raise ValueError
    except (ValueError, IndexError, KeyError):
        raise WeightsError(f"damaged behind layer {(names or ['0'])[-1]}; fetch it again") from None
    return names, layers


def _empty(layers: list[_Layer]) -> RRDBNet:
    """An RRDBNet without numbers, of the size that the file's counts say."""
    widths = [int(layer.options.get(0, (0,))[0]) for layer in layers if layer.kind == "Convolution"]
    stages = sum(layer.kind == "Interp" for layer in layers)
    nb, rest = divmod(len(widths) - 4 - stages, 15)
    if rest or nb < 1 or stages not in (1, 2):
        raise WeightsError(f"{len(widths)} convolutions and {stages} enlargements make no RRDBNet")
    try:
        with torch.device("meta"):
            return RRDBNet(widths[0], nb, widths[1], 2**stages)
    except ValueError as error:
        raise WeightsError(str(error)) from None


def _graph(network: Any) -> list[_Layer]:
    """The layers that the file must have."""
    layers: list[_Layer] = []

    def add(kind: str, inputs: list[int], options: dict[int, tuple[float, ...]] | None = None) -> int:
        layers.append(_Layer(kind, tuple(inputs), options or {}))
        return len(layers) - 1

    def convolution(x: int, module: nn.Conv2d, leaky: bool = True) -> int:
        outputs, size = module.out_channels, module.weight.numel()
        activation = {9: (2,), _ARRAY - 10: (1, 0.2)} if leaky else {}
        return add("Convolution", [x], {0: (outputs,), 1: (3,), 4: (1,), 5: (1,), 6: (size,)} | activation)

    def residual(x: int, change: int) -> int:
        return add("Eltwise", [change, x], {0: _SUM, _ARRAY - 1: (2, 0.2, 1.0)})

    x = shallow = convolution(add("Input", []), network.first, leaky=False)
    for block in network.trunk:
        outer = x
        for dense in block.blocks:
            seen = [x]
            for module in dense.convolutions:
                joined = add("Concat", seen) if len(seen) > 1 else x
                seen.append(convolution(joined, module, leaky=len(seen) < 5))
            x = residual(x, seen[-1])
        x = residual(outer, x)
    x = add("BinaryOp", [shallow, convolution(x, network.trunk_last, leaky=False)])
    for module in network.enlarge:
        x = convolution(add("Interp", [x], {0: (1,), 1: (2.0,), 2: (2.0,)}), module)
    convolution(convolution(x, network.hr), network.last, leaky=False)
    return layers


def _numbers(path: Path, network: RRDBNet) -> dict[str, Tensor]:
    """Per convolution: a tag, the weights (fp16 padded to 4 bytes, or fp32), the bias (fp32)."""
    data = path.read_bytes()
    position = 0

    def take(kind: str, count: int, name: str) -> np.ndarray:
        nonlocal position
        end = position + count * np.dtype(kind).itemsize
        if end > len(data):
            raise WeightsError(f"{path.name} ends at byte {len(data)} inside {name}: truncated")
        array = np.frombuffer(data, kind, count, position)
        position = end + -end % 4
        return array

    tensors = {}
    for name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        tag = int(take("<u4", 1, name)[0])
        if tag not in (_FP16, _FP32):
            raise WeightsError(f"{path.name}: {name} has tag {tag:#010x}, not that of fp16 or fp32")
        shape = module.weight.shape
        weight = take("<f2" if tag == _FP16 else "<f4", math.prod(shape), name)
        tensors[f"{name}.weight"] = torch.from_numpy(weight.astype(np.float32)).view(shape)
        tensors[f"{name}.bias"] = torch.from_numpy(take("<f4", shape[0], name).astype(np.float32))
    if position != len(data):
        left = len(data) - position
        raise WeightsError(f"{path.name}: {left} bytes are left over; it belongs to another .param")
    return tensors
